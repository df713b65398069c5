// Lengths of time as people write them: "90s", "15m", "12h", "30d"; and shares of one: "33%". Pure.

#pragma once

#include "core/outcome.h"

#include <stdint.h>

enum { SPAN_BAD = 1 };

// A whole number and its unit, nothing else; at least one second, at most 36 500 days.
MUST_USE int span_parse(const char *text, uint64_t *seconds);

// A length of time, or a share of another one that is known later.
struct span {
	uint64_t seconds; // 0: a share
	unsigned percent;
};
// Shares are 1 to 99 percent.
MUST_USE int span_parse_any(const char *text, struct span *span);
uint64_t span_of(const struct span *span, uint64_t whole_seconds);
