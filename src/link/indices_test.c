#include "link/indices.h"

#include "limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static size_t pages_held(const struct indices *indices)
{
	size_t held = 0;
	for (uint32_t i = 0; i < indices->page_count; i++)
		held += indices->pages[i] != NULL;
	return held;
}

static void every_index_burns_exactly_once(void **state)
{
	(void)state;
	struct indices indices = {0};
	// A stride that is odd visits all of them, in no order a page would like.
	for (uint64_t i = 0; i < LIMIT_EPOCH_INDICES; i++)
		assert_int_equal(indices_burn(&indices, i * 524287 % LIMIT_EPOCH_INDICES), 0);
	assert_int_equal(indices_burnt(&indices), LIMIT_EPOCH_INDICES);
	for (uint64_t i = 0; i < LIMIT_EPOCH_INDICES; i++)
		assert_int_equal(indices_burn(&indices, i), INDICES_USED);
	assert_int_equal(indices_burnt(&indices), LIMIT_EPOCH_INDICES);
	indices_fini(&indices);
}

static void index_burns_no_neighbour(void **state)
{
	(void)state;
	static const uint64_t edges[] = {0, 63, 64, 511, 512, 524288, LIMIT_EPOCH_INDICES - 1};
	for (size_t i = 0; i < COUNT_OF(edges); i++) {
		struct indices indices = {0};
		assert_int_equal(indices_burn(&indices, edges[i]), 0);
		if (edges[i] > 0)
			assert_int_equal(indices_burn(&indices, edges[i] - 1), 0);
		if (edges[i] + 1 < LIMIT_EPOCH_INDICES)
			assert_int_equal(indices_burn(&indices, edges[i] + 1), 0);
		assert_int_equal(indices_burn(&indices, edges[i]), INDICES_USED);
		indices_fini(&indices);
	}
}

static void index_beyond_the_epoch_is_refused_and_costs_nothing(void **state)
{
	(void)state;
	static const uint64_t beyond[] = {LIMIT_EPOCH_INDICES, LIMIT_EPOCH_INDICES + 1, 1ULL << 32, 1ULL << 63, UINT64_MAX};
	struct indices indices = {0};
	for (size_t i = 0; i < COUNT_OF(beyond); i++)
		assert_int_equal(indices_burn(&indices, beyond[i]), INDICES_OUT_OF_RANGE);
	assert_int_equal(indices_burnt(&indices), 0);
	assert_null(indices.pages);
	indices_fini(&indices);
}

static void memory_grows_by_the_page_that_is_used(void **state)
{
	(void)state;
	struct indices indices = {0};
	assert_int_equal(pages_held(&indices), 0);
	for (uint64_t i = 0; i < 512; i++)
		assert_int_equal(indices_burn(&indices, i), 0);
	assert_int_equal(pages_held(&indices), 1);
	assert_int_equal(indices.page_count, 1);
	assert_int_equal(indices_burn(&indices, 512), 0);
	assert_int_equal(pages_held(&indices), 2);
	// Hostile: the highest there is costs the whole table, and no more than one page.
	assert_int_equal(indices_burn(&indices, LIMIT_EPOCH_INDICES - 1), 0);
	assert_int_equal(pages_held(&indices), 3);
	assert_int_equal(indices.page_count, LIMIT_EPOCH_INDICES / 512);
	indices_fini(&indices);
}

static void fini_is_harmless_on_nothing_and_repeatable(void **state)
{
	(void)state;
	struct indices indices = {0};
	indices_fini(&indices);
	assert_int_equal(indices_burn(&indices, 7), 0);
	indices_fini(&indices);
	indices_fini(&indices);
	assert_int_equal(indices_burnt(&indices), 0);
	assert_int_equal(indices_burn(&indices, 7), 0);
	indices_fini(&indices);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_index_burns_exactly_once),
		cmocka_unit_test(index_burns_no_neighbour),
		cmocka_unit_test(index_beyond_the_epoch_is_refused_and_costs_nothing),
		cmocka_unit_test(memory_grows_by_the_page_that_is_used),
		cmocka_unit_test(fini_is_harmless_on_nothing_and_repeatable),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
