// Where the connections of a proxy go: routes by the name that the client asked for, several targets in each, which of
// them are up. A table is immutable and counted; what is known about a target's health and load is shared by the
// workers and outlives a reload for as long as a target of that name stays.
//
//   pick ─► dial ─► report(reached) ─► … ─► leave        counts in least-connections
//        └─► report(not reached): the target is down, pick again: the next one
//
// A connection keeps a reference of the table that it picked from until it has left.

#pragma once

#include "core/outcome.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct targets;
struct targets_state; // of one target, shared by tables

enum targets_selection { TARGETS_PRIORITY, TARGETS_ROUND_ROBIN, TARGETS_LEAST_CONNECTIONS };

struct targets_address {
	const char *name; // as it is configured, for people: "db.internal:5432"
	const char *host; // what dial_start takes
	uint16_t port;
};

// Everything is copied.
struct targets_route {
	const char *const *names; // "www.example.com", "*.example.com"; none: the default, for every other name
	size_t name_count;
	const struct targets_address *targets; // at most LIMIT_TARGETS_PER_ROUTE
	size_t target_count;
	enum targets_selection selection;
};
// How many checks in a row change a mind; see flow/probes.h.
struct targets_settings {
	const struct targets_route *routes;
	size_t route_count;
	uint32_t rise, fall;
	uint64_t forgive_ms; // a target that is down counts as unknown after so long; 0: checks find out (flow/probes.h)
};

// `old` may be NULL. Negative: no memory.
MUST_USE int targets_new(const struct targets_settings *settings, struct targets *old, struct targets **targets);
// From any thread. Leaves NULL, harmless on NULL.
struct targets *targets_ref(struct targets *targets);
void targets_unref(struct targets **targets);

// The null value begins; it is valid as long as the table.
struct target_pick {
	const char *host, *name; // lent by the table
	uint16_t port;
	uint32_t tried; // by this connection: bits of the route's targets
	struct targets_state *state;
};
// The next target for a client that asked for `sni` ("": none), counted as one connection more; the one before is left.
// An exact name wins over a wildcard, a wildcard over the default. The targets that are down come last, because they
// may be up again. From any thread. TARGETS_NONE: no route has the name, or all of its targets have been tried.
enum { TARGETS_NONE = 1 };
MUST_USE int targets_pick(struct targets *targets, const char *sni, struct target_pick *pick);
// What came of dialling it. Not reached: marks it down, and leaves it. True when that changed its state, for the log.
bool targets_report(struct targets *targets, struct target_pick *pick, bool reached);
// The connection has ended, or gave up before it knew. Harmless on a pick that was left already.
void targets_leave(struct target_pick *pick);

// ---- for those who look

enum targets_health { TARGETS_UNKNOWN, TARGETS_UP, TARGETS_DOWN };
const char *targets_health_name(enum targets_health health);

struct targets_sight {
	const char *name, *host; // lent by the table
	uint16_t port;
	enum targets_health health;
	bool is_alone; // in every route that names it: there is nothing to choose
	uint32_t connections;
	uint64_t changes; // of health
	uint64_t checks_failed;
};
// Each target once, however many routes name it. index below targets_count.
size_t targets_count(const struct targets *targets);
void targets_look(const struct targets *targets, size_t index, struct targets_sight *sight);
// A check of this one has ended. True when that changed its state.
bool targets_checked(struct targets *targets, size_t index, bool is_good);
