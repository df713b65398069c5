// Certificates of every kind for tests, since our own CA would not issue most of them.

#pragma once

#include <assert.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <string.h>

static EVP_PKEY *forge_ca_key, *forge_leaf_key;

static inline void forge_start(void)
{
	forge_ca_key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	forge_leaf_key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	assert(forge_ca_key && forge_leaf_key);
}

static inline void forge_stop(void)
{
	EVP_PKEY_free(forge_ca_key);
	EVP_PKEY_free(forge_leaf_key);
}

struct forgery {
	const char *common_name;
	size_t common_name_length; // 0: strlen
	const char *names;         // "DNS:a,IP:1.2.3.4", NULL for none
	const char *usage;         // "serverAuth", NULL for none
	const char *constraints;   // "critical,CA:TRUE", NULL for none
	long from_s, to_s;         // relative to now; both 0: a day around it
	const EVP_PKEY *key;       // NULL: the leaf key
	X509 *issuer;              // NULL: itself
	EVP_PKEY *issuer_key;      // NULL: the CA's
	GENERAL_NAMES *raw_names;  // instead of names; taken
};

static inline void forge_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX context;

	X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
	X509_EXTENSION *extension = X509V3_EXT_nconf_nid(NULL, &context, nid, value);
	assert(extension != NULL);
	assert(X509_add_ext(certificate, extension, -1) == 1);
	X509_EXTENSION_free(extension);
}

// By hand, since the library's own way enforces the lengths a hostile issuer would not.
static inline void forge_common_name(X509_NAME *name, const char *bytes, size_t length)
{
	X509_NAME_ENTRY *entry = X509_NAME_ENTRY_create_by_NID(NULL, NID_commonName, V_ASN1_UTF8STRING,
	                                                       (const uint8_t *)bytes, (int)length);

	assert(entry != NULL);
	assert(X509_NAME_add_entry(name, entry, -1, 0) == 1);
	X509_NAME_ENTRY_free(entry);
}

static inline X509 *forge(const struct forgery *forgery)
{
	static long serial = 1000;
	X509 *certificate = X509_new();
	X509 *issuer = forgery->issuer ? forgery->issuer : certificate;
	EVP_PKEY *signer = forgery->issuer_key ? forgery->issuer_key : forge_ca_key;
	size_t length = forgery->common_name_length ? forgery->common_name_length : strlen(forgery->common_name);
	bool timed = forgery->from_s || forgery->to_s;

	assert(X509_set_version(certificate, X509_VERSION_3) == 1);
	ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++);
	X509_gmtime_adj(X509_getm_notBefore(certificate), timed ? forgery->from_s : -43200);
	X509_gmtime_adj(X509_getm_notAfter(certificate), timed ? forgery->to_s : 43200);
	assert(X509_set_pubkey(certificate, (EVP_PKEY *)(forgery->key ? forgery->key : forge_leaf_key)) == 1);
	forge_common_name(X509_get_subject_name(certificate), forgery->common_name, length);
	assert(X509_set_issuer_name(certificate, X509_get_subject_name(issuer)) == 1);
	forge_extension(certificate, issuer, NID_subject_key_identifier, "hash");
	if (forgery->names)
		forge_extension(certificate, issuer, NID_subject_alt_name, forgery->names);
	if (forgery->raw_names)
		assert(X509_add1_ext_i2d(certificate, NID_subject_alt_name, forgery->raw_names, 0, 0) == 1);
	GENERAL_NAMES_free(forgery->raw_names);
	if (forgery->usage)
		forge_extension(certificate, issuer, NID_ext_key_usage, forgery->usage);
	if (forgery->constraints)
		forge_extension(certificate, issuer, NID_basic_constraints, forgery->constraints);
	const EVP_MD *digest = EVP_PKEY_is_a(signer, "EC") || EVP_PKEY_is_a(signer, "RSA") ? EVP_sha256() : NULL;
	assert(X509_sign(certificate, signer, digest) > 0);
	return certificate;
}

static inline GENERAL_NAMES *forge_name(int type, const char *bytes, size_t length)
{
	GENERAL_NAMES *names = GENERAL_NAMES_new();
	GENERAL_NAME *name = GENERAL_NAME_new();
	ASN1_STRING *value = ASN1_STRING_type_new(type == GEN_IPADD ? V_ASN1_OCTET_STRING : V_ASN1_IA5STRING);

	assert(ASN1_STRING_set(value, bytes, (int)length) == 1);
	GENERAL_NAME_set0_value(name, type, value);
	assert(sk_GENERAL_NAME_push(names, name) > 0);
	return names;
}
