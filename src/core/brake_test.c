#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "core/brake.h"

static void lines_pass_until_the_second_is_full(void **state)
{
	(void)state;
	struct brake brake = {.per_second = 2};
	assert_true(brake_passes(&brake, 5000));
	assert_true(brake_passes(&brake, 5900));
	assert_false(brake_passes(&brake, 5999));
	assert_false(brake_passes(&brake, 5999));
	assert_int_equal(brake_sum(&brake, 5999), 0);
	assert_int_equal(brake_sum(&brake, 6000), 2);
	assert_int_equal(brake_sum(&brake, 6000), 0);
	assert_true(brake_passes(&brake, 6000));
}

static void a_new_second_lets_lines_pass_before_the_old_ones_are_summed_up(void **state)
{
	(void)state;
	struct brake brake = {.per_second = 1};
	assert_true(brake_passes(&brake, 0));
	assert_false(brake_passes(&brake, 1));
	assert_true(brake_passes(&brake, 1000));
	assert_false(brake_passes(&brake, 1001));
	assert_int_equal(brake_sum(&brake, 2000), 2);
}

static void no_line_passes_a_closed_brake(void **state)
{
	(void)state;
	struct brake brake = {.per_second = 0};
	assert_false(brake_passes(&brake, 1));
	assert_int_equal(brake_sum(&brake, 2000), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_pass_until_the_second_is_full),
		cmocka_unit_test(a_new_second_lets_lines_pass_before_the_old_ones_are_summed_up),
		cmocka_unit_test(no_line_passes_a_closed_brake),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
