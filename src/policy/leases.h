// Numbers of a pool, leased to names: 1 to `count`. A name keeps its number while there is room; when there is none,
// the one that was away longest loses its own to a new name. Not shared between threads. Pure: no clock.

#pragma once

#include "core/outcome.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct leases;

// Negative: no memory.
MUST_USE int leases_new(uint32_t count, struct leases **leases);
void leases_free(struct leases **leases);
// Whether this number is kept out of the pool: it is somebody's own. Who holds it is
// given another one when it asks again.
void leases_reserve(struct leases *leases, uint32_t number, bool is_reserved);
// The number of a name: its own, a free one, or that of the one that was away longest. LEASES_FULL: all are held.
// Negative: no memory.
enum { LEASES_FULL = 1 };
MUST_USE int leases_take(struct leases *leases, const char *name, uint64_t now_ms, uint32_t *number);
// A number that is held is nobody else's. Released, it is away from now on.
void leases_hold(struct leases *leases, uint32_t number);
void leases_release(struct leases *leases, uint32_t number, uint64_t now_ms);
// Whether it is still that name's.
bool leases_is_of(const struct leases *leases, uint32_t number, const char *name);
