#include "crypto/aead.h"

#include "core/log.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdlib.h>

struct aead {
	EVP_CIPHER_CTX *context;
	size_t stride; // packets are given to the library in parts of so many bytes; 0: whole
};

// The library's widest ChaCha20 makes 1 KiB at a time, also for the last few bytes of a packet of 1 280: the rest,
// given apart, goes the shorter way (measured with AVX-512: 5 to 10 %).
#define CHACHA20_STRIDE 1024

// The library's ChaCha20-Poly1305 leaves the upper halves of the vector registers dirty, which makes the ordinary code
// between its calls wait: per packet 10 to 25 % (measured with AVX-512). Clearing them is all it takes.
static void rest_vectors(void)
{
#ifdef __x86_64__
	if (__builtin_cpu_supports("avx"))
		__asm__ volatile("vzeroupper" ::
		                     : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
		                       "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
#endif
}

static _Noreturn void stop(const char *what)
{
	log_error("aead", "the crypto library cannot %s; qanat cannot run without it", what);
	abort();
}

static EVP_CIPHER *fetch(enum aead_cipher cipher)
{
	switch (cipher) {
	case AEAD_CHACHA20_POLY1305:
		return EVP_CIPHER_fetch(NULL, "ChaCha20-Poly1305", NULL);
	case AEAD_AES_256_GCM:
		return EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	}
	return NULL;
}

int aead_new(enum aead_cipher cipher, enum aead_direction direction, const struct secret *key, struct aead **aead)
{
	assert(key->length == AEAD_KEY_BYTES);
	struct aead *made = calloc(1, sizeof *made);
	EVP_CIPHER *method = fetch(cipher);
	if (made)
		made->context = EVP_CIPHER_CTX_new();
	bool done = made && method && made->context &&
	            EVP_CipherInit_ex2(made->context, method, key->bytes, NULL, direction == AEAD_SEALS, NULL) == 1;
	EVP_CIPHER_free(method);
	if (done && cipher == AEAD_CHACHA20_POLY1305)
		made->stride = CHACHA20_STRIDE;
	if (!done) {
		ERR_clear_error();
		aead_free(&made);
		return -ENOMEM;
	}
	*aead = made;
	return 0;
}

void aead_free(struct aead **aead)
{
	if (!*aead)
		return;
	EVP_CIPHER_CTX_free((*aead)->context);
	free(*aead);
	*aead = NULL;
}

static bool update(struct aead *aead, uint8_t *bytes, size_t length)
{
	int written = 0;
	size_t first = aead->stride > 0 && length > aead->stride && length < 2 * aead->stride ? aead->stride : length;
	if (length == 0)
		return true;
	if (EVP_CipherUpdate(aead->context, bytes, &written, bytes, (int)first) != 1)
		return false;
	return first == length ||
	       EVP_CipherUpdate(aead->context, bytes + first, &written, bytes + first, (int)(length - first)) == 1;
}

void aead_seal(struct aead *aead, const uint8_t nonce[AEAD_NONCE_BYTES], uint8_t *bytes, size_t length,
               uint8_t tag[AEAD_TAG_BYTES])
{
	int written = 0;
	assert(length <= INT_MAX);
	if (EVP_EncryptInit_ex(aead->context, NULL, NULL, NULL, nonce) != 1 || !update(aead, bytes, length))
		stop("seal");
	rest_vectors();
	if (EVP_EncryptFinal_ex(aead->context, tag, &written) != 1 ||
	    EVP_CIPHER_CTX_ctrl(aead->context, EVP_CTRL_AEAD_GET_TAG, AEAD_TAG_BYTES, tag) != 1)
		stop("seal");
	rest_vectors();
}

int aead_open(struct aead *aead, const uint8_t nonce[AEAD_NONCE_BYTES], uint8_t *bytes, size_t length,
              const uint8_t tag[AEAD_TAG_BYTES])
{
	int written = 0;
	uint8_t none[AEAD_TAG_BYTES];
	assert(length <= INT_MAX);
	if (EVP_DecryptInit_ex(aead->context, NULL, NULL, NULL, nonce) != 1 ||
	    EVP_CIPHER_CTX_ctrl(aead->context, EVP_CTRL_AEAD_SET_TAG, AEAD_TAG_BYTES, (void *)tag) != 1 ||
	    !update(aead, bytes, length))
		stop("open");
	rest_vectors();
	bool is_genuine = EVP_DecryptFinal_ex(aead->context, none, &written) == 1;
	rest_vectors();
	if (is_genuine)
		return 0;
	ERR_clear_error();
	return AEAD_FORGED;
}
