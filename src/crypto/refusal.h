// The one sentence for people with which work on certificates ends when it cannot be done.

#pragma once

#include "core/outcome.h"

#define REFUSAL_BYTES 512
enum { REFUSAL = 1 };

// Writes the sentence, empties the library's error queue, returns REFUSAL.
PRINTF_LIKE(2, 3) int refusal(char problem[REFUSAL_BYTES], const char *format, ...);
// "the crypto library failed while DOING: its reason".
int refusal_by_library(const char *doing, char problem[REFUSAL_BYTES]);
