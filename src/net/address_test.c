#include "net/address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static void assert_parses_to(const char *text, const char *expected)
{
	struct address address;
	char out[ADDRESS_TEXT_BYTES];
	assert_int_equal(address_parse(text, &address), 0);
	address_format(&address, out);
	assert_string_equal(out, expected);
}

static void addresses_are_written_as_they_are_read(void **state)
{
	(void)state;
	assert_parses_to("1.2.3.4:80", "1.2.3.4:80");
	assert_parses_to("[::1]:65535", "[::1]:65535");
	assert_parses_to("[2001:DB8:0::7]:1", "[2001:db8::7]:1");
	assert_parses_to("unix:/run/x.sock", "unix:/run/x.sock");
	assert_parses_to("[fe80::1%lo]:22", "[fe80::1%lo]:22");
}

static void mapped_addresses_are_written_as_ipv4(void **state)
{
	(void)state;
	assert_parses_to("[::ffff:10.1.2.3]:443", "10.1.2.3:443");
}

static void what_is_not_an_address_is_bad(void **state)
{
	static const char *const bad[] = {
		"",
		":",
		"1.2.3.4",
		"1.2.3.4:",
		"1.2.3.4:0",
		"1.2.3.4:65536",
		"1.2.3.4:99999999999",
		"1.2.3.4:+1",
		"1.2.3.4: 1",
		"1.2.3.4:1 ",
		"1.2.3:80",
		"256.1.1.1:80",
		"::1:80",
		"[::1]",
		"[::1]80",
		"[::1:80",
		"::1]:80",
		"[1.2.3.4]:80",
		"[]:80",
		"host:80",
		"[fe80::1%nosuchzone]:1",
		"unix:",
		"[::1]]:80",
		"[[::1]:80",
		"1.2.3.4:80:81",
	};
	struct address address;
	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		if (address_parse(bad[i], &address) != ADDRESS_BAD)
			fail_msg("accepted: %s", bad[i]);
}

static void an_ip_may_stand_in_brackets_or_not(void **state)
{
	struct address address;
	char text[ADDRESS_TEXT_BYTES];
	(void)state;
	assert_int_equal(address_from_ip("[::1]", 7, &address), 0);
	address_format(&address, text);
	assert_string_equal(text, "[::1]:7");
	assert_int_equal(address_from_ip("::1", 0, &address), 0);
	address_format(&address, text);
	assert_string_equal(text, "[::1]:0");
	assert_int_equal(address_from_ip("localhost", 7, &address), ADDRESS_BAD);
	assert_int_equal(address_from_ip("", 7, &address), ADDRESS_BAD);
	assert_int_equal(address_from_ip("[", 7, &address), ADDRESS_BAD);
}

static void a_unix_path_at_the_limit_fits_and_one_past_it_does_not(void **state)
{
	char text[256] = "unix:";
	struct address address;
	char out[ADDRESS_TEXT_BYTES];
	(void)state;
	memset(text + 5, 'p', 107);
	text[5 + 107] = '\0';
	assert_int_equal(address_parse(text, &address), 0);
	address_format(&address, out);
	assert_string_equal(out, text);
	text[5 + 107] = 'p';
	text[5 + 108] = '\0';
	assert_int_equal(address_parse(text, &address), ADDRESS_BAD);
}

static void the_null_value_is_written_as_nothing(void **state)
{
	struct address address = {0};
	char text[ADDRESS_TEXT_BYTES] = "x";
	(void)state;
	address_format(&address, text);
	assert_string_equal(text, "");
	assert_false(address_is_loopback(&address));
	assert_false(address_is_unix(&address));
}

static void unnamed_and_abstract_unix_peers_are_written(void **state)
{
	struct address address = {.length = sizeof(sa_family_t)};
	char text[ADDRESS_TEXT_BYTES];
	(void)state;
	address.any.sa_family = AF_UNIX;
	address_format(&address, text);
	assert_string_equal(text, "unix:");
	memcpy(address.un.sun_path, "\0me", 3);
	address.length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 3);
	address_format(&address, text);
	assert_string_equal(text, "unix:@me");
}

static void splitting_keeps_the_host_and_drops_the_brackets(void **state)
{
	char host[16];
	uint16_t port = 0;
	(void)state;
	assert_int_equal(address_split("example.org:443", host, sizeof(host), &port), 0);
	assert_string_equal(host, "example.org");
	assert_int_equal(port, 443);
	assert_int_equal(address_split("[::1]:22", host, sizeof(host), &port), 0);
	assert_string_equal(host, "::1");
	assert_int_equal(address_split("exactly15chars.:1", host, sizeof(host), &port), 0);
	assert_int_equal(address_split("exactly16chars..:1", host, sizeof(host), &port), ADDRESS_BAD);
	assert_int_equal(address_split(":1", host, sizeof(host), &port), ADDRESS_BAD);
	assert_int_equal(address_split("host", host, sizeof(host), &port), ADDRESS_BAD);
}

static void loopback_is_known_in_every_family(void **state)
{
	static const struct {
		const char *text;
		bool loopback;
	} cases[] = {
		{"127.0.0.1:1", true},          {"127.255.0.9:1", true}, {"128.0.0.1:1", false},         {"[::1]:1", true},
		{"[::ffff:127.0.0.1]:1", true}, {"[::2]:1", false},      {"[::ffff:10.0.0.1]:1", false}, {"unix:/x", true},
		{"0.0.0.0:1", false},
	};
	struct address address;
	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		assert_int_equal(address_parse(cases[i].text, &address), 0);
		assert_int_equal(address_is_loopback(&address), cases[i].loopback);
	}
}

static void the_same_host_is_the_same_ip_whatever_the_port(void **state)
{
	struct address a, b;
	(void)state;
	assert_int_equal(address_parse("10.1.1.1:1", &a), 0);
	assert_int_equal(address_parse("10.1.1.1:2", &b), 0);
	assert_true(address_is_same_host(&a, &b));
	assert_int_equal(address_parse("10.1.1.2:1", &b), 0);
	assert_false(address_is_same_host(&a, &b));
	assert_int_equal(address_parse("[::1]:1", &b), 0);
	assert_false(address_is_same_host(&a, &b));
}

static void a_port_can_be_changed_and_the_rest_stays(void **state)
{
	struct address address;
	char text[ADDRESS_TEXT_BYTES];
	(void)state;
	assert_int_equal(address_parse("[2001:db8::1]:80", &address), 0);
	address_set_port(&address, 1108);
	address_format(&address, text);
	assert_string_equal(text, "[2001:db8::1]:1108");
	assert_int_equal(address_parse("192.0.2.1:80", &address), 0);
	address_set_port(&address, 1108);
	address_format(&address, text);
	assert_string_equal(text, "192.0.2.1:1108");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_are_written_as_they_are_read),
		cmocka_unit_test(mapped_addresses_are_written_as_ipv4),
		cmocka_unit_test(what_is_not_an_address_is_bad),
		cmocka_unit_test(an_ip_may_stand_in_brackets_or_not),
		cmocka_unit_test(a_unix_path_at_the_limit_fits_and_one_past_it_does_not),
		cmocka_unit_test(the_null_value_is_written_as_nothing),
		cmocka_unit_test(unnamed_and_abstract_unix_peers_are_written),
		cmocka_unit_test(splitting_keeps_the_host_and_drops_the_brackets),
		cmocka_unit_test(loopback_is_known_in_every_family),
		cmocka_unit_test(a_port_can_be_changed_and_the_rest_stays),
		cmocka_unit_test(the_same_host_is_the_same_ip_whatever_the_port),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
