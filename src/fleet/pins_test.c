#include "fleet/pins.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static char path[64];
static const uint8_t key[PIN_BYTES] = {0xab, 1}, other[PIN_BYTES] = {2};

static int setup(void **state)
{
	(void)state;
	strcpy(path, "/tmp/pins-test-XXXXXX");
	int fd = mkstemp(path);
	close(fd);
	return fd < 0;
}

static int teardown(void **state)
{
	(void)state;
	return unlink(path);
}

static void put(const char *text)
{
	FILE *file = fopen(path, "we");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void the_first_key_keeps_a_name_over_restarts(void **state)
{
	struct pins *pins = NULL;
	char problem[PINS_PROBLEM_BYTES];
	(void)state;
	assert_int_equal(pins_open(path, 10, &pins, problem), 0);
	assert_int_equal(pins_claim(pins, "011", key), 0);
	assert_int_equal(pins_claim(pins, "011", key), 0);
	assert_int_equal(pins_claim(pins, "011", other), PINS_OTHER);
	pins_close(&pins);
	assert_int_equal(pins_open(path, 10, &pins, problem), 0);
	assert_int_equal(pins_claim(pins, "011", other), PINS_OTHER);
	assert_int_equal(pins_claim(pins, "011", key), 0);
	assert_int_equal(pins_claim(pins, "012", other), 0);
	pins_close(&pins);
}

static void a_bound_is_kept(void **state)
{
	struct pins *pins = NULL;
	char problem[PINS_PROBLEM_BYTES];
	(void)state;
	assert_int_equal(pins_open(path, 1, &pins, problem), 0);
	assert_int_equal(pins_claim(pins, "a", key), 0);
	assert_int_equal(pins_claim(pins, "b", key), PINS_FULL);
	pins_close(&pins);
}

static void a_torn_last_line_is_forgotten(void **state)
{
	struct pins *pins = NULL;
	char problem[PINS_PROBLEM_BYTES];
	(void)state;
	put("# by hand\na ab01000000000000000000000000000000000000000000000000000000000000\nb ab");
	assert_int_equal(pins_open(path, 10, &pins, problem), 0);
	assert_int_equal(pins_claim(pins, "a", key), 0);
	assert_int_equal(pins_claim(pins, "b", other), 0);
	pins_close(&pins);
	assert_int_equal(pins_open(path, 10, &pins, problem), 0);
	assert_int_equal(pins_claim(pins, "b", key), PINS_OTHER);
	pins_close(&pins);
}

static void a_file_that_is_something_else_is_refused(void **state)
{
	static const char *const bad[] = {"hello\n", "a b\n",
	                                  "../x ab01000000000000000000000000000000000000000000000000000000000000\n",
	                                  "a ab01000000000000000000000000000000000000000000000000000000000000\n"
	                                  "a ab01000000000000000000000000000000000000000000000000000000000000\n"};
	char problem[PINS_PROBLEM_BYTES];
	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		struct pins *pins = NULL;
		put(bad[i]);
		assert_int_equal(pins_open(path, 10, &pins, problem), PINS_BAD);
		assert_null(pins);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_first_key_keeps_a_name_over_restarts, setup, teardown),
		cmocka_unit_test_setup_teardown(a_bound_is_kept, setup, teardown),
		cmocka_unit_test_setup_teardown(a_torn_last_line_is_forgotten, setup, teardown),
		cmocka_unit_test_setup_teardown(a_file_that_is_something_else_is_refused, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
