#include "flow/targets.h"

#include "core/clock.h"
#include "limits.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

_Static_assert(LIMIT_TARGETS_PER_ROUTE <= 32, "a bit of target_pick.tried for each");

struct targets_state {
	_Atomic uint32_t references;
	char *name, *host;
	uint16_t port;
	_Atomic int health;
	_Atomic uint64_t down_ms; // when it was last found down
	_Atomic int32_t streak;   // checks in a row: good ones above 0, failed ones below
	_Atomic uint32_t connections;
	_Atomic uint64_t changes, checks_failed;
};

struct route {
	char **names; // lower case
	size_t name_count;
	enum targets_selection selection;
	_Atomic uint32_t turn;
	struct targets_state *targets[LIMIT_TARGETS_PER_ROUTE]; // lent by the table
	unsigned target_count;
};

struct targets {
	_Atomic uint32_t references;
	int32_t rise, fall;
	uint64_t forgive_ms;
	struct route *routes;
	size_t route_count;
	struct targets_state **states; // each once
	size_t state_count;
};

// ---- tables --------------------------------------------------------------------------------------------------------

static void drop_state(struct targets_state *state)
{
	if (atomic_fetch_sub(&state->references, 1) != 1)
		return;
	free(state->name);
	free(state->host);
	free(state);
}

static struct targets_state *find_state(const struct targets *table, const char *name)
{
	for (size_t i = 0; table && i < table->state_count; i++)
		if (strcmp(table->states[i]->name, name) == 0)
			return table->states[i];
	return NULL;
}

static struct targets_state *new_state(const struct targets_address *address)
{
	struct targets_state *state = calloc(1, sizeof *state);
	if (!state)
		return NULL;
	state->references = 1;
	state->name = strdup(address->name);
	state->host = strdup(address->host);
	state->port = address->port;
	if (state->name && state->host)
		return state;
	drop_state(state);
	return NULL;
}

// A target's name says all about it, so that what was known about that name still holds. The table has room.
static struct targets_state *add_state(struct targets *table, const struct targets *old,
                                       const struct targets_address *address)
{
	struct targets_state *state = find_state(table, address->name);
	if (state)
		return state;
	state = find_state(old, address->name);
	if (state)
		atomic_fetch_add(&state->references, 1);
	else
		state = new_state(address);
	if (state)
		table->states[table->state_count++] = state;
	return state;
}

static int copy_names(struct route *route, const struct targets_route *from)
{
	route->names = calloc(from->name_count + 1, sizeof *route->names);
	for (size_t i = 0; route->names && i < from->name_count; i++) {
		route->names[i] = strdup(from->names[i]);
		if (!route->names[i])
			return -ENOMEM;
		for (char *at = route->names[i]; *at; at++)
			*at = (char)tolower((unsigned char)*at);
		route->name_count = i + 1;
	}
	return route->names ? 0 : -ENOMEM;
}

static int fill_route(struct targets *table, const struct targets *old, struct route *route,
                      const struct targets_route *from)
{
	assert(from->target_count <= LIMIT_TARGETS_PER_ROUTE);
	route->selection = from->selection;
	for (size_t i = 0; i < from->target_count; i++) {
		struct targets_state *state = add_state(table, old, &from->targets[i]);
		if (!state)
			return -ENOMEM;
		route->targets[route->target_count++] = state;
	}
	return copy_names(route, from);
}

int targets_new(const struct targets_settings *settings, struct targets *old, struct targets **out)
{
	size_t most = 0;
	for (size_t i = 0; i < settings->route_count; i++)
		most += settings->routes[i].target_count;
	struct targets *table = calloc(1, sizeof *table);
	if (!table)
		return -ENOMEM;
	table->references = 1;
	table->rise = (int32_t)settings->rise;
	table->fall = (int32_t)settings->fall;
	table->forgive_ms = settings->forgive_ms;
	table->routes = calloc(settings->route_count + 1, sizeof *table->routes);
	table->states = calloc(most + 1, sizeof *table->states);
	int r = table->routes && table->states ? 0 : -ENOMEM;
	for (size_t i = 0; r == 0 && i < settings->route_count; i++) {
		table->route_count = i + 1;
		r = fill_route(table, old, &table->routes[i], &settings->routes[i]);
	}
	if (r < 0)
		targets_unref(&table);
	else
		*out = table;
	return r;
}

struct targets *targets_ref(struct targets *targets)
{
	atomic_fetch_add(&targets->references, 1);
	return targets;
}

void targets_unref(struct targets **slot)
{
	struct targets *table = *slot;
	*slot = NULL;
	if (!table || atomic_fetch_sub(&table->references, 1) != 1)
		return;
	for (size_t i = 0; i < table->route_count; i++) {
		for (size_t k = 0; k < table->routes[i].name_count; k++)
			free(table->routes[i].names[k]);
		free(table->routes[i].names);
	}
	for (size_t i = 0; i < table->state_count; i++)
		drop_state(table->states[i]);
	free(table->routes);
	free(table->states);
	free(table);
}

// ---- routes --------------------------------------------------------------------------------------------------------

static bool is_wildcard(const char *name)
{
	return name[0] == '*' && name[1] == '.';
}

// "*.example.com" is for names one label longer: the rule of certificates.
static bool is_covered(const char *wildcard, const char *sni)
{
	const char *dot = strchr(sni, '.');
	return dot && dot != sni && strcasecmp(wildcard + 1, dot) == 0;
}

static bool has_name(const struct route *route, const char *sni, bool by_wildcard)
{
	for (size_t i = 0; i < route->name_count; i++) {
		const char *name = route->names[i];
		if (is_wildcard(name) != by_wildcard)
			continue;
		if (by_wildcard ? is_covered(name, sni) : strcasecmp(name, sni) == 0)
			return true;
	}
	return false;
}

static struct route *find_route(struct targets *table, const char *sni)
{
	for (size_t i = 0; *sni && i < table->route_count; i++)
		if (has_name(&table->routes[i], sni, false))
			return &table->routes[i];
	for (size_t i = 0; *sni && i < table->route_count; i++)
		if (has_name(&table->routes[i], sni, true))
			return &table->routes[i];
	for (size_t i = 0; i < table->route_count; i++)
		if (table->routes[i].name_count == 0)
			return &table->routes[i];
	return NULL;
}

// ---- choice --------------------------------------------------------------------------------------------------------

static enum targets_health health_of(const struct targets *table, struct targets_state *state)
{
	enum targets_health health = (enum targets_health)atomic_load_explicit(&state->health, memory_order_relaxed);
	if (health != TARGETS_DOWN || table->forgive_ms == 0)
		return health;
	return clock_ms() - atomic_load(&state->down_ms) >= table->forgive_ms ? TARGETS_UNKNOWN : TARGETS_DOWN;
}

// Which of the route's targets may be chosen now: those that were not tried and are not down, else those that were not
// tried.
static uint32_t choosable(const struct targets *table, const struct route *route, uint32_t tried)
{
	uint32_t left = 0, good = 0;
	for (unsigned i = 0; i < route->target_count; i++) {
		if (tried & (1u << i))
			continue;
		left |= 1u << i;
		if (health_of(table, route->targets[i]) != TARGETS_DOWN)
			good |= 1u << i;
	}
	return good ? good : left;
}

// Each one that may be chosen gets its turn, so that one that is down gives its share to all others alike.
static unsigned next_in_turn(struct route *route, uint32_t mask)
{
	uint32_t turn = atomic_fetch_add_explicit(&route->turn, 1, memory_order_relaxed);
	unsigned skip = turn % (unsigned)__builtin_popcount(mask);
	for (; skip > 0; skip--)
		mask &= mask - 1;
	return (unsigned)__builtin_ctz(mask);
}

static uint32_t least_loaded(const struct route *route, uint32_t mask)
{
	uint32_t least = UINT32_MAX, chosen = 0;
	for (unsigned i = 0; i < route->target_count; i++) {
		if (!(mask & (1u << i)))
			continue;
		uint32_t connections = atomic_load_explicit(&route->targets[i]->connections, memory_order_relaxed);
		if (connections > least)
			continue;
		chosen = connections < least ? 0 : chosen;
		chosen |= 1u << i;
		least = connections;
	}
	return chosen;
}

static unsigned choose(struct route *route, uint32_t mask)
{
	switch (route->selection) {
	case TARGETS_PRIORITY:
		break;
	case TARGETS_ROUND_ROBIN:
		return next_in_turn(route, mask);
	case TARGETS_LEAST_CONNECTIONS:
		return next_in_turn(route, least_loaded(route, mask));
	}
	return (unsigned)__builtin_ctz(mask);
}

int targets_pick(struct targets *targets, const char *sni, struct target_pick *pick)
{
	targets_leave(pick);
	struct route *route = find_route(targets, sni);
	uint32_t mask = route ? choosable(targets, route, pick->tried) : 0;
	if (mask == 0)
		return TARGETS_NONE;
	unsigned index = choose(route, mask);
	struct targets_state *state = route->targets[index];
	atomic_fetch_add_explicit(&state->connections, 1, memory_order_relaxed);
	*pick = (struct target_pick){.host = state->host,
	                             .name = state->name,
	                             .port = state->port,
	                             .tried = pick->tried | (1u << index),
	                             .state = state};
	return 0;
}

void targets_leave(struct target_pick *pick)
{
	if (pick->state)
		atomic_fetch_sub_explicit(&pick->state->connections, 1, memory_order_relaxed);
	pick->state = NULL;
}

// ---- health --------------------------------------------------------------------------------------------------------

static bool become(struct targets_state *state, enum targets_health health)
{
	if (health == TARGETS_DOWN)
		atomic_store(&state->down_ms, clock_ms());
	if (atomic_exchange(&state->health, (int)health) == (int)health)
		return false;
	atomic_fetch_add(&state->changes, 1);
	return true;
}

bool targets_report(struct targets *targets, struct target_pick *pick, bool reached)
{
	(void)targets;
	struct targets_state *state = pick->state;
	if (!state)
		return false;
	// The good case of every connection touches nothing that others write.
	if (reached && atomic_load_explicit(&state->health, memory_order_relaxed) == TARGETS_UP)
		return false;
	atomic_store(&state->streak, 0);
	if (!reached)
		targets_leave(pick);
	return become(state, reached ? TARGETS_UP : TARGETS_DOWN);
}

bool targets_checked(struct targets *targets, size_t index, bool is_good)
{
	struct targets_state *state = targets->states[index];
	int32_t streak = atomic_load(&state->streak);
	streak = is_good ? (streak > 0 ? streak + 1 : 1) : (streak < 0 ? streak - 1 : -1);
	// Far beyond what anybody asks for.
	if (streak > -1000000 && streak < 1000000)
		atomic_store(&state->streak, streak);
	if (!is_good)
		atomic_fetch_add(&state->checks_failed, 1);
	enum targets_health health = (enum targets_health)atomic_load(&state->health);
	if (is_good && (health == TARGETS_UNKNOWN || (health == TARGETS_DOWN && streak >= targets->rise)))
		return become(state, TARGETS_UP);
	if (!is_good && health != TARGETS_DOWN && -streak >= targets->fall)
		return become(state, TARGETS_DOWN);
	return false;
}

// ---- for those who look --------------------------------------------------------------------------------------------

const char *targets_health_name(enum targets_health health)
{
	static const char *const names[] = {[TARGETS_UNKNOWN] = "unknown", [TARGETS_UP] = "up", [TARGETS_DOWN] = "down"};
	return names[health];
}

size_t targets_count(const struct targets *targets)
{
	return targets->state_count;
}

static bool is_alone(const struct targets *targets, const struct targets_state *state)
{
	for (size_t i = 0; i < targets->route_count; i++) {
		const struct route *route = &targets->routes[i];
		for (unsigned k = 0; k < route->target_count && route->target_count > 1; k++)
			if (route->targets[k] == state)
				return false;
	}
	return true;
}

void targets_look(const struct targets *targets, size_t index, struct targets_sight *sight)
{
	struct targets_state *state = targets->states[index];
	*sight = (struct targets_sight){.name = state->name,
	                                .host = state->host,
	                                .port = state->port,
	                                .health = health_of(targets, state),
	                                .is_alone = is_alone(targets, state),
	                                .connections = atomic_load(&state->connections),
	                                .changes = atomic_load(&state->changes),
	                                .checks_failed = atomic_load(&state->checks_failed)};
}
