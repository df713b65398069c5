#include "core/counter.h"

#include "core/allocation_rig.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#define THREADS 4
#define ADDITIONS 100000

static void what_is_added_is_read(void **state)
{
	(void)state;
	uint64_t links = counter_read(COUNTER_LINKS_OPENED), flows = counter_read(COUNTER_FLOW_OPENED);
	counter_add(COUNTER_LINKS_OPENED, 3);
	counter_add(COUNTER_LINKS_OPENED, 4);
	assert_int_equal(counter_read(COUNTER_LINKS_OPENED), links + 7);
	assert_int_equal(counter_read(COUNTER_FLOW_OPENED), flows);
}

static void large_amounts_do_not_wrap_at_32_bits(void **state)
{
	(void)state;
	uint64_t before = counter_read(COUNTER_BYTES_INWARD);
	counter_add(COUNTER_BYTES_INWARD, UINT64_C(6000000000));
	assert_true(counter_read(COUNTER_BYTES_INWARD) - before == UINT64_C(6000000000));
}

static void the_first_and_the_last_counter_have_their_own_place(void **state)
{
	(void)state;
	enum counter last = COUNTER_COUNT - 1;
	uint64_t before = counter_read((enum counter)0);
	counter_add(last, 1);
	assert_int_equal(counter_read((enum counter)0), before);
}

static void *add_many(void *argument)
{
	for (int i = 0; i < ADDITIONS; i++)
		counter_add(COUNTER_POOL_HIT, 1);
	return argument;
}

static void counts_of_threads_that_have_ended_stay(void **state)
{
	pthread_t threads[THREADS];
	(void)state;
	for (int round = 1; round <= 3; round++) {
		uint64_t before = counter_read(COUNTER_POOL_HIT);
		for (int i = 0; i < THREADS; i++)
			assert_int_equal(pthread_create(&threads[i], NULL, add_many, NULL), 0);
		for (int i = 0; i < THREADS; i++)
			assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_int_equal(counter_read(COUNTER_POOL_HIT) - before, THREADS * ADDITIONS);
	}
}

static void a_reader_never_sees_a_counter_go_back(void **state)
{
	pthread_t threads[THREADS];
	(void)state;
	uint64_t start = counter_read(COUNTER_POOL_HIT), seen = start;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, add_many, NULL), 0);
	while (seen - start < THREADS * ADDITIONS) {
		uint64_t now = counter_read(COUNTER_POOL_HIT);
		assert_true(now >= seen);
		seen = now;
	}
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(seen - start, THREADS * ADDITIONS);
}

static void after_a_threads_first_count_counting_does_not_allocate(void **state)
{
	(void)state;
	SKIP_UNLESS_COUNTED();
	counter_add(COUNTER_POOL_MISS, 1);
	unsigned long before = atomic_load(&allocations);
	for (int i = 0; i < ADDITIONS; i++)
		counter_add((enum counter)(i % COUNTER_COUNT), 1);
	assert_int_equal(atomic_load(&allocations), before);
}

static void every_counter_says_what_it_counts(void **state)
{
	(void)state;
	for (int i = 0; i < COUNTER_COUNT; i++) {
		const struct counter_text *text = counter_text((enum counter)i);
		size_t length = strlen(text->name);
		assert_int_equal(strncmp(text->name, "qanat_", 6), 0);
		assert_true(length > 6 && strcmp(text->name + length - 6, "_total") == 0);
		assert_int_not_equal(text->help[0], '\0');
		assert_null(strpbrk(text->help, "\n\\"));
	}
}

static void counters_of_one_name_stand_together_and_differ_in_their_labels(void **state)
{
	(void)state;
	for (int i = 0; i < COUNTER_COUNT; i++) {
		const struct counter_text *a = counter_text((enum counter)i);
		bool together = true;
		for (int j = i + 1; j < COUNTER_COUNT; j++) {
			const struct counter_text *b = counter_text((enum counter)j);
			bool same = strcmp(a->name, b->name) == 0;
			assert_true(together || !same);
			together = same;
			assert_true(!same || strcmp(a->labels, b->labels) != 0);
			assert_true(!same || strcmp(a->help, b->help) == 0);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_added_is_read),
		cmocka_unit_test(large_amounts_do_not_wrap_at_32_bits),
		cmocka_unit_test(the_first_and_the_last_counter_have_their_own_place),
		cmocka_unit_test(counts_of_threads_that_have_ended_stay),
		cmocka_unit_test(a_reader_never_sees_a_counter_go_back),
		cmocka_unit_test(after_a_threads_first_count_counting_does_not_allocate),
		cmocka_unit_test(every_counter_says_what_it_counts),
		cmocka_unit_test(counters_of_one_name_stand_together_and_differ_in_their_labels),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
