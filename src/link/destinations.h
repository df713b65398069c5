// The dests a source may link with, in their order, and rounds over them: which one to try next. Pure.

#pragma once

#include "limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct destination {
	char host[256]; // name or IP literal without brackets
	uint16_t port;
};

enum destinations_order { DESTINATIONS_PRIORITY, DESTINATIONS_ROUND_ROBIN };

struct destinations {
	struct destination list[LIMIT_DESTS];
	size_t count; // at least one
	enum destinations_order order;
	// The round.
	size_t start, length, tried;
	bool has_used;
	size_t used; // the last one that a link came up with
};

// Another list; names are compared without case. The one used last keeps its place in the turn, when it is still there.
// What is beyond LIMIT_DESTS is the caller's mistake.
void destinations_set(struct destinations *all, const struct destination *list, size_t count,
                      enum destinations_order order);
// A new round over all: with priority from the first on, with round-robin from the one after the last used, and from
// `random` when none was used yet.
void destinations_begin(struct destinations *all, uint32_t random);
// A round over those before the one in use, for fail-back. False: there are none, or the order knows no better ones.
bool destinations_begin_better(struct destinations *all);
// The one to try now.
const struct destination *destinations_now(const struct destinations *all);
// It failed: false when the round is over.
bool destinations_next(struct destinations *all);
// A link has come up with it.
void destinations_take(struct destinations *all);
bool destinations_has(const struct destinations *all, const struct destination *one);
