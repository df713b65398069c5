// Key bytes: in locked memory that is left out of core dumps, wiped when released, compared in constant time. There is
// deliberately no printf format and no copy by assignment.

#pragma once

#include "core/outcome.h"

#include <stdbool.h>
#include <stdint.h>

#define SECRET_MAX_BYTES 64

// The null value {0} holds nothing and is harmless to fini.
struct secret {
	uint8_t *bytes; // in the locked arena, NULL when empty
	size_t length;
};

// Maps and locks the arena (LIMIT_SECRETS slots of 64 bytes, guard pages, MADV_DONTDUMP, MADV_WIPEONFORK), switches
// core dumps off (PR_SET_DUMPABLE 0, RLIMIT_CORE 0). Call once before threads start; idempotent. Fails with -errno when
// the memory cannot be mapped; when it can be mapped but not locked (RLIMIT_MEMLOCK) it logs a warning that says how to
// raise the limit and goes on.
MUST_USE int secret_start(void);

// A zeroed slot of length bytes (1..SECRET_MAX_BYTES), its own old one when it has one. -ENOMEM when the arena is full.
// Thread-safe.
MUST_USE int secret_init(struct secret *secret, size_t length);
// secret_init and copy; bytes may lie in the secret's own slot.
MUST_USE int secret_set(struct secret *secret, const uint8_t *bytes, size_t length);
// Moves: `to` is released first, `from` is left empty.
void secret_move(struct secret *to, struct secret *from);
// Wipes and releases; repeatable.
void secret_fini(struct secret *secret);

bool secret_is_set(const struct secret *secret);
// Constant time for equal lengths.
bool secret_is_equal(const uint8_t *a, const uint8_t *b, size_t length);
// Not optimised away.
void secret_wipe(void *bytes, size_t length);
