// The revocation lists of a trust, each with the CA certificate whose key has signed it. Used by crypto/trust only.

#pragma once

#include "core/outcome.h"

#include <openssl/safestack.h>
#include <openssl/types.h>
#include <stddef.h>

STACK_OF(X509);

// The null value {0} has no list and is harmless to fini.
struct trust_lists {
	struct trust_list {
		X509_CRL *list;
		X509 *signer;
	} * items;
	size_t count;
};

// Takes the lists of a store, which chain_load_lists has judged, over from the library: from now on the store asks for
// none. When one of them is more than a plain list the store goes on asking, and `lists` stays empty.
MUST_USE int trust_lists_take(struct trust_lists *lists, X509_STORE *store);
void trust_lists_fini(struct trust_lists *lists);
// X509_V_OK, also when there is no list; or X509_V_ERR_….
int trust_lists_check(const struct trust_lists *lists, STACK_OF(X509) * chain);
