#include "config/flags.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "config/load_test.h"

static void assert_flags(enum config_command command, char *const *argv, int argc, const char *expected)
{
	struct problem_list problems = {0};
	struct flags flags;
	flags_read(command, argc, argv, &problems, &flags);
	char *text = said(&problems);
	assert_string_equal(text, expected);
	free(text);
	flags_fini(&flags);
	problem_list_fini(&problems);
}
#define ASSERT_FLAGS(command, expected, ...) \
	assert_flags(command, (char *[]){__VA_ARGS__}, (int)COUNT_OF(((char *[]){__VA_ARGS__})), expected)

static void values_follow_or_are_joined_by_an_equals_sign(void **state)
{
	(void)state;
	struct problem_list problems = {0};
	struct flags flags;
	char *argv[] = {"--dest-host", "-x", "-c", "f=g", "--listen-ip=a=b", "--expose=1", "--expose", "2"};
	flags_read(CONFIG_SOURCE, (int)COUNT_OF(argv), argv, &problems, &flags);
	assert_int_equal(problems.count, 0);
	assert_int_equal(flags.count, 4);
	assert_string_equal(flags.words[0].text, "-x");
	assert_string_equal(flags.words[1].text, "a=b");
	assert_string_equal(flags.words[3].text, "2");
	assert_string_equal(flags.config_path, "f=g");
	flags_fini(&flags);
}

static void everything_not_understood_is_said(void **state)
{
	(void)state;
	ASSERT_FLAGS(CONFIG_SOURCE, "--lisen-port: unknown flag (did you mean --listen-port?)\n", "--lisen-port", "1");
	ASSERT_FLAGS(CONFIG_SOURCE, "--zzzzzzzzzzzz: unknown flag\n", "--zzzzzzzzzzzz=1");
	ASSERT_FLAGS(CONFIG_SOURCE, "--tunnel-port: this flag belongs to \"dest\", not to \"source\"\n", "--tunnel-port",
	             "1");
	ASSERT_FLAGS(CONFIG_SOURCE, "x: unexpected argument; values belong to flags, see --help\n", "x");
	ASSERT_FLAGS(CONFIG_SOURCE, ": unexpected argument; values belong to flags, see --help\n" + 2, "");
	ASSERT_FLAGS(CONFIG_SOURCE, "--listen-port: needs a value\n", "--listen-port");
	ASSERT_FLAGS(CONFIG_SOURCE, "--listen-port: needs a value\n", "--listen-port", "--pool-size=1");
	ASSERT_FLAGS(CONFIG_SOURCE, "--listen-port: source.listen_port: given twice\n", "--listen-port=1",
	             "--listen-port=1");
	ASSERT_FLAGS(CONFIG_SOURCE, "--config: given twice\n", "-c", "a", "--config=b");
}

static void global_options_are_counted_up_to_the_command_word(void **state)
{
	(void)state;
	char *argv[] = {"--log-level", "debug", "--config=x", "-c", "y", "source", "--log-format", "json"};
	assert_int_equal(flags_count_global((int)COUNT_OF(argv), argv), 5);
	assert_int_equal(flags_count_global(1, argv), 1);
	assert_int_equal(flags_count_global(0, argv), 0);
	assert_int_equal(flags_count_global(2, argv + 5), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_follow_or_are_joined_by_an_equals_sign),
		cmocka_unit_test(everything_not_understood_is_said),
		cmocka_unit_test(global_options_are_counted_up_to_the_command_word),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
