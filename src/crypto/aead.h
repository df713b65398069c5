// Authenticated encryption of packets, in place: AES-256-GCM (SP 800-38D) and ChaCha20-Poly1305 (RFC 8439), 32-byte
// keys, 12-byte nonces, 16-byte tags, no associated data. One object per direction; nothing is looked up or allocated
// per packet.

#pragma once

#include "core/outcome.h"
#include "core/secret.h"

#include <stddef.h>
#include <stdint.h>

#define AEAD_KEY_BYTES 32
#define AEAD_NONCE_BYTES 12
#define AEAD_TAG_BYTES 16

enum aead_cipher { AEAD_CHACHA20_POLY1305, AEAD_AES_256_GCM };
enum aead_direction { AEAD_SEALS, AEAD_OPENS };

struct aead;

// The key is copied into the library's own memory. Negative: no memory.
MUST_USE int aead_new(enum aead_cipher cipher, enum aead_direction direction, const struct secret *key,
                      struct aead **aead);
// Wipes and frees.
void aead_free(struct aead **aead);
// At most INT_MAX bytes. A nonce is used once with a key: the caller's duty.
void aead_seal(struct aead *aead, const uint8_t nonce[AEAD_NONCE_BYTES], uint8_t *bytes, size_t length,
               uint8_t tag[AEAD_TAG_BYTES]);
// 0, or AEAD_FORGED: the bytes are worthless then, and must not be looked at.
enum { AEAD_FORGED = 1 };
MUST_USE int aead_open(struct aead *aead, const uint8_t nonce[AEAD_NONCE_BYTES], uint8_t *bytes, size_t length,
                       const uint8_t tag[AEAD_TAG_BYTES]);
