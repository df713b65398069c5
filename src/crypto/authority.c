#include "crypto/authority.h"

#include "crypto/digest.h"
#include "crypto/identity.h"
#include "crypto/pem.h"
#include "crypto/refusal.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert((int)AUTHORITY_REFUSED == (int)REFUSAL && (int)AUTHORITY_REFUSED == (int)PEM_REFUSED &&
                   (int)AUTHORITY_REFUSED == (int)INDEX_REFUSED,
               "refusals are passed up");
_Static_assert(AUTHORITY_PROBLEM_BYTES == REFUSAL_BYTES, "and so are their texts");
_Static_assert(AUTHORITY_PROBLEM_BYTES == PEM_PROBLEM_BYTES, "and so are their texts");
_Static_assert(AUTHORITY_PROBLEM_BYTES == INDEX_PROBLEM_BYTES, "and so are their texts");

enum { IDENTIFIER_BYTES = (INDEX_AUTHORITY_BYTES - 1) / 2 };

static int check_certificate(const struct authority_files *files, X509 *certificate, char problem[REFUSAL_BYTES])
{
	if (X509_check_ca(certificate) == 1)
		return 0;
	return refusal(
		problem, "%s is not a CA certificate (basicConstraints CA:TRUE and keyCertSign). Make one with: qanat cert ca",
		files->cert_path);
}

static int check_key(const struct authority_files *files, X509 *certificate, EVP_PKEY *key, char problem[REFUSAL_BYTES])
{
	if (X509_check_private_key(certificate, key) != 1)
		return refusal(problem, "CA key %s does not belong to CA certificate %s", files->key_path, files->cert_path);
	int result = check_certificate(files, certificate, problem);
	if (result != 0)
		return result;
	if (X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0)
		return refusal(
			problem,
			"CA certificate %s has expired; nothing it signs would be accepted. Make a new one with: qanat cert ca",
			files->cert_path);
	if (X509_cmp_current_time(X509_get0_notBefore(certificate)) > 0)
		return refusal(problem, "CA certificate %s is not valid yet: is the clock of this machine right?",
		               files->cert_path);
	return 0;
}

// Name and key: what certificates are bound to, whichever of its own certificates the CA shows.
static int identify(X509 *certificate, char identifier[INDEX_AUTHORITY_BYTES])
{
	unsigned char *key = NULL, *name = NULL, *bytes = NULL;
	uint8_t digest[32];
	int key_length = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &key);
	int name_length = i2d_X509_NAME(X509_get_subject_name(certificate), &name);

	if (key_length > 0 && name_length > 0)
		bytes = malloc((size_t)key_length + (size_t)name_length);
	if (bytes) {
		memcpy(bytes, key, (size_t)key_length);
		memcpy(bytes + key_length, name, (size_t)name_length);
		digest_sha256(bytes, (size_t)key_length + (size_t)name_length, digest);
		for (size_t i = 0; i < IDENTIFIER_BYTES; i++)
			snprintf(identifier + 2 * i, 3, "%02x", digest[i]);
	}
	int result = bytes ? 0 : -ENOMEM;
	free(bytes);
	OPENSSL_free(key);
	OPENSSL_free(name);
	return result;
}

int authority_open_index(const struct authority_files *files, enum index_access access, struct authority *authority,
                         char problem[AUTHORITY_PROBLEM_BYTES])
{
	char *path = NULL;

	if (!files->index_path && asprintf(&path, "%s.index", files->cert_path) < 0)
		return -ENOMEM;
	int result = index_open(path ? path : files->index_path, authority->identifier, access, &authority->index, problem);
	free(path);
	return result;
}

int authority_load(const struct authority_files *files, struct authority *authority,
                   char problem[AUTHORITY_PROBLEM_BYTES])
{
	*authority = (struct authority){0};
	int result = pem_certificates(files->cert_path, "CA certificate", PEM_TO_RELY_ON, &authority->issuers, problem);

	if (result == 0 && files->key_path) {
		result = pem_private_key(files->key_path, &authority->key, problem);
		if (result == 0)
			result = check_key(files, authority_certificate(authority), authority->key, problem);
	} else if (result == 0) {
		result = check_certificate(files, authority_certificate(authority), problem);
	}
	if (result == 0)
		result = identify(authority_certificate(authority), authority->identifier);
	if (result != 0)
		authority_close(authority);
	return result;
}

int authority_open(const struct authority_files *files, enum index_access access, struct authority *authority,
                   char problem[AUTHORITY_PROBLEM_BYTES])
{
	int result = authority_load(files, authority, problem);

	if (result == 0)
		result = authority_open_index(files, access, authority, problem);
	if (result != 0)
		authority_close(authority);
	return result;
}

void authority_close(struct authority *authority)
{
	OSSL_STACK_OF_X509_free(authority->issuers);
	EVP_PKEY_free(authority->key);
	index_close(&authority->index);
	*authority = (struct authority){0};
}

X509 *authority_certificate(const struct authority *authority)
{
	return sk_X509_value(authority->issuers, 0);
}

bool authority_has_signed(const struct authority *authority, X509 *certificate)
{
	X509 *issuer = authority_certificate(authority);

	return X509_NAME_cmp(X509_get_issuer_name(certificate), X509_get_subject_name(issuer)) == 0 &&
	       X509_verify(certificate, X509_get0_pubkey(issuer)) == 1;
}

// ---- the index

void authority_describe(X509 *certificate, struct index_entry *entry)
{
	struct identity_text text;
	bool is_server = identity_has_usage(certificate, IDENTITY_SERVER);
	bool is_client = identity_has_usage(certificate, IDENTITY_CLIENT);

	identity_describe(certificate, &text);
	*entry = (struct index_entry){.not_before = text.not_before, .not_after = text.not_after};
	memcpy(entry->serial, text.serial, sizeof entry->serial);
	memcpy(entry->key_type, text.key_type, sizeof entry->key_type);
	memcpy(entry->fingerprint, text.fingerprint, sizeof entry->fingerprint);
	memcpy(entry->names, text.names, sizeof entry->names);
	snprintf(entry->subject, sizeof entry->subject, "%s", text.subject[0] ? text.subject : "-");
	snprintf(entry->usage, sizeof entry->usage, "%s%s%s", is_server ? "server" : "", is_server && is_client ? "," : "",
	         is_client ? "client" : "");
	if (!entry->usage[0])
		snprintf(entry->usage, sizeof entry->usage, "-");
}
_Static_assert(sizeof((struct index_entry *)0)->serial == sizeof((struct identity_text *)0)->serial, "copied whole");
_Static_assert(sizeof((struct index_entry *)0)->key_type == sizeof((struct identity_text *)0)->key_type,
               "copied whole");
_Static_assert(sizeof((struct index_entry *)0)->names == sizeof((struct identity_text *)0)->names, "copied whole");

int authority_release(struct authority *authority, X509 *certificate,
                      int (*write)(void *owner, char problem[AUTHORITY_PROBLEM_BYTES]), void *owner,
                      char problem[AUTHORITY_PROBLEM_BYTES])
{
	struct index_entry entry;
	char ignored[AUTHORITY_PROBLEM_BYTES];

	authority_describe(certificate, &entry);
	int result = index_add_issued(authority->index, &entry, problem);
	if (result != 0)
		return result;
	result = write(owner, problem);
	// When this line cannot be written either, the index shows one certificate too many, which harms nobody.
	if (result != 0)
		(void)!index_add_withdrawn(authority->index, entry.serial, ignored);
	return result;
}

const EVP_MD *authority_digest(const EVP_PKEY *key)
{
	if (!EVP_PKEY_is_a(key, "EC") && !EVP_PKEY_is_a(key, "RSA") && !EVP_PKEY_is_a(key, "RSA-PSS"))
		return NULL;
	return EVP_PKEY_is_a(key, "EC") && EVP_PKEY_get_bits(key) > 256 ? EVP_sha384() : EVP_sha256();
}
