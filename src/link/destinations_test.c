#include "link/destinations.h"

// cmocka.h uses these and includes none of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const struct destination abc[] = {{"a", 1}, {"b", 1}, {"c", 1}};

static struct destinations make(enum destinations_order order)
{
	struct destinations all = {0};
	destinations_set(&all, abc, 3, order);
	return all;
}

static char now(const struct destinations *all)
{
	return destinations_now(all)->host[0];
}

static void priority_begins_at_the_first_every_time(void **state)
{
	(void)state;
	struct destinations all = make(DESTINATIONS_PRIORITY);
	for (uint32_t random = 0; random < 5; random++) {
		destinations_begin(&all, random);
		assert_int_equal(now(&all), 'a');
		assert_true(destinations_next(&all));
		assert_int_equal(now(&all), 'b');
		assert_true(destinations_next(&all));
		assert_int_equal(now(&all), 'c');
		assert_false(destinations_next(&all));
		destinations_take(&all);
	}
}

static void only_those_before_the_one_in_use_are_better(void **state)
{
	(void)state;
	struct destinations all = make(DESTINATIONS_PRIORITY);
	assert_false(destinations_begin_better(&all)); // none is in use
	destinations_begin(&all, 0);
	destinations_take(&all);
	assert_false(destinations_begin_better(&all)); // the first is
	destinations_begin(&all, 0);
	assert_true(destinations_next(&all));
	assert_true(destinations_next(&all));
	destinations_take(&all);
	assert_true(destinations_begin_better(&all));
	assert_int_equal(now(&all), 'a');
	assert_true(destinations_next(&all));
	assert_int_equal(now(&all), 'b');
	assert_false(destinations_next(&all));
	destinations_take(&all);
	assert_true(destinations_begin_better(&all));
	assert_false(destinations_next(&all));
	all = make(DESTINATIONS_ROUND_ROBIN);
	destinations_begin(&all, 2);
	destinations_take(&all);
	assert_false(destinations_begin_better(&all));
}

static void round_robin_begins_anywhere_and_goes_on_in_turn(void **state)
{
	(void)state;
	struct destinations all = make(DESTINATIONS_ROUND_ROBIN);
	destinations_begin(&all, 0xfffffffe); // 2 modulo 3
	assert_int_equal(now(&all), 'c');
	assert_true(destinations_next(&all));
	assert_int_equal(now(&all), 'a');
	destinations_take(&all);
	destinations_begin(&all, 77);
	assert_int_equal(now(&all), 'b');
	assert_true(destinations_next(&all));
	assert_true(destinations_next(&all));
	assert_int_equal(now(&all), 'a');
	assert_false(destinations_next(&all));
}

static void another_list_keeps_the_one_in_use_when_it_has_it(void **state)
{
	(void)state;
	struct destinations all = make(DESTINATIONS_PRIORITY);
	const struct destination other[] = {{"x", 1}, {"B", 1}, {"b", 2}};
	destinations_begin(&all, 0);
	assert_true(destinations_next(&all));
	destinations_take(&all);
	assert_true(destinations_has(&all, &abc[1]));
	destinations_set(&all, other, 3, DESTINATIONS_PRIORITY);
	assert_true(destinations_has(&all, &abc[1]));
	assert_false(destinations_has(&all, &abc[0]));
	assert_true(destinations_begin_better(&all));
	assert_int_equal(now(&all), 'x');
	assert_false(destinations_next(&all));
	destinations_set(&all, other, 1, DESTINATIONS_PRIORITY);
	assert_false(destinations_begin_better(&all));
	destinations_begin(&all, 0);
	assert_int_equal(now(&all), 'x');
	assert_false(destinations_next(&all));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(priority_begins_at_the_first_every_time),
		cmocka_unit_test(only_those_before_the_one_in_use_are_better),
		cmocka_unit_test(round_robin_begins_anywhere_and_goes_on_in_turn),
		cmocka_unit_test(another_list_keeps_the_one_in_use_when_it_has_it),
	};
	return cmocka_run_group_tests_name("destinations", tests, NULL, NULL);
}
