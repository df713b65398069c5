// Whom a node believes: CA certificates and the revocation lists of those CAs, apart from what the node proves itself
// with. Never changed after loading, so that any thread may judge by it.

#pragma once

#include "core/outcome.h"
#include "crypto/identity.h"

#include <openssl/safestack.h>
#include <openssl/types.h>
#include <stddef.h>
#include <stdint.h>

STACK_OF(X509);

struct trust;

struct trust_files {
	const char *ca_path;          // one or more PEM CA certificates; nothing else is believed, no system store
	const char *const *crl_paths; // PEM revocation lists; with any, every issuer of a chain needs a current one
	size_t crl_count;
};

// 1: a file is not acceptable; `problem` says which, what is wrong and how to mend it: missing, not readable, open to
// every user's changes, not PEM, not a CA's certificate, made with an algorithm from before the standard; a list that
// is over, not yet begun, damaged, or not signed by one of these CAs. Negative: no memory.
enum { TRUST_REFUSED = 1 };
MUST_USE int trust_load(const struct trust_files *files, struct trust **trust, char problem[IDENTITY_PROBLEM_BYTES]);
// References are counted; safe from any thread.
struct trust *trust_ref(struct trust *trust);
void trust_unref(struct trust **trust);

// Lent for the life of the trust. Whoever verifies a chain with it asks trust_check_lists afterwards.
X509_STORE *trust_store(const struct trust *trust);
// Whether a verified chain (leaf first) is on no list and every issuer has a current one: X509_V_OK, or X509_V_ERR_… as
// the library would say. The library itself verifies the signature of each list for every chain; here that was done
// when the list was loaded. Lists with critical extensions (partitioned, indirect, delta) are left to the library; then
// this has nothing to add. From any thread.
int trust_check_lists(const struct trust *trust, STACK_OF(X509) * chain);
// Unix seconds: the first CA certificate to end, and the first revocation list to be over (0: there is none).
void trust_expiry(const struct trust *trust, int64_t *ca, int64_t *lists);
