// An HTTP answer of GET /health, as text: whether the node is healthy, and its own words. Pure.

#pragma once

#include "core/outcome.h"

#include <stdbool.h>
#include <stddef.h>

#define HEALTH_TEXT_BYTES 256

struct health_answer {
	unsigned code;                                              // of HTTP
	bool passed;                                                // 200, and "Healthy" or "Degraded"
	char status[HEALTH_TEXT_BYTES], message[HEALTH_TEXT_BYTES]; // printable ASCII, cut
};

// HEALTH_ANSWER_BAD: not an answer of a node.
enum { HEALTH_ANSWER_BAD = 1 };
MUST_USE int health_answer_read(const char *bytes, size_t length, struct health_answer *answer);
