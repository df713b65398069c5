#include "crypto/digest.h"

#include "core/log.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

// Looked up once: a fetch takes a lock and a search by name, and every new flow derives a key. The HMAC context is a
// template that already knows its digest; users take a copy and give it their key.
static EVP_MD *sha384;
static EVP_MD *sha256;
static EVP_MD *blake2s;
static EVP_MAC_CTX *hmac;
static pthread_once_t fetched = PTHREAD_ONCE_INIT;

static _Noreturn void stop(const char *what)
{
	log_error("digest", "the crypto library has no %s; qanat cannot run without it", what);
	abort();
}

static void fetch(void)
{
	static const uint8_t no_key[DIGEST_BYTES];
	char name[] = "SHA384";
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name, 0),
		OSSL_PARAM_construct_end(),
	};

	sha384 = EVP_MD_fetch(NULL, "SHA384", NULL);
	if (!sha384)
		stop("SHA-384");
	sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	if (!sha256)
		stop("SHA-256");
	blake2s = EVP_MD_fetch(NULL, "BLAKE2S-256", NULL);
	if (!blake2s)
		stop("BLAKE2s-256");
	EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	hmac = mac ? EVP_MAC_CTX_new(mac) : NULL;
	EVP_MAC_free(mac);
	if (!hmac || EVP_MAC_init(hmac, no_key, sizeof no_key, params) != 1)
		stop("HMAC-SHA-384");
}

static void fetch_once(void)
{
	if (pthread_once(&fetched, fetch) != 0)
		stop("way to start");
}

void digest_sha384(const struct digest_part *parts, size_t count, uint8_t out[DIGEST_BYTES])
{
	fetch_once();
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	if (!context || EVP_DigestInit_ex2(context, sha384, NULL) != 1)
		stop("memory for SHA-384");
	for (size_t i = 0; i < count; i++) {
		if (EVP_DigestUpdate(context, parts[i].bytes, parts[i].length) != 1)
			stop("working SHA-384");
	}
	if (EVP_DigestFinal_ex(context, out, NULL) != 1)
		stop("working SHA-384");
	EVP_MD_CTX_free(context);
}

void digest_sha256(const void *bytes, size_t length, uint8_t out[32])
{
	fetch_once();
	if (EVP_Digest(bytes, length, out, NULL, sha256, NULL) != 1)
		stop("working SHA-256");
}

int digest_blake2s(const struct digest_part *parts, size_t count, struct secret *out)
{
	fetch_once();
	int result = secret_init(out, 32);
	if (result < 0)
		return result;
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	if (!context || EVP_DigestInit_ex2(context, blake2s, NULL) != 1)
		stop("memory for BLAKE2s-256");
	for (size_t i = 0; i < count; i++) {
		if (EVP_DigestUpdate(context, parts[i].bytes, parts[i].length) != 1)
			stop("working BLAKE2s-256");
	}
	if (EVP_DigestFinal_ex(context, out->bytes, NULL) != 1)
		stop("working BLAKE2s-256");
	EVP_MD_CTX_free(context);
	return 0;
}

// HMAC-SHA-384 over the parts, DIGEST_BYTES into out.
static int hmac_parts(const uint8_t *key, size_t key_length, const struct digest_part *parts, size_t count,
                      uint8_t *out)
{
	size_t length = 0;
	EVP_MAC_CTX *context = EVP_MAC_CTX_dup(hmac);
	bool done = context && EVP_MAC_init(context, key, key_length, NULL) == 1;

	for (size_t i = 0; done && i < count; i++)
		done = parts[i].length == 0 || EVP_MAC_update(context, parts[i].bytes, parts[i].length) == 1;
	done = done && EVP_MAC_final(context, out, &length, DIGEST_BYTES) == 1 && length == DIGEST_BYTES;
	EVP_MAC_CTX_free(context);
	if (done)
		return 0;
	ERR_clear_error();
	return -ENOMEM;
}

int hkdf_extract(const uint8_t *salt, size_t salt_length, const struct digest_part *ikm, size_t count,
                 struct secret *prk)
{
	// Spec: RFC 5869 2.2, a salt that is not given is a string of zeros.
	static const uint8_t no_salt[DIGEST_BYTES];
	struct secret fresh = {0};

	fetch_once();
	if (salt_length == 0) {
		salt = no_salt;
		salt_length = sizeof no_salt;
	}
	int result = secret_init(&fresh, DIGEST_BYTES);
	if (result == 0)
		result = hmac_parts(salt, salt_length, ikm, count, fresh.bytes);
	if (result == 0)
		secret_move(prk, &fresh);
	secret_fini(&fresh);
	return result;
}

// Spec: RFC 5869 2.3. T(1) and, beyond 48 bytes, T(2); both in locked memory.
int hkdf_expand(const struct secret *prk, const void *info, size_t info_length, size_t length, struct secret *out)
{
	static const uint8_t one = 1, two = 2;
	struct secret first = {0}, second = {0}, fresh = {0};

	assert(length >= 1 && length <= SECRET_MAX_BYTES);
	fetch_once();
	const struct digest_part head[] = {{info, info_length}, {&one, 1}};
	int result = secret_init(&first, DIGEST_BYTES);
	if (result == 0)
		result = hmac_parts(prk->bytes, prk->length, head, COUNT_OF(head), first.bytes);
	if (result == 0)
		result = secret_init(&fresh, length);
	if (result == 0)
		memcpy(fresh.bytes, first.bytes, length < DIGEST_BYTES ? length : DIGEST_BYTES);
	if (result == 0 && length > DIGEST_BYTES) {
		const struct digest_part tail[] = {{first.bytes, first.length}, {info, info_length}, {&two, 1}};
		result = secret_init(&second, DIGEST_BYTES);
		if (result == 0)
			result = hmac_parts(prk->bytes, prk->length, tail, COUNT_OF(tail), second.bytes);
		if (result == 0)
			memcpy(fresh.bytes + DIGEST_BYTES, second.bytes, length - DIGEST_BYTES);
	}
	if (result == 0)
		secret_move(out, &fresh);
	secret_fini(&first);
	secret_fini(&second);
	secret_fini(&fresh);
	return result;
}

void random_bytes(void *out, size_t length)
{
	assert(length <= INT_MAX);
	if (RAND_bytes(out, (int)length) != 1)
		stop("random bytes");
}

const char *digest_library(void)
{
	return OpenSSL_version(OPENSSL_VERSION);
}
