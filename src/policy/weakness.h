// Whether a pre-shared key is one that somebody may guess. Pure, and no proof of strength.

#pragma once

#include <stddef.h>
#include <stdint.h>

// NULL, or why it is weak ("shorter than 16 bytes"), for people. The key is not shown.
const char *weakness_of(const uint8_t *key, size_t length);
