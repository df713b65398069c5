// With connections that are nothing but members of the chain.

#include "flow/sidecar_walk.h"

#include "flow/sidecar_internal.h"

// cmocka.h uses these and includes none of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>

enum { MANY = 1000 };

static struct sidecars all;
static struct sidecar list[2 * MANY];

static int start(void **state)
{
	(void)state;
	all = (struct sidecars){0};
	for (size_t i = 0; i < COUNT_OF(list); i++)
		list[i] = (struct sidecar){.all = &all, .id = i};
	for (size_t i = 0; i < MANY; i++)
		sidecar_enlist(&list[i], &all.joined);
	return 0;
}

static void go(uint64_t from, uint64_t to)
{
	for (uint64_t id = from; id < to; id++) {
		struct sidecar *sidecar = sidecar_walk_step(&all);
		assert_non_null(sidecar);
		assert_int_equal(sidecar->id, id);
	}
}

static void leave(size_t i)
{
	sidecar_enlist(&list[i], &all.reaching); // any other chain
}

static void each_is_met_once_and_who_comes_is_met_last(void **state)
{
	(void)state;
	sidecar_walk_begin(&all);
	go(0, MANY / 2);
	sidecar_enlist(&list[MANY], &all.joined);
	go(MANY / 2, MANY + 1);
	assert_null(sidecar_walk_step(&all));
	assert_null(sidecar_walk_step(&all));
	assert_false(all.judged.is_on);
}

static void who_leaves_is_not_met_wherever_the_walk_is(void **state)
{
	(void)state;
	sidecar_walk_begin(&all);
	go(0, 10);
	leave(9);  // the one before
	leave(10); // the next one
	leave(11);
	leave(20);
	go(12, 20);
	go(21, MANY - 1);
	leave(MANY - 1); // the next one, and the last
	assert_null(sidecar_walk_step(&all));
	assert_false(all.judged.is_on);
}

static void a_beginning_in_the_middle_comes_to_the_end_first(void **state)
{
	(void)state;
	sidecar_walk_begin(&all);
	go(0, 100);
	sidecar_walk_begin(&all);
	sidecar_walk_begin(&all);
	go(100, MANY);
	go(0, MANY);
	assert_null(sidecar_walk_step(&all));
	assert_false(all.judged.is_on);
}

static void nobody_is_there_to_be_met(void **state)
{
	(void)state;
	for (size_t i = 0; i < MANY; i++)
		leave(i);
	sidecar_walk_begin(&all);
	assert_null(sidecar_walk_step(&all));
	assert_false(all.judged.is_on);
	sidecar_walk_begin(&all);
	sidecar_enlist(&list[MANY], &all.joined); // it came after the beginning, and with the new settings
	assert_null(sidecar_walk_step(&all));
}

#define TEST(name) cmocka_unit_test_setup(name, start)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(each_is_met_once_and_who_comes_is_met_last),
		TEST(who_leaves_is_not_met_wherever_the_walk_is),
		TEST(a_beginning_in_the_middle_comes_to_the_end_first),
		TEST(nobody_is_there_to_be_met),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
