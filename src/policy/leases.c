#include "policy/leases.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct lease {
	char *name; // NULL: never leased
	uint64_t away_ms;
	bool is_held, is_reserved;
};

struct leases {
	uint32_t count;
	struct lease lease[]; // number - 1
};

int leases_new(uint32_t count, struct leases **leases)
{
	struct leases *made = calloc(1, sizeof *made + count * sizeof *made->lease);
	if (!made)
		return -ENOMEM;
	made->count = count;
	*leases = made;
	return 0;
}

void leases_free(struct leases **slot)
{
	struct leases *leases = *slot;
	*slot = NULL;
	for (uint32_t i = 0; leases && i < leases->count; i++)
		free(leases->lease[i].name);
	free(leases);
}

static struct lease *at(struct leases *leases, uint32_t number)
{
	assert(number >= 1 && number <= leases->count);
	return &leases->lease[number - 1];
}

void leases_reserve(struct leases *leases, uint32_t number, bool is_reserved)
{
	at(leases, number)->is_reserved = is_reserved;
}

// FNV-1a: where the search for a free one begins, so that a name tends to have the same one after a restart.
static uint32_t hash(const char *name)
{
	uint32_t value = 2166136261u;
	for (; *name; name++)
		value = (value ^ (uint8_t)*name) * 16777619u;
	return value;
}

static bool is_own(const struct lease *lease, const char *name)
{
	return lease->name && strcmp(lease->name, name) == 0 && !lease->is_reserved;
}

static bool is_better(const struct lease *lease, const struct lease *best)
{
	if (lease->is_held || lease->is_reserved || (best && !best->name))
		return false;
	return !best || !lease->name || lease->away_ms < best->away_ms;
}

static struct lease *find(struct leases *leases, const char *name)
{
	struct lease *best = NULL;
	uint32_t first = leases->count > 0 ? hash(name) % leases->count : 0;
	for (uint32_t i = 0; i < leases->count; i++) {
		struct lease *lease = &leases->lease[(first + i) % leases->count];
		if (is_own(lease, name))
			return lease;
		if (is_better(lease, best))
			best = lease;
	}
	return best;
}

int leases_take(struct leases *leases, const char *name, uint64_t now_ms, uint32_t *number)
{
	struct lease *lease = find(leases, name);
	if (!lease)
		return LEASES_FULL;
	if (!lease->name || strcmp(lease->name, name) != 0) {
		char *copy = strdup(name);
		if (!copy)
			return -ENOMEM;
		free(lease->name);
		lease->name = copy;
	}
	if (!lease->is_held)
		lease->away_ms = now_ms;
	*number = (uint32_t)(lease - leases->lease) + 1;
	return 0;
}

void leases_hold(struct leases *leases, uint32_t number)
{
	at(leases, number)->is_held = true;
}

void leases_release(struct leases *leases, uint32_t number, uint64_t now_ms)
{
	struct lease *lease = at(leases, number);
	lease->is_held = false;
	lease->away_ms = now_ms;
	if (!lease->is_reserved)
		return;
	free(lease->name); // it will not come back to it, and may have another one already
	lease->name = NULL;
}

bool leases_is_of(const struct leases *leases, uint32_t number, const char *name)
{
	const struct lease *lease = &leases->lease[number - 1];
	return lease->name && strcmp(lease->name, name) == 0;
}
