// Which of several own certificates a peer gets: the first that it can verify.

#pragma once

#include "core/outcome.h"
#include "crypto/identity.h"
#include "wire/tls_hello.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// What of one identity matters for the choice; lends the identity.
struct tls_choice {
	struct identity *identity;
	uint16_t own[8];    // signature schemes that its key can make, 0-terminated
	uint16_t issuer[8]; // schemes that its chain was signed with, 0-terminated; TLS_SCHEME_OTHER for what has no number
	bool in_tls12;
	uint16_t curve; // 0: none
	bool is_rsa;    // TLS 1.2: which cipher suites go with it
};
#define TLS_SCHEME_OTHER 0xffff

void tls_choice_init(struct tls_choice *choice, struct identity *identity);

struct tls_wanted {
	struct tls_codes schemes;      // signature_algorithms
	struct tls_codes cert_schemes; // signature_algorithms_cert, empty: as above
	bool is_tls13;
	struct tls_codes suites; // TLS 1.2
	struct tls_codes groups; // TLS 1.2: also the curves of certificates; empty: any
	const char *name;        // the host name asked for; NULL or "": none
};

// The one to show, or NULL when the peer can verify none of them. Those with the name come before those without it;
// among these, those whose whole chain the peer can verify before those of whom it is known only for the leaf; among
// these, in their order. Spec: RFC 8446 4.4.2.2.
const struct tls_choice *tls_choice_best(const struct tls_choice *choices, size_t count,
                                         const struct tls_wanted *wanted);
