#include "link/indices.h"

#include "limits.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
	PAGE_WORDS = 8, // 64 bytes: an idle device of a fleet burns a few indices in an epoch
	PAGE_BITS = PAGE_WORDS * 64,
};
_Static_assert(LIMIT_EPOCH_INDICES % PAGE_BITS == 0, "pages cover the epoch exactly");

static bool make_room(struct indices *indices, uint32_t number)
{
	uint32_t count = indices->page_count > 0 ? indices->page_count : 1;
	while (count <= number)
		count *= 2;
	uint64_t **pages = realloc(indices->pages, count * sizeof *pages);
	if (!pages)
		return false;
	memset(pages + indices->page_count, 0, (count - indices->page_count) * sizeof *pages);
	indices->pages = pages;
	indices->page_count = count;
	return true;
}

int indices_burn(struct indices *indices, uint64_t index)
{
	// Hostile: the index is the peer's choice.
	if (index >= LIMIT_EPOCH_INDICES)
		return INDICES_OUT_OF_RANGE;
	uint32_t number = (uint32_t)(index / PAGE_BITS);
	if (number >= indices->page_count && !make_room(indices, number))
		return -ENOMEM;
	uint64_t **page = &indices->pages[number];
	if (!*page) {
		*page = calloc(PAGE_WORDS, sizeof **page);
		if (!*page)
			return -ENOMEM;
	}
	uint64_t *word = &(*page)[index % PAGE_BITS / 64];
	uint64_t bit = 1ULL << (index % 64);
	if (*word & bit)
		return INDICES_USED;
	*word |= bit;
	indices->burnt++;
	return 0;
}

uint32_t indices_burnt(const struct indices *indices)
{
	return indices->burnt;
}

void indices_fini(struct indices *indices)
{
	for (uint32_t i = 0; i < indices->page_count; i++)
		free(indices->pages[i]);
	free(indices->pages);
	*indices = (struct indices){0};
}
