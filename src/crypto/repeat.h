// The answers that a CA has given to requests for renewals, kept in a folder beside its index (INDEX.answers, mode
// 0700) until they end, so that a request that comes again gets the answer of before: from a node that has lost it, or
// from somebody who lays down what he has found. Requests are the same when they are for the same certificate and the
// same new key, whatever else differs: a node that asks again signs anew.

#pragma once

#include "core/outcome.h"

#include <openssl/types.h>
#include <stddef.h>
#include <stdint.h>

#define REPEAT_NAME_BYTES 65
#define REPEAT_PROBLEM_BYTES 512
enum { REPEAT_REFUSED = 1, REPEAT_NONE = 2 };

// What the answer to a request is kept under.
MUST_USE int repeat_name(X509 *old, EVP_PKEY *fresh, char name[REPEAT_NAME_BYTES]);
// The caller frees the certificate. REPEAT_NONE: nothing was kept, or it cannot be read.
MUST_USE int repeat_find(const char *index_path, const char *name, X509 **answer);
// On the disk when it returns. Replaces an earlier one.
MUST_USE int repeat_keep(const char *index_path, const char *name, X509 *answer, char problem[REPEAT_PROBLEM_BYTES]);
// Removes what has ended by `now`, and what is no certificate. How many.
size_t repeat_prune(const char *index_path, int64_t now);
