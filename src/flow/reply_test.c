#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "flow/reply.h"

// SOCKS code and HTTP status of each verdict, in the order of the enum.
static const struct {
	uint8_t socks;
	const char *http;
} expected[] = {
	[REPLY_OK] = {0, "HTTP/1.1 200 "},          [REPLY_NO_SERVICE] = {2, "HTTP/1.1 404 "},
	[REPLY_NOT_ALLOWED] = {2, "HTTP/1.1 403 "}, [REPLY_REFUSED] = {5, "HTTP/1.1 502 "},
	[REPLY_TIMED_OUT] = {6, "HTTP/1.1 504 "},   [REPLY_LIMIT] = {1, "HTTP/1.1 503 "},
	[REPLY_NO_LINK] = {1, "HTTP/1.1 503 "},     [REPLY_FAILURE] = {1, "HTTP/1.1 502 "},
};

static void each_verdict_has_an_answer_in_both_protocols(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(expected); i++) {
		uint8_t out[REPLY_BYTES];
		assert_int_equal(reply_encode(REPLY_SOCKS, (enum reply_verdict)i, out), 10);
		assert_int_equal(out[0], 5);
		assert_int_equal(out[1], expected[i].socks);
		size_t length = reply_encode(REPLY_HTTP, (enum reply_verdict)i, out);
		assert_true(length > 13 && length < sizeof out);
		assert_memory_equal(out, expected[i].http, 13);
		assert_int_equal(reply_encode(REPLY_NONE, (enum reply_verdict)i, out), 0);
	}
}

static void each_status_of_dest_is_a_verdict(void **state)
{
	(void)state;
	assert_int_equal(reply_of_status(HEADER_OK), REPLY_OK);
	assert_int_equal(reply_of_status(HEADER_NO_SERVICE), REPLY_NO_SERVICE);
	assert_int_equal(reply_of_status(HEADER_REFUSED_TARGET), REPLY_REFUSED);
	assert_int_equal(reply_of_status(HEADER_TIMED_OUT), REPLY_TIMED_OUT);
	assert_int_equal(reply_of_status(HEADER_LIMIT), REPLY_LIMIT);
	assert_int_equal(reply_of_status(HEADER_DRAINING), REPLY_NO_LINK);
	assert_int_equal(reply_of_status(HEADER_INTERNAL), REPLY_FAILURE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_verdict_has_an_answer_in_both_protocols),
		cmocka_unit_test(each_status_of_dest_is_a_verdict),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
