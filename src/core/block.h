// Fixed blocks for bytes that a socket did not take at once: one unit and its record overhead. Each thread keeps a few
// free ones, so that after warm-up the data path does not allocate.

#pragma once

#include "limits.h"

#include <stdint.h>

#define BLOCK_BYTES (LIMIT_UNIT_BYTES + 4096)

// NULL without memory.
uint8_t *block_take(void);
// To the same thread it was taken on; leaves NULL. Harmless on NULL.
void block_give(uint8_t **block);
// Frees what this thread keeps (thread end).
void block_trim(void);
