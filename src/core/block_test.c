#include "core/block.h"

#include "core/allocation_rig.h"

#include <pthread.h>
#include <string.h>

#define MANY 100

static void a_block_is_as_large_as_promised(void **state)
{
	(void)state;
	uint8_t *block = block_take();
	assert_non_null(block);
	memset(block, 0xa5, BLOCK_BYTES);
	block_give(&block);
	assert_null(block);
	block_trim();
}

static void giving_nothing_is_harmless(void **state)
{
	(void)state;
	uint8_t *block = NULL;
	block_give(&block);
	assert_null(block);
}

static void a_given_block_is_taken_again(void **state)
{
	(void)state;
	uint8_t *first = block_take();
	uint8_t *same = first;
	block_give(&first);
	uint8_t *second = block_take();
	assert_ptr_equal(second, same);
	block_give(&second);
	block_trim();
}

static void blocks_in_use_are_never_the_same(void **state)
{
	(void)state;
	uint8_t *blocks[MANY];
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < MANY; i++) {
			blocks[i] = block_take();
			assert_non_null(blocks[i]);
			memset(blocks[i], i, BLOCK_BYTES);
		}
		for (int i = 0; i < MANY; i++) {
			assert_int_equal(blocks[i][0], i);
			assert_int_equal(blocks[i][BLOCK_BYTES - 1], i);
			block_give(&blocks[i]);
		}
	}
	block_trim();
}

static void after_warm_up_taking_and_giving_does_not_allocate(void **state)
{
	(void)state;
	SKIP_UNLESS_COUNTED();
	uint8_t *blocks[8];
	unsigned long before = atomic_load(&allocations);
	for (int i = 0; i < 8; i++)
		blocks[i] = block_take();
	assert_int_equal(atomic_load(&allocations) - before, 8);
	for (int i = 0; i < 8; i++)
		block_give(&blocks[i]);
	before = atomic_load(&allocations);
	for (int round = 0; round < 1000; round++) {
		for (int i = 0; i < 8; i++)
			blocks[i] = block_take();
		for (int i = 0; i < 8; i++)
			block_give(&blocks[i]);
	}
	assert_int_equal(atomic_load(&allocations), before);
	block_trim();
}

static void trimming_gives_everything_back(void **state)
{
	(void)state;
	SKIP_UNLESS_COUNTED();
	uint8_t *block = block_take();
	block_give(&block);
	block_trim();
	unsigned long before = atomic_load(&allocations);
	block = block_take();
	assert_int_equal(atomic_load(&allocations) - before, 1);
	block_give(&block);
	block_trim();
}

static void *use_blocks(void *argument)
{
	(void)argument;
	for (int i = 0; i < 1000; i++) {
		uint8_t *block = block_take();
		if (!block)
			return NULL;
		block[0] = 1;
		block_give(&block);
	}
	block_trim();
	return argument;
}

static void each_thread_has_blocks_of_its_own(void **state)
{
	pthread_t threads[4];
	char token;
	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, use_blocks, &token), 0);
	for (int i = 0; i < 4; i++) {
		void *result;
		assert_int_equal(pthread_join(threads[i], &result), 0);
		assert_ptr_equal(result, &token);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_block_is_as_large_as_promised),
		cmocka_unit_test(giving_nothing_is_harmless),
		cmocka_unit_test(a_given_block_is_taken_again),
		cmocka_unit_test(blocks_in_use_are_never_the_same),
		cmocka_unit_test(after_warm_up_taking_and_giving_does_not_allocate),
		cmocka_unit_test(trimming_gives_everything_back),
		cmocka_unit_test(each_thread_has_blocks_of_its_own),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
