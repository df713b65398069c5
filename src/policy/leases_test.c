#include "policy/leases.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static struct leases *make(uint32_t count)
{
	struct leases *leases = NULL;
	assert_int_equal(leases_new(count, &leases), 0);
	return leases;
}

static uint32_t take(struct leases *leases, const char *name, uint64_t now_ms)
{
	uint32_t number = 0;
	return leases_take(leases, name, now_ms, &number) == 0 ? number : 0;
}

static void a_name_keeps_its_number_and_nobody_else_has_it(void **state)
{
	(void)state;
	struct leases *leases = make(3);
	uint32_t a = take(leases, "a", 1), b = take(leases, "b", 2), c = take(leases, "c", 3);
	assert_true(a >= 1 && a <= 3 && b != a && c != a && c != b);
	assert_int_equal(take(leases, "a", 4), a);
	assert_int_equal(take(leases, "c", 5), c);
	assert_true(leases_is_of(leases, b, "b") && !leases_is_of(leases, b, "a"));
	leases_free(&leases);
	assert_null(leases);
}

static void the_same_name_begins_at_the_same_number(void **state)
{
	(void)state;
	struct leases *one = make(1000), *other = make(1000);
	(void)take(other, "somebody", 1);
	assert_int_equal(take(one, "robot-7", 1), take(other, "robot-7", 9));
	leases_free(&one);
	leases_free(&other);
}

static void the_one_away_longest_makes_room(void **state)
{
	(void)state;
	struct leases *leases = make(2);
	uint32_t a = take(leases, "a", 1), b = take(leases, "b", 1);
	leases_hold(leases, a);
	leases_hold(leases, b);
	leases_release(leases, b, 10);
	leases_release(leases, a, 20);
	assert_int_equal(take(leases, "c", 30), b);
	assert_false(leases_is_of(leases, b, "b"));
	assert_int_equal(take(leases, "a", 31), a);
	leases_free(&leases);
}

static void when_all_are_held_there_is_no_room(void **state)
{
	(void)state;
	struct leases *leases = make(2);
	uint32_t number = 77;
	leases_hold(leases, take(leases, "a", 1));
	leases_hold(leases, take(leases, "b", 1));
	assert_int_equal(leases_take(leases, "c", 2, &number), LEASES_FULL);
	assert_int_equal(number, 77);
	leases_free(&leases);
	leases = make(0);
	assert_int_equal(leases_take(leases, "c", 2, &number), LEASES_FULL);
	leases_free(&leases);
}

static void a_reserved_number_is_not_leased(void **state)
{
	(void)state;
	struct leases *leases = make(2);
	uint32_t number = 0;
	leases_reserve(leases, 1, true);
	assert_int_equal(take(leases, "a", 1), 2);
	leases_hold(leases, 2);
	assert_int_equal(leases_take(leases, "b", 1, &number), LEASES_FULL);
	leases_reserve(leases, 1, false);
	assert_int_equal(take(leases, "b", 1), 1);
	// Reserved later: its holder is not given it again, and once it has gone nobody is.
	leases_hold(leases, 1);
	leases_reserve(leases, 1, true);
	assert_int_equal(leases_take(leases, "b", 2, &number), LEASES_FULL);
	leases_release(leases, 2, 3);
	assert_int_equal(take(leases, "b", 4), 2);
	leases_hold(leases, 2);
	leases_release(leases, 1, 5);
	leases_reserve(leases, 1, false);
	assert_int_equal(take(leases, "b", 6), 2);
	leases_free(&leases);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_name_keeps_its_number_and_nobody_else_has_it),
		cmocka_unit_test(the_same_name_begins_at_the_same_number),
		cmocka_unit_test(the_one_away_longest_makes_room),
		cmocka_unit_test(when_all_are_held_there_is_no_room),
		cmocka_unit_test(a_reserved_number_is_not_leased),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
