#include "policy/prefixes.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct prefix network(const char *text, uint32_t value)
{
	struct prefix made = {.value = value};
	assert_int_equal(cidr_parse(text, &made.network), 0);
	return made;
}

static struct prefixes *make(const struct prefix *list, size_t count)
{
	struct prefixes *made = NULL;
	assert_int_equal(prefixes_new(list, count, &made), 0);
	return made;
}

static uint32_t find(const struct prefixes *prefixes, const char *text)
{
	uint8_t bytes[16];
	if (inet_pton(AF_INET, text, bytes) == 1)
		return prefixes_find4(prefixes, bytes);
	assert_int_equal(inet_pton(AF_INET6, text, bytes), 1);
	return prefixes_find6(prefixes, bytes);
}

static void the_longest_prefix_wins(void **state)
{
	(void)state;
	const struct prefix list[] = {
		network("10.0.0.0/8", 1), network("10.1.0.0/16", 2), network("10.1.2.3", 3),  network("0.0.0.0/0", 4),
		network("fd00::/8", 5),   network("fd00:1::/32", 6), network("fd00:1::1", 7), network("10.1.2.0/24", 8),
	};
	struct prefixes *prefixes = make(list, COUNT_OF(list));
	assert_int_equal(find(prefixes, "10.200.0.1"), 1);
	assert_int_equal(find(prefixes, "10.1.200.1"), 2);
	assert_int_equal(find(prefixes, "10.1.2.3"), 3);
	assert_int_equal(find(prefixes, "10.1.2.4"), 8);
	assert_int_equal(find(prefixes, "192.0.2.1"), 4);
	assert_int_equal(find(prefixes, "fd00::1"), 5);
	assert_int_equal(find(prefixes, "fd00:1:ffff::1"), 6);
	assert_int_equal(find(prefixes, "fd00:1::1"), 7);
	assert_int_equal(find(prefixes, "2001:db8::1"), PREFIXES_NONE);
	prefixes_free(&prefixes);
	assert_null(prefixes);
}

static void the_two_families_do_not_meet(void **state)
{
	(void)state;
	const struct prefix four = network("0.0.0.0/0", 1), six = network("::/0", 2);
	struct prefixes *prefixes = make(&four, 1);
	assert_int_equal(find(prefixes, "::ffff:10.0.0.1"), PREFIXES_NONE);
	assert_int_equal(find(prefixes, "10.0.0.1"), 1);
	prefixes_free(&prefixes);
	prefixes = make(&six, 1);
	assert_int_equal(find(prefixes, "::ffff:10.0.0.1"), 2);
	assert_int_equal(find(prefixes, "10.0.0.1"), PREFIXES_NONE);
	prefixes_free(&prefixes);
}

static void of_the_same_network_the_later_one_counts(void **state)
{
	(void)state;
	const struct prefix list[] = {network("10.0.0.0/8", 1), network("10.0.0.0/8", 2)};
	struct prefixes *prefixes = make(list, COUNT_OF(list));
	assert_int_equal(find(prefixes, "10.0.0.1"), 2);
	prefixes_free(&prefixes);
}

static void nothing_is_in_an_empty_table(void **state)
{
	(void)state;
	struct prefixes *prefixes = make(NULL, 0);
	assert_int_equal(find(prefixes, "10.0.0.1"), PREFIXES_NONE);
	assert_int_equal(find(prefixes, "::1"), PREFIXES_NONE);
	prefixes_free(&prefixes);
}

// What is found is what a search through the list finds.
static void many_networks_are_found_as_a_search_would(void **state)
{
	(void)state;
	enum { COUNT = 2000 };
	static struct prefix list[COUNT];
	srandom(7);
	for (uint32_t i = 0; i < COUNT; i++) {
		list[i] = (struct prefix){.value = i};
		memset(list[i].network.address + 10, 0xff, 2);
		list[i].network.bits = (uint8_t)(96 + 8 + random() % 25);
		uint32_t host = (uint32_t)random() & 0x0f0f0f0f;
		host &= list[i].network.bits == 128 ? UINT32_MAX : ~(UINT32_MAX >> (list[i].network.bits - 96));
		host = htonl(host);
		memcpy(list[i].network.address + 12, &host, 4);
	}
	struct prefixes *prefixes = make(list, COUNT);
	for (unsigned turn = 0; turn < 5000; turn++) {
		struct sockaddr_in address = {.sin_family = AF_INET};
		address.sin_addr.s_addr = htonl((uint32_t)random() & 0x0f0f0f0f);
		uint32_t best = PREFIXES_NONE;
		for (uint32_t i = 0; i < COUNT; i++)
			if (cidr_contains(&list[i].network, (struct sockaddr *)&address) &&
			    (best == PREFIXES_NONE || list[i].network.bits >= list[best].network.bits))
				best = i;
		uint8_t bytes[4];
		memcpy(bytes, &address.sin_addr, 4);
		assert_int_equal(prefixes_find4(prefixes, bytes), best);
	}
	prefixes_free(&prefixes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_longest_prefix_wins),
		cmocka_unit_test(the_two_families_do_not_meet),
		cmocka_unit_test(of_the_same_network_the_later_one_counts),
		cmocka_unit_test(nothing_is_in_an_empty_table),
		cmocka_unit_test(many_networks_are_found_as_a_search_would),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
