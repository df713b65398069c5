// The legs of an epoch: X25519 (RFC 7748), ML-KEM-768 (FIPS 203), Classic McEliece 460896 (fast key generation, without
// plaintext confirmation). Every shared secret is 32 bytes and lands in a struct secret. Implicit rejection: a wrong
// ciphertext of the right length yields a secret nobody shares, not an error.

#pragma once

#include "core/outcome.h"
#include "core/secret.h"

#include <stdint.h>

enum {
	X25519_BYTES = 32,
	MLKEM768_KEY_BYTES = 1184,
	MLKEM768_CIPHERTEXT_BYTES = 1088,
	MCELIECE_KEY_BYTES = 524160,
	MCELIECE_SECRET_KEY_BYTES = 13608,
	MCELIECE_CIPHERTEXT_BYTES = 156,
	KEM_SECRET_BYTES = 32,
};

// A peer's public key or ciphertext is not usable (all-zero X25519 result, ML-KEM modulus check).
enum { KEM_BAD_INPUT = 1 };

// An ephemeral X25519 or ML-KEM-768 private key. The null value is NULL; freeing wipes.
struct kem_key;
void kem_key_free(struct kem_key **key);

MUST_USE int x25519_generate(struct kem_key **key, uint8_t public_key[X25519_BYTES]);
// 0, KEM_BAD_INPUT when the result is all zero (RFC 7748 6.1), or negative.
MUST_USE int x25519_derive(const struct kem_key *key, const uint8_t peer[X25519_BYTES], struct secret *shared);

MUST_USE int mlkem768_generate(struct kem_key **key, uint8_t public_key[MLKEM768_KEY_BYTES]);
// 0, KEM_BAD_INPUT when the encapsulation key fails FIPS 203 7.2's modulus check, or negative.
MUST_USE int mlkem768_encapsulate(const uint8_t public_key[MLKEM768_KEY_BYTES],
                                  uint8_t ciphertext[MLKEM768_CIPHERTEXT_BYTES], struct secret *shared);
MUST_USE int mlkem768_decapsulate(const struct kem_key *key, const uint8_t ciphertext[MLKEM768_CIPHERTEXT_BYTES],
                                  struct secret *shared);

// 20-40 ms and up to 900 KiB of stack: only on a thread made for it (link/keyserver). The secret key is written to
// locked, undumped memory of its own (it is larger than a struct secret holds).
struct mceliece_key;
MUST_USE int mceliece_generate(struct mceliece_key **key);
void mceliece_key_free(struct mceliece_key **key);
// The public key (MCELIECE_KEY_BYTES) and its SHA-384, lent for the life of the key.
const uint8_t *mceliece_public(const struct mceliece_key *key);
const uint8_t *mceliece_digest(const struct mceliece_key *key);
// About 15 and 57 microseconds, up to 170 KiB of stack. 0, KEM_BAD_INPUT when the library finds the key or ciphertext
// malformed (460896 has no such key or ciphertext of the right length), or negative.
MUST_USE int mceliece_encapsulate(const uint8_t public_key[MCELIECE_KEY_BYTES],
                                  uint8_t ciphertext[MCELIECE_CIPHERTEXT_BYTES], struct secret *shared);
MUST_USE int mceliece_decapsulate(const struct mceliece_key *key, const uint8_t ciphertext[MCELIECE_CIPHERTEXT_BYTES],
                                  struct secret *shared);
