// The files of what is issued: a certificate, with its new private key or alone.

#pragma once

#include "core/outcome.h"
#include "crypto/authority.h"

struct issue_file {
	const char *cert_path;
	const char *key_path; // NULL: the certificate alone
	bool force;
	X509 *certificate;        // owned, as the key
	EVP_PKEY *key;            // its private part is written when there is a key_path
	STACK_OF(X509) * issuers; // lent; NULL for a CA
};

// Takes a struct issue_file. The outcomes and problems of crypto/pair.
MUST_USE int issue_file_write(void *file, char problem[AUTHORITY_PROBLEM_BYTES]);
void issue_file_fini(struct issue_file *file);
// Refused when the path is one of the CA's own files.
MUST_USE int issue_file_spare_ca(const struct authority_files *files, const char *path,
                                 char problem[AUTHORITY_PROBLEM_BYTES]);
// The private key alone.
MUST_USE int issue_file_write_key(EVP_PKEY *key, const char *path, bool force, char problem[AUTHORITY_PROBLEM_BYTES]);
