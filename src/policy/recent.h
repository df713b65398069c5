// The latest random values that were seen: has this one been here before? In fixed memory; the oldest are forgotten.
// Pure.

#pragma once

#include <stdbool.h>
#include <stdint.h>

#define RECENT_BYTES 16
#define RECENT_SETS 1024 // a power of two
#define RECENT_PER_SET 4

// 64 KiB; the null value has seen nothing.
struct recent {
	uint8_t next[RECENT_SETS];
	uint8_t is_used[RECENT_SETS][RECENT_PER_SET];
	uint8_t values[RECENT_SETS][RECENT_PER_SET][RECENT_BYTES];
};

// Remembers the value. False: it is remembered already.
bool recent_add(struct recent *recent, const uint8_t value[RECENT_BYTES]);
