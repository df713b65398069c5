// The CA at work: its certificate, its key, and the index of what it did, locked while it works.

#pragma once

#include "core/outcome.h"
#include "crypto/index.h"

#include <openssl/safestack.h>
#include <openssl/types.h>

STACK_OF(X509);

struct authority_files {
	const char *cert_path;  // the CA's certificate, then its own issuers
	const char *key_path;   // NULL: only the index is wanted
	const char *index_path; // NULL: cert_path and ".index"
};

// The null value is harmless to close.
struct authority {
	STACK_OF(X509) * issuers; // the CA's own certificate first
	EVP_PKEY *key;
	char identifier[INDEX_AUTHORITY_BYTES];
	struct index *index;
};

#define AUTHORITY_PROBLEM_BYTES 512
enum { AUTHORITY_REFUSED = 1 };

// Refused: files that cannot be used (crypto/pem), a certificate that is no CA's; with a key also: another
// certificate's key, a CA that has expired or has not begun. With INDEX_TO_WRITE the index is locked until
// authority_close.
MUST_USE int authority_open(const struct authority_files *files, enum index_access access, struct authority *authority,
                            char problem[AUTHORITY_PROBLEM_BYTES]);
// The same in two steps, for who has to judge something by the certificate before the index is worth opening.
MUST_USE int authority_load(const struct authority_files *files, struct authority *authority,
                            char problem[AUTHORITY_PROBLEM_BYTES]);
MUST_USE int authority_open_index(const struct authority_files *files, enum index_access access,
                                  struct authority *authority, char problem[AUTHORITY_PROBLEM_BYTES]);
void authority_close(struct authority *authority);

X509 *authority_certificate(const struct authority *authority);
// Whether this CA's key signed the certificate, and its name is the issuer's.
bool authority_has_signed(const struct authority *authority, X509 *certificate);
// What the index says of it, or would.
void authority_describe(X509 *certificate, struct index_entry *entry);

// The certificate that was signed goes into the index, then into its file by `write`; when that fails the index says so
// and the result is what `write` returned.
MUST_USE int authority_release(struct authority *authority, X509 *certificate,
                               int (*write)(void *owner, char problem[AUTHORITY_PROBLEM_BYTES]), void *owner,
                               char problem[AUTHORITY_PROBLEM_BYTES]);

// The digest to sign with; NULL for keys that hash by themselves.
const EVP_MD *authority_digest(const EVP_PKEY *key);
