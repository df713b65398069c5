// A certificate again, with a new validity: the same subject, names and usages, and the same key or a new one.

#pragma once

#include "core/outcome.h"
#include "crypto/authority.h"
#include "crypto/issue.h"

#include <stdbool.h>

struct renew_request {
	struct authority_files ca;
	const char *cert_path; // what is renewed: a leaf this CA has signed and not revoked; it may have expired
	bool new_key;
	bool other_algorithm; // the new key is a `key`; false: of the same kind as the old one
	enum issue_key key;
	unsigned validity_days;
	uint64_t validity_s;       // not 0: instead of validity_days
	const char *out_cert_path; // may be cert_path, with force
	const char *out_key_path;  // with new_key, and only then
	bool force;
};

// Whether the CA's own rules let a certificate be issued again: of this CA, no CA's, with a usage, not revoked, without
// an extension that would be lost. `name` and `ca_name` are for the problem.
// What needs no index of it may be asked beforehand.
MUST_USE int renew_judge_origin(const struct authority *authority, X509 *old, const char *name, const char *ca_name,
                                char problem[ISSUE_PROBLEM_BYTES]);
MUST_USE int renew_judge(const struct authority *authority, X509 *old, const char *name, const char *ca_name,
                         char problem[ISSUE_PROBLEM_BYTES]);

// Refused as issue_certificate does, and: not of this CA, a CA's own certificate, revoked, with an extension that
// would be lost, with a key whose kind is not made here (a new key then needs other_algorithm).
MUST_USE int renew_certificate(const struct renew_request *request, char problem[ISSUE_PROBLEM_BYTES]);
