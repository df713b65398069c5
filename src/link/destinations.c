#include "link/destinations.h"

#include <assert.h>
#include <strings.h>

static bool is_same(const struct destination *a, const struct destination *b)
{
	return a->port == b->port && strcasecmp(a->host, b->host) == 0;
}

static bool find(const struct destinations *all, const struct destination *one, size_t *index)
{
	for (size_t i = 0; i < all->count; i++) {
		if (!is_same(&all->list[i], one))
			continue;
		*index = i;
		return true;
	}
	return false;
}

void destinations_set(struct destinations *all, const struct destination *list, size_t count,
                      enum destinations_order order)
{
	assert(count > 0 && count <= LIMIT_DESTS);
	struct destination used = all->list[all->used];
	bool has_used = all->has_used;
	for (size_t i = 0; i < count; i++)
		all->list[i] = list[i];
	all->count = count;
	all->order = order;
	all->start = all->tried = 0;
	all->length = count;
	all->used = 0;
	all->has_used = has_used && find(all, &used, &all->used);
}

void destinations_begin(struct destinations *all, uint32_t random)
{
	bool is_fixed = all->order == DESTINATIONS_PRIORITY;
	all->start = is_fixed ? 0 : all->has_used ? (all->used + 1) % all->count : random % all->count;
	all->length = all->count;
	all->tried = 0;
}

bool destinations_begin_better(struct destinations *all)
{
	if (all->order != DESTINATIONS_PRIORITY || !all->has_used || all->used == 0)
		return false;
	all->start = all->tried = 0;
	all->length = all->used;
	return true;
}

const struct destination *destinations_now(const struct destinations *all)
{
	return &all->list[(all->start + all->tried) % all->count];
}

bool destinations_next(struct destinations *all)
{
	if (all->tried + 1 >= all->length)
		return false;
	all->tried++;
	return true;
}

void destinations_take(struct destinations *all)
{
	all->used = (all->start + all->tried) % all->count;
	all->has_used = true;
}

bool destinations_has(const struct destinations *all, const struct destination *one)
{
	size_t index;
	return find(all, one, &index);
}
