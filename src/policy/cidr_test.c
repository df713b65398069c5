#include "policy/cidr.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/un.h>
#include <cmocka.h>

static struct cidr range(const char *text)
{
	struct cidr cidr;
	int outcome = cidr_parse(text, &cidr);
	if (outcome != 0)
		print_message("%s\n", text);
	assert_int_equal(outcome, 0);
	return cidr;
}

static struct sockaddr_storage address(const char *text)
{
	struct sockaddr_storage storage = {0};
	struct sockaddr_in *in4 = (struct sockaddr_in *)&storage;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&storage;
	storage.ss_family = strchr(text, ':') ? AF_INET6 : AF_INET;
	void *bytes = storage.ss_family == AF_INET ? (void *)&in4->sin_addr : (void *)&in6->sin6_addr;
	assert_int_equal(inet_pton(storage.ss_family, text, bytes), 1);
	return storage;
}

static bool contains(const char *cidr_text, const char *address_text)
{
	struct cidr cidr = range(cidr_text);
	struct sockaddr_storage storage = address(address_text);
	return cidr_contains(&cidr, (struct sockaddr *)&storage);
}

static void a_range_holds_its_first_and_last_address_and_not_their_neighbours(void **state)
{
	(void)state;
	assert_true(contains("10.0.0.0/8", "10.0.0.0"));
	assert_true(contains("10.0.0.0/8", "10.255.255.255"));
	assert_false(contains("10.0.0.0/8", "9.255.255.255"));
	assert_false(contains("10.0.0.0/8", "11.0.0.0"));
	assert_true(contains("192.168.4.0/22", "192.168.7.255"));
	assert_false(contains("192.168.4.0/22", "192.168.8.0"));
	assert_false(contains("192.168.4.0/22", "192.168.3.255"));
	assert_true(contains("fd00::/8", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"));
	assert_false(contains("fd00::/8", "fe00::"));
	assert_true(contains("2001:db8::/127", "2001:db8::1"));
	assert_false(contains("2001:db8::/127", "2001:db8::2"));
}

static void a_single_address_is_a_range_of_one(void **state)
{
	(void)state;
	assert_int_equal(range("192.168.1.7").bits, 128);
	assert_int_equal(range("192.168.1.7/32").bits, 128);
	assert_int_equal(range("::1").bits, 128);
	assert_true(contains("192.168.1.7", "192.168.1.7"));
	assert_false(contains("192.168.1.7", "192.168.1.6"));
	assert_true(contains("::1", "::1"));
	assert_false(contains("::1", "::"));
}

static void mapped_and_plain_ipv4_are_the_same(void **state)
{
	struct cidr plain = range("10.1.0.0/16"), mapped = range("::ffff:10.1.0.0/112");
	(void)state;
	assert_int_equal(plain.bits, mapped.bits);
	assert_memory_equal(plain.address, mapped.address, 16);
	assert_true(contains("10.1.0.0/16", "::ffff:10.1.2.3"));
	assert_true(contains("::ffff:10.1.0.0/112", "10.1.2.3"));
	assert_false(contains("10.1.0.0/16", "::10.1.2.3"));
}

static void all_of_one_family_is_nothing_of_the_other(void **state)
{
	(void)state;
	assert_true(contains("0.0.0.0/0", "255.255.255.255"));
	assert_true(contains("0.0.0.0/0", "::ffff:1.2.3.4"));
	assert_false(contains("0.0.0.0/0", "2001:db8::1"));
	assert_true(contains("::/0", "2001:db8::1"));
	assert_true(contains("::/0", "::1"));
	assert_false(contains("::/0", "1.2.3.4"));
	assert_false(contains("::/0", "::ffff:1.2.3.4"));
	assert_false(contains("::/80", "1.2.3.4"));
}

// Bit by bit: the range of one address' first bits holds it, and loses it when any of those bits is another.
static void every_prefix_length_counts_every_one_of_its_bits(void **state)
{
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
	(void)state;
	memset(&in6.sin6_addr, 0xa6, 16);
	for (unsigned bits = 0; bits <= 128; bits++) {
		struct cidr cidr = {.bits = (uint8_t)bits};
		for (unsigned i = 0; i < bits; i++)
			cidr.address[i / 8] = (uint8_t)(cidr.address[i / 8] | (0xa6 & 0x80 >> i % 8));
		assert_true(cidr_contains(&cidr, (struct sockaddr *)&in6));
		for (unsigned i = 0; i < 128; i++) {
			uint8_t flip = (uint8_t)(0x80 >> i % 8);
			in6.sin6_addr.s6_addr[i / 8] ^= flip;
			assert_int_equal(cidr_contains(&cidr, (struct sockaddr *)&in6), i >= bits);
			in6.sin6_addr.s6_addr[i / 8] ^= flip;
		}
	}
}

static void what_is_not_a_range_is_bad(void **state)
{
	static const char *const bad[] = {
		"",
		"/",
		"/8",
		"10.0.0.0/",
		"10.0.0.0/33",
		"10.0.0.0/-1",
		"10.0.0.0/+8",
		"10.0.0.0/08",
		"10.0.0.0/ 8",
		"10.0.0.0/8 ",
		" 10.0.0.0/8",
		"10.0.0.0/8/8",
		"10.0.0.0/4294967304",
		"10.0.0.0/99999999999999999999",
		"10.0.0.0/8x",
		"10.0.0/8",
		"10.0.0.0.0/8",
		"010.0.0.0/8",
		"256.0.0.0/8",
		"0x0a.0.0.0",
		"10",
		"fd00::/129",
		"fd00:::/8",
		"fd00::1::/64",
		"fe80::1%lo",
		"[::1]",
		"::1:80g",
		"localhost",
		"*",
		"1111:2222:3333:4444:5555:6666:7777:8888:9999",
		"::ffff:255.255.255.2555555555555555555555555555555555555555",
	};
	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		struct cidr cidr, before;
		memset(&cidr, 0x33, sizeof cidr);
		before = cidr;
		if (cidr_parse(bad[i], &cidr) != CIDR_BAD)
			fail_msg("\"%s\" was taken for a range", bad[i]);
		assert_memory_equal(&cidr, &before, sizeof cidr);
	}
}

static void host_bits_must_be_zero(void **state)
{
	struct cidr cidr;
	(void)state;
	assert_int_equal(cidr_parse("10.0.0.1/8", &cidr), CIDR_BAD);
	assert_int_equal(cidr_parse("10.0.0.128/24", &cidr), CIDR_BAD);
	assert_int_equal(cidr_parse("10.0.0.128/25", &cidr), 0);
	assert_int_equal(cidr_parse("1.0.0.0/0", &cidr), CIDR_BAD);
	assert_int_equal(cidr_parse("fd00::1/127", &cidr), CIDR_BAD);
	assert_int_equal(cidr_parse("fd00::2/127", &cidr), 0);
	assert_int_equal(cidr_parse("::1/0", &cidr), CIDR_BAD);
}

static void the_longest_way_to_write_a_range_is_read(void **state)
{
	(void)state;
	struct cidr cidr = range("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255/128");
	for (int i = 0; i < 16; i++)
		assert_int_equal(cidr.address[i], 0xff);
}

static bool is_allowed(const struct cidr *list, size_t count, const char *text)
{
	struct sockaddr_storage storage = address(text);
	return cidr_list_allows(list, count, (struct sockaddr *)&storage);
}

static void a_list_allows_what_one_of_its_ranges_holds(void **state)
{
	struct cidr list[] = {range("10.0.0.0/8"), range("::1"), range("192.168.1.7")};
	(void)state;
	assert_true(is_allowed(list, 3, "10.1.1.1"));
	assert_true(is_allowed(list, 3, "::1"));
	assert_true(is_allowed(list, 3, "192.168.1.7"));
	assert_false(is_allowed(list, 2, "192.168.1.7"));
	assert_false(is_allowed(list, 3, "11.1.1.1"));
	assert_false(is_allowed(list, 3, "::2"));
}

static void no_list_is_no_limit(void **state)
{
	(void)state;
	assert_true(is_allowed(NULL, 0, "203.0.113.9"));
	assert_true(is_allowed(NULL, 0, "2001:db8::1"));
}

static void unix_sockets_pass_every_list_and_are_in_no_range(void **state)
{
	struct cidr list[] = {range("10.0.0.0/8"), range("::/0")};
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	(void)state;
	assert_true(cidr_list_allows(list, 2, (struct sockaddr *)&un));
	assert_false(cidr_contains(&list[1], (struct sockaddr *)&un));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_range_holds_its_first_and_last_address_and_not_their_neighbours),
		cmocka_unit_test(a_single_address_is_a_range_of_one),
		cmocka_unit_test(mapped_and_plain_ipv4_are_the_same),
		cmocka_unit_test(all_of_one_family_is_nothing_of_the_other),
		cmocka_unit_test(every_prefix_length_counts_every_one_of_its_bits),
		cmocka_unit_test(what_is_not_a_range_is_bad),
		cmocka_unit_test(host_bits_must_be_zero),
		cmocka_unit_test(the_longest_way_to_write_a_range_is_read),
		cmocka_unit_test(a_list_allows_what_one_of_its_ranges_holds),
		cmocka_unit_test(no_list_is_no_limit),
		cmocka_unit_test(unix_sockets_pass_every_list_and_are_in_no_range),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
