// Fills and signs one certificate. What may be asked for has been decided by those who call (issue, renew, request).

#pragma once

#include "core/outcome.h"

#include <openssl/safestack.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdint.h>

struct build_plan {
	bool is_ca, is_server, is_client;
	const char *common_name;    // with O=qanat; or
	X509 *model;                // subject, names and usages are this one's, bit by bit
	const GENERAL_NAMES *names; // may be NULL or empty
	unsigned validity_days;     // 1..36500
	uint64_t validity_s;        // not 0: instead of validity_days
	EVP_PKEY *key;              // its public part
	X509 *issuer;               // NULL: itself, with
	EVP_PKEY *issuer_key;       // `key`'s private part
};

#define BUILD_PROBLEM_BYTES 512
enum { BUILD_REFUSED = 1 };

// Empty, too long, control characters: refused. Also checked by build_certificate.
MUST_USE int build_check_common_name(const char *name, char problem[BUILD_PROBLEM_BYTES]);
MUST_USE int build_certificate(const struct build_plan *plan, X509 **certificate, char problem[BUILD_PROBLEM_BYTES]);

// In PEM: the certificate, then `issuers` (may be NULL) as far as those are intermediates.
bool build_print(X509 *certificate, STACK_OF(X509) * issuers, BIO *output);
