// A node's side of the renewal of its own certificate: the request, and taking the answer into its files. The steps on
// the disk, each whole or not at all, so that a crash between any two is continued from:
//
//   KEY.pending                  the new private key, 0600, made before the request leaves (not with the same key)
//   CERT.pending                 the answer, once it was verified as the node itself would at its start
//   KEY.pending becomes KEY      then
//   CERT.pending becomes CERT
//
// Both folders must be ours to write in. See docs/keys.md.

#pragma once

#include "core/outcome.h"
#include "crypto/identity.h"
#include "crypto/issue.h"

#include <stdbool.h>
#include <stddef.h>

#define RENEWAL_PROBLEM_BYTES IDENTITY_PROBLEM_BYTES
enum { RENEWAL_REFUSED = 1 };

struct renewal_files {
	struct identity_files identity; // as the node loads it; all lent
	bool new_key;
	bool other_algorithm; // the new key is a `key`; false: of the same kind as the old one
	enum issue_key key;
};

// Whether the files could be replaced at all: regular files, no links, in folders that we may write in.
MUST_USE int renewal_check(const struct renewal_files *files, char problem[RENEWAL_PROBLEM_BYTES]);

// Finishes what a crash has interrupted, or clears it away when it is of no use. *moved tells whether the certificate
// is another one now. Before the identity is loaded.
MUST_USE int renewal_recover(const struct renewal_files *files, bool *moved, char problem[RENEWAL_PROBLEM_BYTES]);

// The request for what the files hold now (crypto/renewal_request), to be freed. The pending key of an earlier one is
// used again.
MUST_USE int renewal_ask(const struct renewal_files *files, char **text, char problem[RENEWAL_PROBLEM_BYTES]);

// Hostile: an answer. Refused, with nothing changed, unless it is a certificate for the pending key (or the same key)
// with the same subject, names and usages, that ends later than the old one and that the node could start with.
MUST_USE int renewal_take(const struct renewal_files *files, const void *bytes, size_t length,
                          char problem[RENEWAL_PROBLEM_BYTES]);
