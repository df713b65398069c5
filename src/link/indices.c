#include "link/indices.h"

#include "limits.h"

#include <errno.h>
#include <stdlib.h>

enum {
	PAGE_WORDS = 64, // 512 bytes
	PAGE_BITS = PAGE_WORDS * 64,
	PAGE_COUNT = LIMIT_EPOCH_INDICES / PAGE_BITS,
};
_Static_assert(LIMIT_EPOCH_INDICES % PAGE_BITS == 0, "pages cover the epoch exactly");

int indices_burn(struct indices *indices, uint64_t index)
{
	// Hostile: the index is the peer's choice.
	if (index >= LIMIT_EPOCH_INDICES)
		return INDICES_OUT_OF_RANGE;
	if (!indices->pages) {
		indices->pages = calloc(PAGE_COUNT, sizeof *indices->pages);
		if (!indices->pages)
			return -ENOMEM;
	}
	uint64_t **page = &indices->pages[index / PAGE_BITS];
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
	for (size_t i = 0; indices->pages && i < PAGE_COUNT; i++)
		free(indices->pages[i]);
	free(indices->pages);
	*indices = (struct indices){0};
}
