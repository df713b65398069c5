#include "crypto/selftest.h"

#include "crypto/issue.h"
#include "crypto/kem.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/provider.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// What a leg's round trip came to, as text.
static const char works[] = "works: generated, encapsulated, decapsulated; a flipped bit is noticed";
static const char other_secret[] = "the two sides got different secrets";
static const char unnoticed[] = "a flipped bit was not noticed";

enum { MCELIECE_STACK_BYTES = 4 * 1024 * 1024, SIGNATURE_MAX_BYTES = 8192 };

// ---- the library

#define OQS_ADVICE                                                                                         \
	"nothing to do: ML-KEM and ML-DSA come with OpenSSL here, and oqs-provider is never loaded. Keys and " \
	"certificates that it made for Dilithium are not accepted: make new ones with --key ml-dsa-65"

static void find_oqs(struct findings *findings)
{
	const char *folder = OPENSSL_info(OPENSSL_INFO_MODULES_DIR);
	char path[512];

	snprintf(path, sizeof path, "%s/oqsprovider.so", folder ? folder : "");
	if (OSSL_PROVIDER_available(NULL, "oqsprovider") == 1)
		finding_add(findings, FINDING_WARNING, "oqs-provider",
		            "take it out of openssl.cnf for this program (OPENSSL_CONF=/dev/null): it is not needed, and its "
		            "algorithms would be mixed with those of OpenSSL",
		            "is active in this process, by way of the system's openssl.cnf");
	else if (folder && access(path, F_OK) == 0)
		finding_add(findings, FINDING_NOTE, "oqs-provider", OQS_ADVICE, "is installed (%s), and not used", path);
	else
		finding_add(findings, FINDING_OK, "oqs-provider", NULL, "is not there, and not needed");
}

void selftest_library(struct findings *findings)
{
	const char *version = OpenSSL_version(OPENSSL_VERSION), *built = OpenSSL_version(OPENSSL_BUILT_ON);
	const char *platform = OpenSSL_version(OPENSSL_PLATFORM);

	if (OpenSSL_version_num() < 0x30500000L)
		finding_add(findings, FINDING_ERROR, "OpenSSL", "install OpenSSL 3.5 or newer",
		            "%s is older than 3.5 and has neither ML-KEM nor ML-DSA", version);
	else if (OpenSSL_version_num() < (OPENSSL_VERSION_NUMBER & ~0xfL))
		finding_add(findings, FINDING_WARNING, "OpenSSL", "install the version this was built with, or build again",
		            "%s is loaded, older than %s, with which this was built", version, OPENSSL_VERSION_TEXT);
	else
		finding_add(findings, FINDING_OK, "OpenSSL", NULL, "%s (%s; %s)", version, built, platform);
	find_oqs(findings);
}

// ---- legs

// What one leg came to: NULL for works.
static const char *judge(int result, const struct secret *a, const struct secret *b, const struct secret *tampered)
{
	if (result != 0)
		return result < 0 ? outcome_text(result) : "a good key or ciphertext was refused";
	if (!secret_is_set(a) || !secret_is_set(b) || !secret_is_equal(a->bytes, b->bytes, KEM_SECRET_BYTES))
		return other_secret;
	// A leg may also refuse what was tampered with.
	if (secret_is_set(tampered) && secret_is_equal(a->bytes, tampered->bytes, KEM_SECRET_BYTES))
		return unnoticed;
	return NULL;
}

static void add_leg(struct findings *findings, const char *subject, const char *fault)
{
	if (fault)
		finding_add(findings, FINDING_ERROR, subject,
		            "run no link on this machine: the library is broken, or the memory", "%s", fault);
	else
		finding_add(findings, FINDING_OK, subject, NULL, "%s", works);
}

static void try_x25519(struct findings *findings)
{
	struct kem_key *left = NULL, *right = NULL;
	uint8_t left_public[X25519_BYTES], right_public[X25519_BYTES];
	struct secret a = {0}, b = {0}, c = {0};
	int result = x25519_generate(&left, left_public);

	if (result == 0)
		result = x25519_generate(&right, right_public);
	if (result == 0)
		result = x25519_derive(left, right_public, &a);
	if (result == 0)
		result = x25519_derive(right, left_public, &b);
	if (result == 0) {
		left_public[0] ^= 1;
		(void)!x25519_derive(right, left_public, &c);
	}
	add_leg(findings, "X25519", judge(result, &a, &b, &c));
	kem_key_free(&left);
	kem_key_free(&right);
	secret_fini(&a);
	secret_fini(&b);
	secret_fini(&c);
}

static void try_mlkem768(struct findings *findings)
{
	struct kem_key *key = NULL;
	uint8_t public_key[MLKEM768_KEY_BYTES], ciphertext[MLKEM768_CIPHERTEXT_BYTES];
	struct secret a = {0}, b = {0}, c = {0};
	int result = mlkem768_generate(&key, public_key);

	if (result == 0)
		result = mlkem768_encapsulate(public_key, ciphertext, &a);
	if (result == 0)
		result = mlkem768_decapsulate(key, ciphertext, &b);
	if (result == 0) {
		ciphertext[100] ^= 1;
		(void)!mlkem768_decapsulate(key, ciphertext, &c);
	}
	add_leg(findings, "ML-KEM-768", judge(result, &a, &b, &c));
	kem_key_free(&key);
	secret_fini(&a);
	secret_fini(&b);
	secret_fini(&c);
}

static void *try_mceliece(void *findings)
{
	struct mceliece_key *key = NULL;
	uint8_t ciphertext[MCELIECE_CIPHERTEXT_BYTES];
	struct secret a = {0}, b = {0}, c = {0};
	int result = mceliece_generate(&key);

	if (result == 0)
		result = mceliece_encapsulate(mceliece_public(key), ciphertext, &a);
	if (result == 0)
		result = mceliece_decapsulate(key, ciphertext, &b);
	if (result == 0) {
		ciphertext[100] ^= 1;
		(void)!mceliece_decapsulate(key, ciphertext, &c);
	}
	add_leg(findings, "Classic McEliece 460896", judge(result, &a, &b, &c));
	mceliece_key_free(&key);
	secret_fini(&a);
	secret_fini(&b);
	secret_fini(&c);
	return NULL;
}

void selftest_kems(struct findings *findings)
{
	pthread_attr_t attributes;
	pthread_t thread;

	try_x25519(findings);
	try_mlkem768(findings);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, MCELIECE_STACK_BYTES);
	int error = pthread_create(&thread, &attributes, try_mceliece, findings);
	pthread_attr_destroy(&attributes);
	if (error != 0)
		add_leg(findings, "Classic McEliece 460896", outcome_text(-error));
	else
		pthread_join(thread, NULL);
}

// ---- signatures

static bool sign(EVP_PKEY *key, const char *digest, const char *message, uint8_t *signature, size_t *length)
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	bool done = context && EVP_DigestSignInit_ex(context, NULL, digest, NULL, NULL, key, NULL) == 1 &&
	            EVP_DigestSign(context, signature, length, (const uint8_t *)message, strlen(message)) == 1;

	EVP_MD_CTX_free(context);
	return done;
}

static bool verify(EVP_PKEY *key, const char *digest, const char *message, const uint8_t *signature, size_t length)
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	bool done = context && EVP_DigestVerifyInit_ex(context, NULL, digest, NULL, NULL, key, NULL) == 1 &&
	            EVP_DigestVerify(context, signature, length, (const uint8_t *)message, strlen(message)) == 1;

	EVP_MD_CTX_free(context);
	return done;
}

static const char *try_key(enum issue_key kind)
{
	static const char message[] = "a message", other[] = "a massage";
	uint8_t signature[SIGNATURE_MAX_BYTES];
	size_t length = sizeof signature;
	const char *digest = kind == ISSUE_KEY_P256 ? "SHA256" : NULL;
	EVP_PKEY *key = issue_make_key(kind);
	const char *fault = NULL;

	if (!key)
		fault = "the library cannot make a key";
	else if (!sign(key, digest, message, signature, &length))
		fault = "the library cannot sign";
	else if (!verify(key, digest, message, signature, length))
		fault = "a good signature is refused";
	else if (verify(key, digest, other, signature, length))
		fault = "a signature is accepted for another message";
	if (!fault) {
		signature[length / 2] ^= 1;
		fault = verify(key, digest, message, signature, length) ? unnoticed : NULL;
	}
	EVP_PKEY_free(key);
	ERR_clear_error();
	return fault;
}

void selftest_signatures(struct findings *findings)
{
	static const char *const subjects[] = {[ISSUE_KEY_P256] = "ECDSA P-256",
	                                       [ISSUE_KEY_ED25519] = "Ed25519",
	                                       [ISSUE_KEY_ML_DSA_65] = "ML-DSA-65",
	                                       [ISSUE_KEY_ML_DSA_87] = "ML-DSA-87"};
	_Static_assert(COUNT_OF(subjects) == ISSUE_KEY_ML_DSA_87 + 1, "a name for every kind of key");

	for (size_t i = 0; i < COUNT_OF(subjects); i++) {
		const char *fault = try_key((enum issue_key)i);
		if (fault)
			finding_add(findings, FINDING_ERROR, subjects[i], "use another --key on this machine", "%s", fault);
		else
			finding_add(findings, FINDING_OK, subjects[i], NULL,
			            "works: signed and verified; a flipped bit and another message are refused");
	}
}
