// Active health checks of a proxy's targets: each is dialled now and then, on one loop, and what came of it is told to
// its table (flow/targets.h). A target that shares a route is always checked; one that has no other beside it only
// while it is down, because there is nothing to choose and a check is noise in its log.

#pragma once

#include "core/loop.h"
#include "flow/targets.h"

struct probes;

struct probes_settings {
	bool is_off;
	uint32_t interval_ms; // between two checks of one target; each waits up to a quarter more or less
	uint32_t timeout_ms;
};

MUST_USE int probes_new(struct loop *loop, struct probes **probes);
// On the loop's thread, as often as there is a new table or there are new settings: checks under way are given up. A
// reference is taken. Negative: no memory, and nothing is checked any more.
MUST_USE int probes_set(struct probes *probes, struct targets *targets, const struct probes_settings *settings);
// On the loop's thread. Harmless on NULL.
void probes_free(struct probes **probes);
