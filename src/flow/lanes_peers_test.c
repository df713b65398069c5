// Whose packet it is, on a worker whose table is given by hand: no device and no connection.

#include "flow/lanes_internal.h"
#include "packet/packet_rig.h"

#include <arpa/inet.h>

static struct lanes *lanes;
static struct lanes_worker *worker;
static struct lanes_peer *one, *two;
static struct lane lane_of_one;

static struct lanes_place place(const char *text, struct lanes_peer *peer)
{
	struct lanes_place made = {.peer = peer};
	assert_int_equal(cidr_parse(text, &made.network), 0);
	return made;
}

static void tell(const struct lanes_place *places, size_t count)
{
	struct lanes_table *table = NULL;
	assert_int_equal(lanes_table_new(places, count, 4, &table), 0);
	lanes_set_table(lanes, 0, table);
	lanes_table_unref(&table);
}

static int start(void **state)
{
	(void)state;
	static const struct lanes_ops ops;
	struct lanes_settings settings = {.workers = 1, .count = 2, .has_table = true};
	assert_int_equal(lanes_new(&settings, &ops, NULL, &lanes), 0);
	assert_null(lanes_only(lanes));
	worker = lanes->workers[0];
	assert_int_equal(lanes_peer_new(lanes, 1, &one), 0);
	assert_int_equal(lanes_peer_new(lanes, 3, &two), 0);
	lane_of_one = (struct lane){.worker = worker, .share = &one->share[0], .peer = one};
	const struct lanes_place places[] = {place("10.8.0.2", one), place("10.1.0.0/16", one), place("10.1.2.0/24", two),
	                                     place("10.8.0.3", two), place("fd08::2", one),     place("fd08::3", two)};
	tell(places, COUNT_OF(places));
	return 0;
}

static int stop(void **state)
{
	(void)state;
	lanes_peer_unref(&one);
	lanes_peer_unref(&two);
	lanes_free(&lanes);
	return 0;
}

// An ICMP packet from one address to another.
static struct packet packet_of(const char *from, const char *to, uint8_t bytes[64])
{
	struct packet packet;
	bool is_ipv6 = strchr(from, ':');
	size_t length = is_ipv6 ? 48 : 28;
	memset(bytes, 0, 64);
	bytes[0] = is_ipv6 ? 0x60 : 0x45;
	if (is_ipv6)
		rig_put16(bytes + 4, 8);
	else
		rig_put16(bytes + 2, length);
	bytes[is_ipv6 ? 6 : 9] = is_ipv6 ? PACKET_ICMP6 : PACKET_ICMP;
	assert_int_equal(inet_pton(is_ipv6 ? AF_INET6 : AF_INET, from, bytes + (is_ipv6 ? 8 : 12)), 1);
	assert_int_equal(inet_pton(is_ipv6 ? AF_INET6 : AF_INET, to, bytes + (is_ipv6 ? 24 : 16)), 1);
	assert_int_equal(packet_parse(bytes, length, &packet), 0);
	return packet;
}

static bool enters(const char *from, const char *to, struct lanes_share **share)
{
	uint8_t bytes[64];
	struct packet packet = packet_of(from, to, bytes);
	return lanes_may_enter(&lane_of_one, bytes, &packet, share);
}

static struct lanes_share *share_for(const char *from, const char *to)
{
	uint8_t bytes[64];
	struct packet packet = packet_of(from, to, bytes);
	return lanes_share_for(worker, bytes, &packet);
}

static void a_packet_of_the_device_goes_to_the_peer_of_its_destination(void **state)
{
	(void)state;
	uint64_t lost = counter_read(COUNTER_PACKET_NO_SESSION);
	assert_ptr_equal(share_for("192.0.2.1", "10.8.0.2"), &one->share[0]);
	assert_ptr_equal(share_for("192.0.2.1", "10.1.7.7"), &one->share[0]);
	assert_ptr_equal(share_for("192.0.2.1", "10.1.2.7"), &two->share[0]);
	assert_ptr_equal(share_for("2001:db8::1", "fd08::3"), &two->share[0]);
	assert_null(share_for("192.0.2.1", "10.8.0.4"));
	assert_int_equal(counter_read(COUNTER_PACKET_NO_SESSION), lost + 1);
}

static void a_peer_sends_from_its_own_addresses_only(void **state)
{
	(void)state;
	struct lanes_share *to = NULL;
	static const char *const own[] = {"10.8.0.2", "10.1.0.1", "fd08::2"};
	static const char *const foreign[] = {"10.8.0.3", "10.1.2.1", "fd08::3", "203.0.113.1", "127.0.0.1", "10.8.0.1"};
	uint64_t spoofed = counter_read(COUNTER_PACKET_SPOOFED);
	for (size_t i = 0; i < COUNT_OF(own); i++) {
		assert_true(enters(own[i], strchr(own[i], ':') ? "fd08::1" : "10.8.0.1", &to));
		assert_null(to);
	}
	assert_int_equal(lanes_peer_dropped(one, LANES_DROP_SPOOFED), 0);
	for (size_t i = 0; i < COUNT_OF(foreign); i++)
		assert_false(enters(foreign[i], strchr(foreign[i], ':') ? "fd08::1" : "10.8.0.1", &to));
	assert_int_equal(counter_read(COUNTER_PACKET_SPOOFED), spoofed + COUNT_OF(foreign));
	assert_int_equal(lanes_peer_dropped(one, LANES_DROP_SPOOFED), COUNT_OF(foreign));
	assert_int_equal(lanes_peer_dropped(two, LANES_DROP_SPOOFED), 0);
}

static void what_hosts_say_to_their_own_link_is_no_spoofing_and_does_not_enter(void **state)
{
	(void)state;
	struct lanes_share *to;
	uint64_t local = counter_read(COUNTER_PACKET_LINK_LOCAL);
	assert_false(enters("fe80::1", "ff02::2", &to));
	assert_false(enters("febf::1", "fd08::1", &to));
	assert_false(enters("::", "ff02::16", &to));
	assert_int_equal(counter_read(COUNTER_PACKET_LINK_LOCAL), local + 3);
	assert_int_equal(lanes_peer_dropped(one, LANES_DROP_SPOOFED), 0);
}

static void what_is_for_no_host_does_not_enter(void **state)
{
	(void)state;
	struct lanes_share *to = NULL;
	static const char *const nowhere[] = {"0.0.0.0",         "127.0.0.1", "127.255.0.1", "224.0.0.1",
	                                      "239.1.2.3",       "240.0.0.1", "::",          "::1",
	                                      "255.255.255.255", "ff02::1",   "ff0e::1",     "::ffff:127.0.0.1"};
	static const char *const somewhere[] = {"1.0.0.1", "126.255.255.255", "128.0.0.1", "223.255.255.255",
	                                        "::2",     "2001:db8::1"};
	uint64_t martians = counter_read(COUNTER_PACKET_MARTIAN);
	for (size_t i = 0; i < COUNT_OF(nowhere); i++)
		assert_false(enters(strchr(nowhere[i], ':') ? "fd08::2" : "10.8.0.2", nowhere[i], &to));
	assert_int_equal(counter_read(COUNTER_PACKET_MARTIAN), martians + COUNT_OF(nowhere));
	for (size_t i = 0; i < COUNT_OF(somewhere); i++)
		assert_true(enters(strchr(somewhere[i], ':') ? "fd08::2" : "10.8.0.2", somewhere[i], &to));
	assert_int_equal(lanes_peer_dropped(one, LANES_DROP_SPOOFED), 0);
}

static void peers_reach_each_other_only_when_they_are_joined(void **state)
{
	(void)state;
	struct lanes_share *to = NULL;
	assert_false(enters("10.8.0.2", "10.8.0.3", &to));
	assert_false(enters("10.8.0.2", "10.1.2.1", &to));
	assert_int_equal(lanes_peer_dropped(one, LANES_DROP_CROSSED), 2);
	// By way of the kernel neither.
	assert_null(share_for("10.8.0.2", "10.8.0.3"));
	assert_int_equal(lanes_peer_dropped(one, LANES_DROP_CROSSED), 3);
	lanes_set_joins(lanes, true);
	assert_true(enters("10.8.0.2", "10.8.0.3", &to));
	assert_ptr_equal(to, &two->share[0]);
	assert_true(enters("10.8.0.2", "10.1.2.1", &to));
	assert_ptr_equal(to, &two->share[0]);
	assert_ptr_equal(share_for("10.8.0.2", "10.8.0.3"), &two->share[0]);
	assert_int_equal(lanes_peer_dropped(one, LANES_DROP_CROSSED), 3);
}

static void a_peer_that_is_in_no_table_is_no_spoofer_and_gets_nothing(void **state)
{
	(void)state;
	struct lanes_share *to;
	const struct lanes_place rest = place("10.8.0.3", two);
	uint32_t slot = one->slot, serial = one->serial;
	assert_ptr_equal(lanes_share_at(worker, slot, serial), &one->share[0]);
	tell(&rest, 1);
	assert_null(lanes_share_at(worker, slot, serial));
	assert_null(lanes_share_at(worker, 77, serial));
	uint64_t lost = counter_read(COUNTER_PACKET_NO_SESSION);
	assert_false(enters("10.8.0.2", "10.8.0.1", &to));
	assert_null(share_for("192.0.2.1", "10.8.0.2"));
	assert_int_equal(counter_read(COUNTER_PACKET_NO_SESSION), lost + 2);
	assert_int_equal(lanes_peer_dropped(one, LANES_DROP_SPOOFED), 0);
}

// What was passed on for a peer must not come to one that has its place afterwards.
static void a_place_that_is_taken_again_is_another_peers(void **state)
{
	(void)state;
	uint32_t slot = one->slot, serial = one->serial;
	struct lanes_peer *next = NULL;
	assert_int_equal(lanes_peer_new(lanes, slot, &next), 0);
	const struct lanes_place places[] = {place("10.8.0.9", next)};
	tell(places, 1);
	assert_null(lanes_share_at(worker, slot, serial));
	assert_ptr_equal(lanes_share_at(worker, slot, next->serial), &next->share[0]);
	lanes_peer_unref(&next);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_packet_of_the_device_goes_to_the_peer_of_its_destination, start, stop),
		cmocka_unit_test_setup_teardown(a_peer_sends_from_its_own_addresses_only, start, stop),
		cmocka_unit_test_setup_teardown(what_hosts_say_to_their_own_link_is_no_spoofing_and_does_not_enter, start,
	                                    stop),
		cmocka_unit_test_setup_teardown(what_is_for_no_host_does_not_enter, start, stop),
		cmocka_unit_test_setup_teardown(peers_reach_each_other_only_when_they_are_joined, start, stop),
		cmocka_unit_test_setup_teardown(a_peer_that_is_in_no_table_is_no_spoofer_and_gets_nothing, start, stop),
		cmocka_unit_test_setup_teardown(a_place_that_is_taken_again_is_another_peers, start, stop),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
