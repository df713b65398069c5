#include "cmd/health_answer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka wants the four above.
#include <cmocka.h>

#include <string.h>

#define HEAD(code) "HTTP/1.1 " code " X\r\nContent-Type: application/json\r\n\r\n"

static struct health_answer answer;

static int read_text(const char *text)
{
	return health_answer_read(text, strlen(text), &answer);
}

static void healthy_and_degraded_pass_with_200_only(void **state)
{
	(void)state;
	assert_int_equal(read_text(HEAD("200") "{\"status\":\"Healthy\",\"message\":\"All systems operational\"}"), 0);
	assert_true(answer.passed);
	assert_string_equal(answer.message, "All systems operational");
	assert_int_equal(read_text(HEAD("200") "{\"status\":\"Degraded\"}"), 0);
	assert_true(answer.passed);
	assert_int_equal(read_text(HEAD("503") "{\"status\":\"Healthy\"}"), 0);
	assert_false(answer.passed);
	assert_int_equal(answer.code, 503);
	assert_int_equal(read_text(HEAD("200") "{\"status\":\"Unhealthy\"}"), 0);
	assert_false(answer.passed);
	assert_int_equal(read_text(HEAD("200") "{\"status\":7,\"message\":[]}"), 0);
	assert_false(answer.passed);
}

static void what_is_not_an_answer_of_a_node_is_refused(void **state)
{
	static const char *const texts[] = {
		"",
		"HTTP/1.1 200",
		"HTTP/1.1 20x X\r\n\r\n{}",
		"HTTP/2 200 X\r\n\r\n{}",
		"SSH-2.0-x\r\n\r\n{}",
		"HTTP/1.1 200 X\r\n{}",
		HEAD("200"),
		HEAD("200") "not json",
		HEAD("200") "[]",
		HEAD("200") "{} {}",
	};
	(void)state;
	for (size_t i = 0; i < COUNT_OF(texts); i++)
		assert_int_equal(read_text(texts[i]), HEALTH_ANSWER_BAD);
}

static void every_prefix_is_refused(void **state)
{
	static const char text[] = HEAD("200") "{\"status\":\"Healthy\"}";
	(void)state;
	for (size_t length = 0; length < sizeof text - 1; length++)
		assert_int_equal(health_answer_read(text, length, &answer), HEALTH_ANSWER_BAD);
}

static void texts_are_cut_and_made_printable(void **state)
{
	char text[1200] = HEAD("200") "{\"status\":\"Healthy\",\"message\":\"\\u001b[2J";
	(void)state;
	memset(text + strlen(text), 'm', 600);
	strcat(text, "\"}");
	assert_int_equal(read_text(text), 0);
	assert_int_equal(strlen(answer.message), HEALTH_TEXT_BYTES - 1);
	assert_memory_equal(answer.message, "?[2Jmm", 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(healthy_and_degraded_pass_with_200_only),
		cmocka_unit_test(what_is_not_an_answer_of_a_node_is_refused),
		cmocka_unit_test(every_prefix_is_refused),
		cmocka_unit_test(texts_are_cut_and_made_printable),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
