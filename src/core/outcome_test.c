#include "core/outcome.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

struct pair {
	int first, second;
};

static void a_refusal_of_the_kernel_has_its_words(void **state)
{
	(void)state;
	assert_string_equal(outcome_text(-ECONNREFUSED), "connection refused");
	assert_string_equal(outcome_text(-ENOENT), "no such file or directory");
}

static void a_number_without_words_has_a_text_too(void **state)
{
	(void)state;
	assert_non_null(strstr(outcome_text(-4095), "4095"));
}

static void a_word_in_capitals_keeps_them(void **state)
{
	(void)state;
	assert_string_equal(outcome_text(-EDOTDOT), "RFS specific error");
}

static void what_is_not_negative_is_no_error(void **state)
{
	(void)state;
	assert_string_equal(outcome_text(0), "no error");
	assert_string_equal(outcome_text(ENOENT), "no error");
}

static void an_object_is_found_by_its_field(void **state)
{
	(void)state;
	struct pair pair = {1, 2};
	assert_ptr_equal(CONTAINER_OF(&pair.second, struct pair, second), &pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_refusal_of_the_kernel_has_its_words),
		cmocka_unit_test(a_number_without_words_has_a_text_too),
		cmocka_unit_test(a_word_in_capitals_keeps_them),
		cmocka_unit_test(what_is_not_negative_is_no_error),
		cmocka_unit_test(an_object_is_found_by_its_field),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
