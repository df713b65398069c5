// Hashes, HKDF and random bytes, all SHA-384 unless named otherwise. RFC 5869 (HKDF), FIPS 180-4. BLAKE2s for one wire.

#pragma once

#include "core/outcome.h"
#include "core/secret.h"

#include <stdint.h>

#define DIGEST_BYTES 48

struct digest_part {
	const void *bytes;
	size_t length;
};

// SHA-384 over the parts in order. Cannot fail (an allocation failure inside the library aborts with a message).
void digest_sha384(const struct digest_part *parts, size_t count, uint8_t out[DIGEST_BYTES]);
// SHA-256 of a byte string, for fingerprints.
void digest_sha256(const void *bytes, size_t length, uint8_t out[32]);

// BLAKE2s-256 (RFC 7693), without a key, over the parts in order, into a new 32-byte secret. Negative on lack of
// memory.
MUST_USE int digest_blake2s(const struct digest_part *parts, size_t count, struct secret *out);

// HKDF-Extract(salt, ikm = the parts in order). The result is a new 48-byte secret in `prk`. Negative on lack of
// memory.
MUST_USE int hkdf_extract(const uint8_t *salt, size_t salt_length, const struct digest_part *ikm, size_t count,
                          struct secret *prk);
// HKDF-Expand-SHA-384(prk, info, length <= 64) into a new secret.
MUST_USE int hkdf_expand(const struct secret *prk, const void *info, size_t info_length, size_t length,
                         struct secret *out);

// Which TLS and crypto library this is linked with ("OpenSSL 3.5.7 9 Jun 2026").
const char *digest_library(void);

// Random bytes from the library's generator; aborts with a message when there are none.
void random_bytes(void *out, size_t length);
