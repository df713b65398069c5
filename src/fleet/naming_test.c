#include "fleet/naming.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static void names_are_file_names_and_nothing_else(void **state)
{
	static const char *const good[] = {"011", "a", "A.b_c-9",
	                                   "0123456789012345678901234567890123456789012345678901234567890123"};
	static const char *const bad[] = {"",
	                                  ".",
	                                  "..",
	                                  ".a",
	                                  "-a",
	                                  "_a",
	                                  "a/b",
	                                  "../x",
	                                  "a b",
	                                  "a\n",
	                                  "\xc3\xa4",
	                                  "a:b",
	                                  "01234567890123456789012345678901234567890123456789012345678901234"};
	(void)state;
	for (size_t i = 0; i < COUNT_OF(good); i++)
		assert_true(naming_is_good(good[i]));
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		assert_false(naming_is_good(bad[i]));
}

static void rules_are_judged(void **state)
{
	(void)state;
	assert_null(naming_rule_problem("CN=*"));
	assert_null(naming_rule_problem("DNS:*.robots.example"));
	assert_null(naming_rule_problem("URI:urn:x:*"));
	assert_non_null(naming_rule_problem("*"));
	assert_non_null(naming_rule_problem("CN=robot"));
	assert_non_null(naming_rule_problem("CN=*-*"));
	assert_non_null(naming_rule_problem("IP:*"));
}

static void a_rule_cuts_the_name_out_of_a_value(void **state)
{
	char name[NAMING_BYTES] = "untouched";
	(void)state;
	assert_int_equal(naming_apply("DNS:*.robots.example", IDENTITY_DNS, "011.robots.example", name), 0);
	assert_string_equal(name, "011");
	assert_int_equal(naming_apply("URI:urn:device:*", IDENTITY_URI, "urn:device:a.b", name), 0);
	assert_string_equal(name, "a.b");
	strcpy(name, "untouched");
	assert_int_equal(naming_apply("DNS:*.robots.example", IDENTITY_COMMON_NAME, "011.robots.example", name),
	                 NAMING_NONE);
	assert_int_equal(naming_apply("DNS:*.robots.example", IDENTITY_DNS, ".robots.example", name), NAMING_NONE);
	assert_int_equal(naming_apply("DNS:*.robots.example", IDENTITY_DNS, "x.other.example", name), NAMING_NONE);
	assert_int_equal(naming_apply("CN=a*a", IDENTITY_COMMON_NAME, "a", name), NAMING_NONE);
	assert_int_equal(naming_apply("CN=*", IDENTITY_COMMON_NAME, "../../etc/passwd", name), NAMING_NONE);
	assert_int_equal(naming_apply("CN=*", IDENTITY_COMMON_NAME, "x/y", name), NAMING_NONE);
	assert_string_equal(name, "untouched");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_file_names_and_nothing_else),
		cmocka_unit_test(rules_are_judged),
		cmocka_unit_test(a_rule_cuts_the_name_out_of_a_value),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
