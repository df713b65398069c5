#include "core/block.h"

#include <stdlib.h>

// 16 blocks are 1.1 MiB a thread: as many flows may be held up at once without touching the allocator.
#define KEPT_BLOCKS 16

static _Thread_local uint8_t *kept[KEPT_BLOCKS];
static _Thread_local unsigned kept_count;

uint8_t *block_take(void)
{
	return kept_count > 0 ? kept[--kept_count] : malloc(BLOCK_BYTES);
}

void block_give(uint8_t **block)
{
	if (*block && kept_count < KEPT_BLOCKS)
		kept[kept_count++] = *block;
	else
		free(*block);
	*block = NULL;
}

void block_trim(void)
{
	while (kept_count > 0)
		free(kept[--kept_count]);
}
