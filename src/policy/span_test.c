#include "policy/span.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void each_unit_is_read(void **state)
{
	static const struct {
		const char *text;
		uint64_t seconds;
	} good[] = {{"1s", 1}, {"90s", 90}, {"15m", 900}, {"12h", 43200}, {"30d", 2592000}, {"36500d", 3153600000}};
	(void)state;
	for (size_t i = 0; i < COUNT_OF(good); i++) {
		uint64_t seconds = 0;
		assert_int_equal(span_parse(good[i].text, &seconds), 0);
		assert_int_equal(seconds, good[i].seconds);
	}
}

static void what_is_no_length_is_refused_and_leaves_the_output(void **state)
{
	static const char *const bad[] = {"",
	                                  "s",
	                                  "0s",
	                                  "5",
	                                  "-5s",
	                                  "+5s",
	                                  "5 s",
	                                  "5S",
	                                  "5sm",
	                                  " 5s",
	                                  "36501d",
	                                  "99999999999s",
	                                  "18446744073709551617s",
	                                  "5w",
	                                  "5.5h",
	                                  "33%"};
	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		uint64_t seconds = 7;
		assert_int_equal(span_parse(bad[i], &seconds), SPAN_BAD);
		assert_int_equal(seconds, 7);
	}
}

static void a_share_is_of_what_is_known_later(void **state)
{
	struct span span;
	(void)state;
	assert_int_equal(span_parse_any("33%", &span), 0);
	assert_int_equal(span_of(&span, 1000), 330);
	assert_int_equal(span_of(&span, UINT64_MAX), UINT64_MAX / 100 * 33 + 4);
	assert_int_equal(span_parse_any("10d", &span), 0);
	assert_int_equal(span_of(&span, 5), 864000);
	assert_int_equal(span_parse_any("0%", &span), SPAN_BAD);
	assert_int_equal(span_parse_any("100%", &span), SPAN_BAD);
	assert_int_equal(span_parse_any("%", &span), SPAN_BAD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_unit_is_read),
		cmocka_unit_test(what_is_no_length_is_refused_and_leaves_the_output),
		cmocka_unit_test(a_share_is_of_what_is_known_later),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
