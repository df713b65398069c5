#include "crypto/legacy.h"

#include "core/outcome.h"
#include "crypto/pem.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <string.h>
#include <strings.h>

#define TO_ML_DSA_65 "ML-DSA-65 (FIPS 204) takes its place: make a new one with --key ml-dsa-65"
#define TO_ML_DSA_87 "ML-DSA-87 (FIPS 204) takes its place: make a new one with --key ml-dsa-87"
#define FROM_BEFORE " (of oqs-provider, from before the standard, which nothing else accepts); "

// The identifiers of round 3 and of its composites with classical keys, as oqs-provider assigned them.
static const struct {
	const char *identifier, *word, *text;
} known[] = {
	{"1.3.6.1.4.1.2.267.7.4.4", "dilithium2", "Dilithium2" FROM_BEFORE TO_ML_DSA_65},
	{"1.3.6.1.4.1.2.267.7.6.5", "dilithium3", "Dilithium3" FROM_BEFORE TO_ML_DSA_65},
	{"1.3.6.1.4.1.2.267.7.8.7", "dilithium5", "Dilithium5" FROM_BEFORE TO_ML_DSA_87},
	{"1.3.9999.2.7.1", "p256_dilithium2", "P-256 with Dilithium2" FROM_BEFORE TO_ML_DSA_65},
	{"1.3.9999.2.7.2", "rsa3072_dilithium2", "RSA with Dilithium2" FROM_BEFORE TO_ML_DSA_65},
	{"1.3.9999.2.7.3", "p384_dilithium3", "P-384 with Dilithium3" FROM_BEFORE TO_ML_DSA_65},
	{"1.3.9999.2.7.4", "p521_dilithium5", "P-521 with Dilithium5" FROM_BEFORE TO_ML_DSA_87},
};

// What only these have in common: the arc of the Open Quantum Safe project, and those of Dilithium's drafts.
static const struct {
	const char *prefix, *text;
} families[] = {
	{"1.3.6.1.4.1.2.267.12.", "a draft of ML-DSA" FROM_BEFORE TO_ML_DSA_65},
	{"1.3.6.1.4.1.2.267.", "a draft of Dilithium" FROM_BEFORE TO_ML_DSA_65},
	{"1.3.9999.3.", "Falcon" FROM_BEFORE TO_ML_DSA_65},
	{"1.3.9999.6.", "SPHINCS+" FROM_BEFORE TO_ML_DSA_65},
	{"1.3.9999.", "an experimental algorithm" FROM_BEFORE TO_ML_DSA_65},
};

static const char *find(const ASN1_OBJECT *object)
{
	char identifier[64] = "";

	OBJ_obj2txt(identifier, sizeof identifier, object, 1);
	for (size_t i = 0; i < COUNT_OF(known); i++)
		if (strcmp(identifier, known[i].identifier) == 0)
			return known[i].text;
	for (size_t i = 0; i < COUNT_OF(families); i++)
		if (strncmp(identifier, families[i].prefix, strlen(families[i].prefix)) == 0)
			return families[i].text;
	return NULL;
}

const char *legacy_of_signature(const X509 *certificate)
{
	const X509_ALGOR *algorithm = NULL;
	const ASN1_OBJECT *object = NULL;

	X509_get0_signature(NULL, &algorithm, certificate);
	X509_ALGOR_get0(&object, NULL, NULL, algorithm);
	return find(object);
}

const char *legacy_of_pubkey(const X509_PUBKEY *key)
{
	ASN1_OBJECT *object = NULL;

	if (!key || X509_PUBKEY_get0_param(&object, NULL, NULL, NULL, key) != 1)
		return NULL;
	return find(object);
}

const char *legacy_of_pem(const void *bytes, size_t length)
{
	BIO *input = BIO_new_mem_buf(bytes, (int)length);
	PKCS8_PRIV_KEY_INFO *info = input ? PEM_read_bio_PKCS8_PRIV_KEY_INFO(input, NULL, pem_refuse_to_ask, NULL) : NULL;
	const ASN1_OBJECT *object = NULL;
	const char *text = NULL;

	if (info && PKCS8_pkey_get0(&object, NULL, NULL, NULL, info) == 1)
		text = find(object);
	PKCS8_PRIV_KEY_INFO_free(info);
	BIO_free(input);
	ERR_clear_error();
	return text;
}

const char *legacy_of_word(const char *word)
{
	for (size_t i = 0; i < COUNT_OF(known); i++)
		if (strcasecmp(word, known[i].word) == 0)
			return known[i].text;
	return NULL;
}
