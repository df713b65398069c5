// An OCSP response in a file, to be stapled to handshakes: judged when it is loaded, served while it is current.

#pragma once

#include "core/outcome.h"
#include "crypto/identity.h"

#include <openssl/safestack.h>
#include <openssl/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ocsp_staple {
	uint8_t *bytes; // DER, as it is sent; NULL: none
	size_t length;
	int64_t until; // nextUpdate, Unix seconds
};

// Who the response must be about and, where known, of.
struct ocsp_subject {
	X509 *leaf;
	STACK_OF(X509) * others; // the issuer is looked for here
	X509_STORE *store;       // and here; may be NULL
};

// 1: not acceptable, with a sentence in `problem`: not readable, no DER of an OCSP response, an error of the responder,
// not about this certificate, says that it is revoked or unknown, begins later, is over, says not when the next is due,
// or is signed by somebody who may not (judged when the leaf's issuer is known).
enum { OCSP_REFUSED = 1 };
MUST_USE int ocsp_load(const char *path, const struct ocsp_subject *subject, struct ocsp_staple *staple,
                       char problem[IDENTITY_PROBLEM_BYTES]);
void ocsp_fini(struct ocsp_staple *staple);
bool ocsp_is_current(const struct ocsp_staple *staple);
