// The initiator's cache of McEliece public keys by digest: a few entries of half a megabyte, least recently used goes.
// Not thread-safe: owned by the loop that runs the control connections.

#pragma once

#include "core/outcome.h"
#include "crypto/digest.h"

#include <stdbool.h>
#include <stdint.h>

struct keycache;
MUST_USE int keycache_new(unsigned entries, struct keycache **cache);
void keycache_free(struct keycache **cache);
const uint8_t *keycache_lookup(struct keycache *cache, const uint8_t digest[DIGEST_BYTES]);
// Checks nothing: the engine has compared the digest.
void keycache_store(struct keycache *cache, const uint8_t digest[DIGEST_BYTES], const uint8_t *key);
// The digest stored or looked up last.
bool keycache_last(const struct keycache *cache, uint8_t digest[DIGEST_BYTES]);
