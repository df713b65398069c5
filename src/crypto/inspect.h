// Reads certificate files for people and judges them, for `qanat cert show` and `qanat cert verify`.

#pragma once

#include "core/outcome.h"
#include "crypto/identity.h"

#include <stdbool.h>
#include <stddef.h>

// Texts are printable ASCII; what was cut to fit ends in "...".
struct inspect_details {
	struct identity_text text;
	char issuer[256];
	char names[8192];                  // all SANs, as identity_text.names
	char key_usage[192];               // "Digital Signature, Certificate Sign", "" when absent
	char extended_key_usage[256];      // "TLS Web Server Authentication", "" when absent
	char subject_key_identifier[68];   // "AB:CD:...", "" when absent
	char authority_key_identifier[68]; // the same of its issuer's key
	bool is_ca;
	long path_length; // -1: not limited
};

#define INSPECT_PROBLEM_BYTES IDENTITY_PROBLEM_BYTES
enum { INSPECT_REFUSED = 1 };

// Every certificate of the file in its order. The caller frees the list.
MUST_USE int inspect_file(const char *path, struct inspect_details **list, size_t *count,
                          char problem[INSPECT_PROBLEM_BYTES]);

enum inspect_purpose { INSPECT_ANY_PURPOSE, INSPECT_FOR_SERVER, INSPECT_FOR_CLIENT };

struct inspect_question {
	const char *cert_path; // the leaf, then intermediates
	const char *ca_path;
	enum inspect_purpose purpose; // any: every one of the two that the certificate carries, and at least one
	const char *name;             // host name or IP literal; NULL: not asked
	const char *const *crl_paths; // revocation lists; with any, each certificate needs a current one of its issuer
	size_t crl_count;
	unsigned expires_in_days; // it must stay valid for longer than that; 0: not asked
};

struct inspect_verdict {
	bool chain_passed; // signatures, time and purpose
	char chain_reason[384];
	bool name_passed; // true when not asked
	char name_reason[384];
	bool expiry_passed; // true when not asked
	char expiry_reason[128];
};

// Refused only when a file cannot be used; what the certificate is worth is in the verdict.
MUST_USE int inspect_verify(const struct inspect_question *question, struct inspect_verdict *verdict,
                            char problem[INSPECT_PROBLEM_BYTES]);
