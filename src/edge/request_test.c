#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "edge/request.h"

static bool takes(const char *host)
{
	struct request request = {.host = "untouched"};
	bool is_good = request_set_host(&request, host, strlen(host));
	assert_string_equal(request.host, is_good ? host : "untouched");
	return is_good;
}

static void names_and_addresses_are_hosts(void **state)
{
	(void)state;
	assert_true(takes("localhost"));
	assert_true(takes("db-1.example_2~"));
	assert_true(takes("192.0.2.1"));
	assert_true(takes("2001:db8::1"));
	assert_true(takes("::ffff:192.0.2.1"));
	assert_true(takes("-"));
}

static void what_is_neither_is_refused(void **state)
{
	(void)state;
	const char *const bad[] = {"",      " a",           "a b",     "a\tb", "a\nb",        "user@host", "a/b", "a:1",
	                           "[::1]", "fe80::1%eth0", "1:2:3:4", "a\"b", "caf\xc3\xa9", "a,b",       "a=b", "a\\b"};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		if (takes(bad[i]))
			fail_msg("taken: %s", bad[i]);
}

static void a_name_has_255_bytes_at_most(void **state)
{
	(void)state;
	char name[REQUEST_HOST_BYTES + 2];
	struct request request;
	memset(name, 'a', sizeof name);
	assert_true(request_set_host(&request, name, REQUEST_HOST_BYTES));
	assert_int_equal(strlen(request.host), REQUEST_HOST_BYTES);
	assert_false(request_set_host(&request, name, REQUEST_HOST_BYTES + 1));
}

static void a_nul_inside_is_no_end(void **state)
{
	(void)state;
	struct request request;
	assert_false(request_set_host(&request, "a\0b", 3));
	assert_false(request_set_host(&request, "::1\0", 4));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_and_addresses_are_hosts),
		cmocka_unit_test(what_is_neither_is_refused),
		cmocka_unit_test(a_name_has_255_bytes_at_most),
		cmocka_unit_test(a_nul_inside_is_no_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
