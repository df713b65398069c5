// Files appear whole or not at all: a certificate and its private key together, or one file alone.

#pragma once

#include "core/outcome.h"

#include <stdbool.h>
#include <stddef.h>

struct pair_paths {
	const char *cert_path, *key_path;
	bool force; // replace existing files
};

struct pair_content {
	const void *bytes;
	size_t length;
};

#define PAIR_PROBLEM_BYTES 512
enum { PAIR_REFUSED = 1 };

// Whether writing could work, to be asked before the work of making keys: the folders are there, the two names differ,
// what exists is a regular file and may be replaced.
MUST_USE int pair_check(const struct pair_paths *paths, char problem[PAIR_PROBLEM_BYTES]);

// The key has mode 0600 and the certificate 0644 whatever the umask; both are written under a temporary name in their
// folder, with their mode from the first instant, and then renamed: the key, then the certificate. When the second step
// fails the first is taken back. Without `force` an existing file is never replaced, even one that appears meanwhile.
MUST_USE int pair_write(const struct pair_paths *paths, struct pair_content cert, struct pair_content key,
                        char problem[PAIR_PROBLEM_BYTES]);

// The same for a file that has no partner.
struct pair_single {
	const char *what; // "revocation list", for problems
	const char *path;
	unsigned mode; // 0644, or 0600 for keys
	bool force;
};
MUST_USE int pair_check_single(const struct pair_single *single, char problem[PAIR_PROBLEM_BYTES]);
MUST_USE int pair_write_single(const struct pair_single *single, struct pair_content content,
                               char problem[PAIR_PROBLEM_BYTES]);
