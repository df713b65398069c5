// Name patterns: anchored, '*' matches any run of characters (also none), everything else itself, ASCII case ignored.
// Linear time in both lengths' product, no recursion. Pure.

#pragma once

#include <stdbool.h>

bool pattern_matches(const char *pattern, const char *name);
