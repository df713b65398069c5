// The CA certificates that are believed, and the judgement of a certificate against them.

#pragma once

#include "core/outcome.h"
#include "crypto/identity.h"

// The believed ones of a file: every certificate in it must be a CA's. Nothing else is believed: no system store, no
// partial chains. 1: `problem` says which certificate is not acceptable.
enum { CHAIN_REFUSED = 1 };
MUST_USE int chain_load_store(const char *ca_path, X509_STORE **store, char problem[IDENTITY_PROBLEM_BYTES]);

// From now on every certificate of a chain, the root's own included, must be on no list and have a current one of its
// issuer. A list must be signed by one of the certificates of the store (of `ca_path`, for the text), begun, and not
// over.
MUST_USE int chain_load_lists(X509_STORE *store, const char *ca_path, const char *list_path,
                              char problem[IDENTITY_PROBLEM_BYTES]);

#define CHAIN_REASON_BYTES 384
// Builds and checks the chain: signatures, names, times, path length, and the purpose at each step. Refused with a
// reason in one sentence. `chain`, when not NULL, receives the certificates between the leaf and the root.
MUST_USE int chain_verify(X509_STORE *store, X509 *leaf, STACK_OF(X509) * intermediates, enum identity_usage usage,
                          STACK_OF(X509) * *chain, char reason[CHAIN_REASON_BYTES]);

// For a leaf that peers judge, not we: `others` in the order of a chain, without the root. Refused when one of them is
// no part of it, is not a CA's or is out of its time. A chain that ends early is not: we cannot know whom peers
// believe.
MUST_USE int chain_arrange(X509 *leaf, STACK_OF(X509) * others, STACK_OF(X509) * *chain,
                           char reason[CHAIN_REASON_BYTES]);
