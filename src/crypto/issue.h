// The small CA: makes keys and certificates, and judges them. Used by `qanat cert`; nothing here touches a connection.

#pragma once

#include "core/outcome.h"

#include <openssl/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum issue_key { ISSUE_KEY_P256, ISSUE_KEY_ED25519, ISSUE_KEY_ML_DSA_65, ISSUE_KEY_ML_DSA_87 };
// "p256", "ed25519", "ml-dsa-65", "ml-dsa-87". Parse: 0, or 1 when it is none of them.
const char *issue_key_name(enum issue_key key);
MUST_USE int issue_key_parse(const char *word, enum issue_key *key);

// A new key pair; NULL when the library cannot.
EVP_PKEY *issue_make_key(enum issue_key key);
// Which of them a key is. 1: none.
MUST_USE int issue_key_of(const EVP_PKEY *pkey, enum issue_key *key);

enum { ISSUE_MAX_DAYS = 36500 };

enum issue_kind { ISSUE_CA, ISSUE_SERVER, ISSUE_CLIENT };

struct issue_request {
	enum issue_kind kind;
	enum issue_key key;
	const char *common_name;
	const char *const *dns_names; // checked: letters, digits, '-', '.', one leading "*." allowed
	size_t dns_count;
	const char *const *ip_addresses; // IPv4 and IPv6 literals
	size_t ip_count;
	unsigned validity_days;                 // 1..36500
	uint64_t validity_s;                    // not 0: instead of validity_days
	const char *ca_cert_path, *ca_key_path; // not for ISSUE_CA
	const char *out_cert_path, *out_key_path;
	bool force;             // replace existing files
	const char *index_path; // of the CA; NULL: ca_cert_path and ".index"
};

#define ISSUE_PROBLEM_BYTES 512
// Nothing was written; `problem` says why and what to do (existing file without force, bad name, CA key mismatch, CA
// not a CA, CA expires before the leaf: the leaf is then shortened, not refused, ...).
enum { ISSUE_REFUSED = 1 };
// The key file is created with O_EXCL and mode 0600 from the first instant (no chmod window), written to a temporary
// name in the same directory and renamed; certificate 0644. Both or neither appear. Serial: 159 random bits. notBefore:
// one hour ago, or a tenth of a shorter life. CA: basicConstraints critical CA:TRUE pathlen:0, keyUsage
// keyCertSign|cRLSign critical. Leaf: CA:FALSE, keyUsage digitalSignature critical, EKU serverAuth or clientAuth, SAN
// (server: at least one; client: DNS of the common name when it is a valid one). SKI and AKI always. A leaf is in the
// CA's index before its file is there.
MUST_USE int issue_certificate(const struct issue_request *request, char problem[ISSUE_PROBLEM_BYTES]);

// Refused unless 1..ISSUE_MAX_DAYS, or, with seconds, up to as many.
MUST_USE int issue_check_validity(unsigned days, uint64_t seconds, char problem[ISSUE_PROBLEM_BYTES]);
