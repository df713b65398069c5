#include "ops/control_request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka wants the four above.
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

static char problem[CONTROL_REQUEST_PROBLEM_BYTES], device[CONTROL_REQUEST_DEVICE_BYTES];

static int parse(const char *line, enum control_request *request)
{
	return control_request_parse(line, strlen(line), request, device, problem);
}

static void every_command_is_known_by_its_name(void **state)
{
	(void)state;
	for (int i = 0; i < CONTROL_REQUEST_COUNT; i++) {
		enum control_request request;
		char line[96];
		snprintf(line, sizeof line, " {\"command\" : \"%s\"%s} ", control_request_name((enum control_request)i),
		         i == CONTROL_REQUEST_KICK ? ", \"device\" : \"011\"" : "");
		assert_int_equal(parse(line, &request), 0);
		assert_int_equal(request, i);
	}
}

static void anything_else_is_refused_with_a_reason(void **state)
{
	static const char *const lines[] = {
		"",
		" ",
		"status",
		"{}",
		"[]",
		"{\"command\":1}",
		"{\"command\":\"\"}",
		"{\"command\":\"Status\"}",
		"{\"command\":\"status\"",
		"{\"command\":\"status\"}}",
		"{\"command\":\"status\",\"x\":1}",
		"{\"command\":\"status\",\"command\":\"status\"}",
		"{\"command\":\"stat\\u0000us\"}",
		"\"status\"",
		"null",
		"{\"command\":\"\xff\"}",
	};
	(void)state;
	for (size_t i = 0; i < COUNT_OF(lines); i++) {
		enum control_request request = CONTROL_REQUEST_COUNT;
		problem[0] = '\0';
		assert_int_equal(parse(lines[i], &request), CONTROL_REQUEST_BAD);
		assert_true(problem[0] != '\0');
		assert_int_equal(request, CONTROL_REQUEST_COUNT);
	}
}

static void every_prefix_of_a_request_is_refused(void **state)
{
	static const char line[] = "{\"command\":\"status\"}";
	enum control_request request;
	(void)state;
	for (size_t length = 0; length < sizeof line - 1; length++)
		assert_int_equal(control_request_parse(line, length, &request, device, problem), CONTROL_REQUEST_BAD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_command_is_known_by_its_name),
		cmocka_unit_test(anything_else_is_refused_with_a_reason),
		cmocka_unit_test(every_prefix_of_a_request_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
