// From when to when things are good that an identity is made of: what people must be warned of before it ends.

#pragma once

#include "crypto/identity.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum lifetime_role { LIFETIME_OWN, LIFETIME_CHAIN, LIFETIME_CA, LIFETIME_LIST, LIFETIME_ROLE_COUNT };
// "own", "chain", "ca", "crl": the labels of metrics.
const char *lifetime_role_name(enum lifetime_role role);

struct lifetime {
	enum lifetime_role role;
	unsigned number;     // 1, or counted on when a node has several certificates of its own
	char subject[256];   // as identity_text; of a revocation list its issuer
	int64_t from, until; // Unix seconds; a list is good until its next one is due
};

enum { LIFETIME_PER_IDENTITY = LIFETIME_ROLE_COUNT };
// Our own certificate; of its intermediates, of the CA certificates that are believed with it and of their revocation
// lists the first one to end, each when there is any. Returns how many. Negative never: what finds no memory is left
// out.
size_t lifetime_read(const struct identity *identity, unsigned number, struct lifetime out[LIFETIME_PER_IDENTITY]);
// The same of what is believed apart from an identity: CA certificates and lists.
enum { LIFETIME_PER_STORE = 2 };
size_t lifetime_read_store(X509_STORE *store, unsigned number, struct lifetime out[LIFETIME_PER_STORE]);
