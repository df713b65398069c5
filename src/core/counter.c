#include "core/counter.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

// Aligned, so that no two threads write to one cache line.
#define CACHE_LINE 64

struct block {
	_Alignas(CACHE_LINE) _Atomic uint64_t value[COUNTER_COUNT];
	struct block *next;
};

static _Atomic(struct block *) blocks;
static _Thread_local struct block *own;
// Where counts go when there is no memory for a block: shared, so adding there is a locked instruction.
static struct block shared;

static struct block *make(void)
{
	struct block *block = aligned_alloc(CACHE_LINE, sizeof *block);
	if (!block)
		return NULL;
	memset(block, 0, sizeof *block);
	block->next = atomic_load(&blocks);
	while (!atomic_compare_exchange_weak(&blocks, &block->next, block))
		;
	return block;
}

void counter_add(enum counter counter, uint64_t amount)
{
	if (!own && !(own = make())) {
		atomic_fetch_add(&shared.value[counter], amount);
		return;
	}
	// Only this thread writes: a plain addition that readers may see at any time.
	_Atomic uint64_t *value = &own->value[counter];
	atomic_store_explicit(value, atomic_load_explicit(value, memory_order_relaxed) + amount, memory_order_relaxed);
}

uint64_t counter_read(enum counter counter)
{
	uint64_t sum = atomic_load(&shared.value[counter]);
	for (struct block *block = atomic_load(&blocks); block; block = block->next)
		sum += atomic_load_explicit(&block->value[counter], memory_order_relaxed);
	return sum;
}

const struct counter_text *counter_text(enum counter counter)
{
	static const struct counter_text texts[] = {
#define X(id, name, labels, help) {name, labels, help},
		COUNTER_TABLE(X)
#undef X
	};
	return &texts[counter];
}
