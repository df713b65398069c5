#include "core/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <cmocka.h>

static void milliseconds_and_nanoseconds_are_of_one_clock_that_never_goes_back(void **state)
{
	(void)state;
	for (int i = 0; i < 1000; i++) {
		uint64_t first_ns = clock_ns(), ms = clock_ms(), last_ns = clock_ns();
		assert_true(first_ns / 1000000 <= ms);
		assert_true(ms <= last_ns / 1000000);
	}
}

static void the_wall_clock_is_the_systems(void **state)
{
	(void)state;
	time_t before = time(NULL) - 1; // time(2) may lag behind by a tick
	int64_t seconds = clock_wall_s(), ms = clock_wall_ms(), after = clock_wall_s();
	assert_true(before <= seconds);
	assert_true(seconds <= ms / 1000);
	assert_true(ms / 1000 <= after);
}

static void work_uses_processor_time(void **state)
{
	(void)state;
	double before = clock_cpu_s();
	volatile unsigned work = 0;
	while (clock_cpu_s() - before < 0.005)
		work = work + 1;
	assert_true(work > 0);
	assert_true(clock_cpu_s() < 3600);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(milliseconds_and_nanoseconds_are_of_one_clock_that_never_goes_back),
		cmocka_unit_test(the_wall_clock_is_the_systems),
		cmocka_unit_test(work_uses_processor_time),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
