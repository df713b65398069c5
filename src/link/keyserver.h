// The responder's McEliece key pairs: made on a thread of its own (2 MiB stack) while the one before stays in use, so
// nobody waits for one. The previous is kept for one more interval, then wiped: no pair is held for longer than two
// intervals, and none before it is of use to anybody. Memory only. Thread-safe, one per process.

#pragma once

#include "core/outcome.h"
#include "core/secret.h"
#include "crypto/digest.h"

#include <stdbool.h>
#include <stdint.h>

struct keyserver;
// Starts the thread; the first key is ready some 30 ms later.
MUST_USE int keyserver_new(uint32_t rotation_ms, struct keyserver **server);
// Another interval: a new key is made now, and the next ones so often.
void keyserver_set(struct keyserver *server, uint32_t rotation_ms);
void keyserver_free(struct keyserver **server);
// Blocks until the first key is there (start-up, tests). Negative when it cannot be made.
MUST_USE int keyserver_wait(struct keyserver *server);
bool keyserver_current(struct keyserver *server, uint8_t digest[DIGEST_BYTES]);
bool keyserver_copy(struct keyserver *server, uint8_t *out, uint8_t digest[DIGEST_BYTES]);
enum { KEYSERVER_GONE = 1 };
MUST_USE int keyserver_decapsulate(struct keyserver *server, const uint8_t digest[DIGEST_BYTES],
                                   const uint8_t *ciphertext, struct secret *shared);
// Asks for a new current key now instead of at the next interval (reload, tests); it is there some 30 ms later.
void keyserver_rotate(struct keyserver *server);
