// What a CA that answers by itself does with a request for a renewal (crypto/renewal_request), wherever it came from.
// It signs only what it has signed before: the certificate that is renewed must be in its index, valid and not revoked,
// and its key must have made the proof. The new one has the same subject, names and usages, bit by bit; only the key
// and the time are new.

#pragma once

#include "core/outcome.h"
#include "crypto/authority.h"
#include "crypto/issue.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ANSWER_PROBLEM_BYTES 512
enum { ANSWER_REFUSED = 1 };

struct answer_policy {
	struct authority_files ca;
	unsigned keys;       // 1 << enum issue_key for each kind that is signed; a key that stays the same is always
	uint64_t validity_s; // 0: as long as the one that is renewed was issued for
};

// Hands the new certificate and its issuers as PEM on. Not 0: it could not, with a problem.
struct answer_delivery {
	int (*deliver)(void *owner, const char *pem, size_t length, char problem[ANSWER_PROBLEM_BYTES]);
	void *owner;
};

struct answer_question {
	const void *bytes; // hostile
	size_t length;
	const char *requester; // a common name that was verified otherwise, and must be the certificate's; NULL: none was
};

struct answer_news { // of what was signed
	char subject[256], serial[INDEX_SERIAL_BYTES];
	int64_t not_after;
	bool is_repeat; // nothing was signed: it is the answer of before to the same request (crypto/repeat)
};

// The new certificate is in the index before it is delivered; when that fails the index says so. Refused with a reason
// that may be shown to whoever asked.
MUST_USE int answer_renewal(const struct answer_policy *policy, const struct answer_question *question,
                            const struct answer_delivery *delivery, struct answer_news *news,
                            char problem[ANSWER_PROBLEM_BYTES]);
