#include "config/value_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static bool is_good(enum schema_type type, const char *text)
{
	struct schema_key key = {.type = type, .min = 1, .max = 64};
	return value_text_fault(&key, text) == NULL;
}

static const char *fault(enum schema_type type, const char *text)
{
	struct schema_key key = {.type = type, .min = 1, .max = 64};
	const char *found = value_text_fault(&key, text);
	return found ? found : "good";
}

static void hosts_are_names_and_addresses(void **state)
{
	(void)state;
	const char *good[] = {"localhost", "utun-dest", "a.b.example", "a_b", "127.0.0.1", "::1", "[::1]", "x.", "1a"};
	for (size_t i = 0; i < COUNT_OF(good); i++)
		assert_true(is_good(SCHEMA_HOST, good[i]));
	const char *bad[] = {"",           "a b",   "a..b", ".a",     "-a",    "a/b",
	                     "10.0.0.300", "1.2.3", "[::1", "[::1]x", "a:b:c", "\xc3\xa4"};
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		assert_false(is_good(SCHEMA_HOST, bad[i]));
	char longest[255];
	memset(longest, 'a', sizeof longest);
	longest[253] = '\0';
	assert_true(is_good(SCHEMA_HOST, longest));
	longest[253] = 'a';
	longest[254] = '\0';
	assert_false(is_good(SCHEMA_HOST, longest));
}

static void common_mistakes_are_answered_with_the_mend(void **state)
{
	(void)state;
	assert_non_null(strstr(fault(SCHEMA_HOST, "h:22"), "the port has a key of its own"));
	assert_non_null(strstr(fault(SCHEMA_HOST, "[::1]:22"), "the port has a key of its own"));
	assert_non_null(strstr(fault(SCHEMA_HOST, "https://h"), "without a scheme"));
	assert_non_null(strstr(fault(SCHEMA_HOST, "unix:/x"), "not a Unix socket"));
	assert_non_null(strstr(fault(SCHEMA_IP, "localhost"), "must be an IP address"));
	assert_non_null(strstr(fault(SCHEMA_IP, "127.0.0.1:80"), "the port has a key of its own"));
	assert_non_null(strstr(fault(SCHEMA_TARGET, "unix:x"), "absolute path"));
	assert_non_null(strstr(fault(SCHEMA_BIND, "unix:"), "needs a path"));
}

static void addresses_sockets_and_endpoints_are_told_apart(void **state)
{
	(void)state;
	assert_true(is_good(SCHEMA_IP, "::"));
	assert_true(is_good(SCHEMA_IP, "[::]"));
	assert_false(is_good(SCHEMA_IP, "unix:/x"));
	assert_true(is_good(SCHEMA_BIND, "unix:/run/m.sock"));
	assert_true(is_good(SCHEMA_BIND, "0.0.0.0"));
	assert_false(is_good(SCHEMA_BIND, "host"));
	assert_true(is_good(SCHEMA_TARGET, "unix:/run/m.sock"));
	assert_true(is_good(SCHEMA_TARGET, "host"));
	assert_true(is_good(SCHEMA_ENDPOINT, "127.0.0.1:1"));
	assert_true(is_good(SCHEMA_ENDPOINT, "[::1]:65535"));
	assert_true(is_good(SCHEMA_ENDPOINT, "unix:/run/m.sock"));
	assert_false(is_good(SCHEMA_ENDPOINT, "127.0.0.1"));
	assert_false(is_good(SCHEMA_ENDPOINT, "127.0.0.1:0"));
	assert_false(is_good(SCHEMA_ENDPOINT, "127.0.0.1:65536"));
	assert_false(is_good(SCHEMA_ENDPOINT, "host:1"));
	char path[128] = "unix:/";
	memset(path + 6, 'a', 106);
	path[5 + 107] = '\0';
	assert_true(is_good(SCHEMA_TARGET, path));
	path[5 + 107] = 'a';
	path[5 + 108] = '\0';
	assert_false(is_good(SCHEMA_TARGET, path));
}

static void names_and_texts_are_bounded_and_printable(void **state)
{
	(void)state;
	char name[66];
	memset(name, 'n', sizeof name);
	name[64] = '\0';
	assert_true(is_good(SCHEMA_NAME, name));
	name[64] = 'n';
	name[65] = '\0';
	assert_false(is_good(SCHEMA_NAME, name));
	assert_true(is_good(SCHEMA_NAME, "web-1.a_b:c/d@e"));
	const char *bad[] = {"", "a b", "a=b", "a,b", "a\"b", "a\\b", "a\n", "\x1b[2J"};
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		assert_false(is_good(SCHEMA_NAME, bad[i]));
	assert_true(is_good(SCHEMA_TEXT, "J\xc3\xbcrgen's database"));
	assert_false(is_good(SCHEMA_TEXT, "two\nlines"));
	assert_false(is_good(SCHEMA_PATH, ""));
	assert_true(is_good(SCHEMA_PATH, "/a b/c"));
}

static void brackets_are_not_kept(void **state)
{
	(void)state;
	struct schema_key key = {.type = SCHEMA_IP};
	char *text = value_text_normal(&key, "[::1]");
	assert_string_equal(text, "::1");
	free(text);
	key.type = SCHEMA_ENDPOINT;
	text = value_text_normal(&key, "[::1]:1");
	assert_string_equal(text, "[::1]:1");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hosts_are_names_and_addresses),
		cmocka_unit_test(common_mistakes_are_answered_with_the_mend),
		cmocka_unit_test(addresses_sockets_and_endpoints_are_told_apart),
		cmocka_unit_test(names_and_texts_are_bounded_and_printable),
		cmocka_unit_test(brackets_are_not_kept),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
