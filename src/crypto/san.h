// Subject alternative names: made from what was asked for, and judged when someone else asks. The rules for single
// names are crypto/issue_name's.

#pragma once

#include "core/outcome.h"

#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stddef.h>

struct san_request {
	const char *common_name;      // becomes the only name when none is given and it can be one
	const char *const *dns_names; // one leading "*." allowed
	size_t dns_count;
	const char *const *ip_addresses;
	size_t ip_count;
	bool is_server; // the common name may also be an address or a wildcard, and one name is a must
};

#define SAN_PROBLEM_BYTES 512
enum { SAN_REFUSED = 1 };
MUST_USE int san_check(const struct san_request *request, char problem[SAN_PROBLEM_BYTES]);
// False: no memory. `names` may stay empty. Only after san_check.
bool san_make(const struct san_request *request, GENERAL_NAMES **names);
// Hostile: names from a request for a certificate. Only DNS names and addresses that san_check would take, and not
// more than LIMIT_CERTIFICATE_NAMES; with one that is not, all are refused.
MUST_USE int san_judge(const GENERAL_NAMES *names, char problem[SAN_PROBLEM_BYTES]);
