#include "policy/rate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static void without_a_limit_nobody_rests(void **state)
{
	struct rate rate = {0};
	(void)state;
	assert_int_equal(rate_pay(&rate, UINT64_MAX / 2, 1), 0);
}

static void what_is_moved_too_fast_is_rested_for(void **state)
{
	struct rate rate = {0};
	uint64_t now = 50 * 1000000ULL;
	(void)state;
	rate_set(&rate, 1000000);
	assert_int_equal(rate_pay(&rate, 100000, now), 0); // the credit of a quiet time
	assert_int_equal(rate_pay(&rate, 500000, now), 500000);
	assert_int_equal(rate_pay(&rate, 0, now + 499999), 1);
	assert_int_equal(rate_pay(&rate, 0, now + 500000), 0);
}

static void credit_does_not_grow_without_end(void **state)
{
	struct rate rate = {0};
	(void)state;
	rate_set(&rate, 1000000);
	assert_int_equal(rate_pay(&rate, 1100000, 3600 * 1000000ULL), 1000000);
}

static void another_limit_forgives_what_is_owed(void **state)
{
	struct rate rate = {0};
	uint64_t now = 50 * 1000000ULL;
	(void)state;
	rate_set(&rate, 1000);
	assert_int_equal(rate_pay(&rate, 100100, now), 100 * 1000000);
	rate_set(&rate, 1000); // the same
	assert_int_equal(rate_pay(&rate, 0, now), 100 * 1000000);
	rate_set(&rate, 1000000);
	assert_int_equal(rate_pay(&rate, 0, now), 0);
}

static void over_time_as_much_passes_as_may(void **state)
{
	struct rate rate = {0};
	uint64_t now = 1000000, moved = 0;
	(void)state;
	rate_set(&rate, 65536 * 10);
	while (now < 11000000) {
		now += rate_pay(&rate, 65536, now);
		moved += 65536;
	}
	assert_in_range(moved, 65536 * 99, 65536 * 103);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_a_limit_nobody_rests),     cmocka_unit_test(what_is_moved_too_fast_is_rested_for),
		cmocka_unit_test(credit_does_not_grow_without_end), cmocka_unit_test(another_limit_forgives_what_is_owed),
		cmocka_unit_test(over_time_as_much_passes_as_may),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
