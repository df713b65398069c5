#include "policy/lobby.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct sockaddr_storage at(const char *text)
{
	struct sockaddr_storage storage = {0};
	struct sockaddr_in *four = (void *)&storage;
	struct sockaddr_in6 *six = (void *)&storage;
	storage.ss_family = strchr(text, ':') ? AF_INET6 : AF_INET;
	void *to = storage.ss_family == AF_INET ? (void *)&four->sin_addr : (void *)&six->sin6_addr;
	assert_int_equal(inet_pton(storage.ss_family, text, to), 1);
	return storage;
}

static unsigned victim(struct lobby *lobby, const char *text, uint32_t chance)
{
	struct sockaddr_storage address = at(text);
	return lobby_victim(lobby, (void *)&address, chance);
}

static unsigned enter(struct lobby *lobby, const char *text)
{
	struct sockaddr_storage address = at(text);
	return lobby_enter(lobby, (void *)&address);
}

static void one_source_pushes_out_only_its_own(void **state)
{
	(void)state;
	struct lobby lobby = {0};
	unsigned honest = enter(&lobby, "192.0.2.7"), seen = 0;
	for (unsigned i = 0; i < LOBBY_PLACES_PER_SOURCE; i++) {
		assert_int_equal(victim(&lobby, "198.51.100.1", i), LOBBY_PLACES);
		(void)enter(&lobby, i % 2 ? "198.51.100.1" : "::ffff:198.51.100.1");
	}
	for (uint32_t chance = 0; chance < 1000; chance++) {
		unsigned place = victim(&lobby, "198.51.100.1", chance);
		assert_true(place < LOBBY_PLACES && place != honest);
		seen |= 1U << place;
	}
	assert_int_equal(__builtin_popcount(seen), LOBBY_PLACES_PER_SOURCE); // any of them
	assert_int_equal(victim(&lobby, "198.51.100.2", 0), LOBBY_PLACES);
}

static void of_ipv6_a_network_of_64_bits_is_one_source(void **state)
{
	(void)state;
	struct lobby lobby = {0};
	for (unsigned i = 0; i < LOBBY_PLACES_PER_SOURCE; i++)
		(void)enter(&lobby, i % 2 ? "2001:db8::1" : "2001:db8::ffff:1");
	assert_true(victim(&lobby, "2001:db8::abcd", 5) < LOBBY_PLACES);
	assert_int_equal(victim(&lobby, "2001:db8:0:1::1", 5), LOBBY_PLACES);
}

static void a_full_room_is_left_by_the_source_that_has_most(void **state)
{
	(void)state;
	struct lobby lobby = {0};
	unsigned honest = enter(&lobby, "203.0.113.5");
	static const char *const crowd[] = {"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"};
	for (unsigned i = 1; i < LOBBY_PLACES; i++)
		(void)enter(&lobby, crowd[i / LOBBY_PLACES_PER_SOURCE]);
	for (uint32_t chance = 0; chance < 1000; chance++)
		assert_int_not_equal(victim(&lobby, "203.0.113.6", chance), honest);
	unsigned place = victim(&lobby, "203.0.113.6", 77);
	lobby_leave(&lobby, place);
	assert_int_equal(enter(&lobby, "203.0.113.6"), place);
}

static void among_strangers_of_one_place_each_everybody_may_be_the_one(void **state)
{
	(void)state;
	struct lobby lobby = {0};
	uint8_t seen[LOBBY_PLACES] = {0};
	char text[32];
	for (unsigned i = 0; i < LOBBY_PLACES; i++) {
		snprintf(text, sizeof text, "10.1.%u.1", i);
		(void)enter(&lobby, text);
	}
	for (uint32_t chance = 0; chance < LOBBY_PLACES; chance++)
		seen[victim(&lobby, "10.2.0.1", chance)] = 1;
	for (unsigned i = 0; i < LOBBY_PLACES; i++)
		assert_true(seen[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_source_pushes_out_only_its_own),
		cmocka_unit_test(of_ipv6_a_network_of_64_bits_is_one_source),
		cmocka_unit_test(a_full_room_is_left_by_the_source_that_has_most),
		cmocka_unit_test(among_strangers_of_one_place_each_everybody_may_be_the_one),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
