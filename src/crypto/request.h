// Requests for certificates (PKCS #10, RFC 2986): the private key never leaves its machine, the request goes to the CA.

#pragma once

#include "core/outcome.h"
#include "crypto/authority.h"
#include "crypto/issue.h"

#include <openssl/types.h>
#include <stdbool.h>

struct X509_req_st; // X509_REQ

#define REQUEST_PROBLEM_BYTES 512
enum { REQUEST_REFUSED = 1 };

struct request_making {
	const char *common_name;
	const char *const *dns_names, *const *ip_addresses; // as struct issue_request
	size_t dns_count, ip_count;
	enum issue_key key;
	const char *use_key_path; // an existing private key; NULL: a new one is made and written to
	const char *out_key_path;
	const char *out_path;
	bool force;
};
// The new key is on the disk before the request is. Refused as issue_certificate does.
MUST_USE int request_make(const struct request_making *making, char problem[REQUEST_PROBLEM_BYTES]);

// What a request asks for. Texts as in struct identity_text.
struct request_details {
	char subject[256];
	char common_name[128];
	char names[8192];
	char key_type[32];
	char signature[32];
	char ignored[256];                 // other things it asks for, which are not given: "keyUsage, ..."
	bool is_self_signed;               // its sender has the private key
	bool is_acceptable;                // request_sign would take it
	char fault[REQUEST_PROBLEM_BYTES]; // when not
};
// 1: no request in PEM form.
MUST_USE int request_inspect(const char *path, struct request_details *details, char problem[REQUEST_PROBLEM_BYTES]);

struct request_signing {
	struct authority_files ca;
	const char *path;
	bool is_server, is_client; // one of them at least
	unsigned validity_days;
	uint64_t validity_s; // not 0: instead of validity_days
	const char *out_cert_path;
	bool force;
};
// Takes from the request its key, its common name (the rest of the subject is O=qanat) and its names; everything else
// is the CA's. Hostile: refused are a wrong self-signature, keys weaker than 112 bits, names that san_judge refuses,
// none or several common names, a server without names, a request to be a CA.
MUST_USE int request_sign(const struct request_signing *signing, char problem[REQUEST_PROBLEM_BYTES]);

// For tests: the same judgement of a parsed request. `details` is filled in any case.
void request_judge(struct X509_req_st *request, struct request_details *details);
