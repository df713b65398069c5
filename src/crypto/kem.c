#include "crypto/kem.h"

#include "core/log.h"
#include "crypto/digest.h"

#include <errno.h>
#include <mceliece.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

_Static_assert(MCELIECE_KEY_BYTES == mceliece460896f_PUBLICKEYBYTES, "McEliece public key");
_Static_assert(MCELIECE_SECRET_KEY_BYTES == mceliece460896f_SECRETKEYBYTES, "McEliece secret key");
_Static_assert(MCELIECE_CIPHERTEXT_BYTES == mceliece460896f_CIPHERTEXTBYTES, "McEliece ciphertext");
_Static_assert(KEM_SECRET_BYTES == mceliece460896f_BYTES, "McEliece shared secret");

// ---- X25519 and ML-KEM-768: OpenSSL

struct kem_key {
	EVP_PKEY *pair;
};

// The library's queue of errors is per thread; what is left in it would be taken for the next TLS connection's.
static int library_failed(void)
{
	ERR_clear_error();
	return -ENOMEM;
}

static int bad_input(void)
{
	ERR_clear_error();
	return KEM_BAD_INPUT;
}

void kem_key_free(struct kem_key **key)
{
	if (!*key)
		return;
	EVP_PKEY_free((*key)->pair);
	free(*key);
	*key = NULL;
}

static int generate(const char *algorithm, size_t public_length, struct kem_key **key, uint8_t *public_key)
{
	size_t length = public_length;
	struct kem_key *fresh = calloc(1, sizeof *fresh);

	if (!fresh)
		return -ENOMEM;
	fresh->pair = EVP_PKEY_Q_keygen(NULL, NULL, algorithm);
	if (!fresh->pair || EVP_PKEY_get_raw_public_key(fresh->pair, public_key, &length) != 1 || length != public_length) {
		kem_key_free(&fresh);
		return library_failed();
	}
	*key = fresh;
	return 0;
}

int x25519_generate(struct kem_key **key, uint8_t public_key[X25519_BYTES])
{
	return generate("X25519", X25519_BYTES, key, public_key);
}

int x25519_derive(const struct kem_key *key, const uint8_t peer[X25519_BYTES], struct secret *shared)
{
	struct secret fresh = {0};
	size_t length = KEM_SECRET_BYTES;
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(NULL, key->pair, NULL);
	EVP_PKEY *other = EVP_PKEY_new_raw_public_key_ex(NULL, "X25519", NULL, peer, X25519_BYTES);
	int result = secret_init(&fresh, KEM_SECRET_BYTES);

	if (result == 0 && (!context || !other || EVP_PKEY_derive_init(context) != 1 ||
	                    EVP_PKEY_derive_set_peer_ex(context, other, 0) != 1))
		result = library_failed();
	// Hostile: the library fails on an all-zero result, which a peer forces with a point of small order.
	// Spec: RFC 7748 6.1
	if (result == 0 && (EVP_PKEY_derive(context, fresh.bytes, &length) != 1 || length != KEM_SECRET_BYTES))
		result = bad_input();
	if (result == 0)
		secret_move(shared, &fresh);
	secret_fini(&fresh);
	EVP_PKEY_free(other);
	EVP_PKEY_CTX_free(context);
	return result;
}

int mlkem768_generate(struct kem_key **key, uint8_t public_key[MLKEM768_KEY_BYTES])
{
	return generate("ML-KEM-768", MLKEM768_KEY_BYTES, key, public_key);
}

int mlkem768_encapsulate(const uint8_t public_key[MLKEM768_KEY_BYTES], uint8_t ciphertext[MLKEM768_CIPHERTEXT_BYTES],
                         struct secret *shared)
{
	struct secret fresh = {0};
	size_t length = MLKEM768_CIPHERTEXT_BYTES, secret_length = KEM_SECRET_BYTES;

	// Hostile: the import decodes every coefficient and fails on one that is not below the modulus.
	// Spec: FIPS 203 7.2
	EVP_PKEY *other = EVP_PKEY_new_raw_public_key_ex(NULL, "ML-KEM-768", NULL, public_key, MLKEM768_KEY_BYTES);
	if (!other)
		return bad_input();
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(NULL, other, NULL);
	int result = secret_init(&fresh, KEM_SECRET_BYTES);
	if (result == 0 && (!context || EVP_PKEY_encapsulate_init(context, NULL) != 1 ||
	                    EVP_PKEY_encapsulate(context, ciphertext, &length, fresh.bytes, &secret_length) != 1 ||
	                    length != MLKEM768_CIPHERTEXT_BYTES || secret_length != KEM_SECRET_BYTES))
		result = library_failed();
	if (result == 0)
		secret_move(shared, &fresh);
	secret_fini(&fresh);
	EVP_PKEY_CTX_free(context);
	EVP_PKEY_free(other);
	return result;
}

int mlkem768_decapsulate(const struct kem_key *key, const uint8_t ciphertext[MLKEM768_CIPHERTEXT_BYTES],
                         struct secret *shared)
{
	struct secret fresh = {0};
	size_t length = KEM_SECRET_BYTES;
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(NULL, key->pair, NULL);
	int result = secret_init(&fresh, KEM_SECRET_BYTES);

	if (result == 0 &&
	    (!context || EVP_PKEY_decapsulate_init(context, NULL) != 1 ||
	     EVP_PKEY_decapsulate(context, fresh.bytes, &length, ciphertext, MLKEM768_CIPHERTEXT_BYTES) != 1 ||
	     length != KEM_SECRET_BYTES))
		result = library_failed();
	if (result == 0)
		secret_move(shared, &fresh);
	secret_fini(&fresh);
	EVP_PKEY_CTX_free(context);
	return result;
}

// ---- Classic McEliece 460896: libmceliece

struct mceliece_key {
	uint8_t *secret; // whole pages between two that cannot be touched
	uint8_t digest[DIGEST_BYTES];
	uint8_t public_key[MCELIECE_KEY_BYTES];
};

static size_t page_bytes(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

static size_t secret_pages_bytes(void)
{
	return (MCELIECE_SECRET_KEY_BYTES + page_bytes() - 1) / page_bytes() * page_bytes();
}

// Syscalls: mmap, mprotect, madvise, mlock, munmap, getrandom
static int map_secret(uint8_t **secret)
{
	size_t page = page_bytes(), inner = secret_pages_bytes();
	uint8_t *mapped = mmap(NULL, inner + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (mapped == MAP_FAILED)
		return -errno;
	if (mprotect(mapped + page, inner, PROT_READ | PROT_WRITE) != 0 ||
	    madvise(mapped + page, inner, MADV_DONTDUMP) != 0) {
		int result = -errno;
		munmap(mapped, inner + 2 * page);
		return result;
	}
	if (mlock(mapped + page, inner) != 0)
		log_warn("kem",
		         "a McEliece secret key may reach swap: it cannot be locked in memory (%s). Raise the limit of "
		         "locked memory (ulimit -l, LimitMEMLOCK=) or switch swap off",
		         outcome_text(-errno));
	*secret = mapped + page;
	return 0;
}

static void unmap_secret(uint8_t *secret)
{
	secret_wipe(secret, secret_pages_bytes());
	munmap(secret - page_bytes(), secret_pages_bytes() + 2 * page_bytes());
}

// The library leaves copies of secrets on the stack below its caller, and the stack of a thread outlives the thread.
// The sizes are a little more than the deepest use measured over its implementations (916 000 and 71 744 bytes).
enum { GENERATE_STACK_BYTES = 960 * 1024, USE_STACK_BYTES = 96 * 1024 };

__attribute__((noinline)) static void wipe_stack_after_generate(void)
{
	uint8_t used[GENERATE_STACK_BYTES];
	secret_wipe(used, sizeof used);
}

__attribute__((noinline)) static void wipe_stack_after_use(void)
{
	uint8_t used[USE_STACK_BYTES];
	secret_wipe(used, sizeof used);
}

int mceliece_generate(struct mceliece_key **key)
{
	struct mceliece_key *fresh = calloc(1, sizeof *fresh);

	if (!fresh)
		return -ENOMEM;
	int result = map_secret(&fresh->secret);
	if (result < 0) {
		free(fresh);
		return result;
	}
	mceliece460896f_keypair(fresh->public_key, fresh->secret);
	wipe_stack_after_generate();
	const struct digest_part whole = {fresh->public_key, sizeof fresh->public_key};
	digest_sha384(&whole, 1, fresh->digest);
	*key = fresh;
	return 0;
}

void mceliece_key_free(struct mceliece_key **key)
{
	if (!*key)
		return;
	unmap_secret((*key)->secret);
	free(*key);
	*key = NULL;
}

const uint8_t *mceliece_public(const struct mceliece_key *key)
{
	return key->public_key;
}

const uint8_t *mceliece_digest(const struct mceliece_key *key)
{
	return key->digest;
}

int mceliece_encapsulate(const uint8_t public_key[MCELIECE_KEY_BYTES], uint8_t ciphertext[MCELIECE_CIPHERTEXT_BYTES],
                         struct secret *shared)
{
	struct secret fresh = {0};
	int result = secret_init(&fresh, KEM_SECRET_BYTES);

	if (result < 0)
		return result;
	result = mceliece460896f_enc(ciphertext, fresh.bytes, public_key) == 0 ? 0 : KEM_BAD_INPUT;
	wipe_stack_after_use();
	if (result == 0)
		secret_move(shared, &fresh);
	secret_fini(&fresh);
	return result;
}

int mceliece_decapsulate(const struct mceliece_key *key, const uint8_t ciphertext[MCELIECE_CIPHERTEXT_BYTES],
                         struct secret *shared)
{
	struct secret fresh = {0};
	int result = secret_init(&fresh, KEM_SECRET_BYTES);

	if (result < 0)
		return result;
	result = mceliece460896f_dec(fresh.bytes, ciphertext, key->secret) == 0 ? 0 : KEM_BAD_INPUT;
	wipe_stack_after_use();
	if (result == 0)
		secret_move(shared, &fresh);
	secret_fini(&fresh);
	return result;
}
