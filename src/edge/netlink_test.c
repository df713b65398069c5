#include "edge/netlink.h"

#include "edge/netlink_private.h"
#include "edge/tun.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sched.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <cmocka.h>

static void assert_text(const char *text, const char *as_is, const char *normal)
{
	struct netlink_address address;
	char out[NETLINK_TEXT_BYTES];
	assert_int_equal(netlink_parse(text, &address), 0);
	netlink_format(&address, out);
	assert_string_equal(out, as_is);
	netlink_normalise(&address);
	netlink_format(&address, out);
	assert_string_equal(out, normal);
}

static void addresses_and_their_networks(void **state)
{
	(void)state;
	assert_text("10.1.1.2/30", "10.1.1.2/30", "10.1.1.0/30");
	assert_text("10.1.1.2", "10.1.1.2/32", "10.1.1.2/32");
	assert_text("255.255.255.255/0", "255.255.255.255/0", "0.0.0.0/0");
	assert_text("192.168.171.205/20", "192.168.171.205/20", "192.168.160.0/20");
	assert_text("FC11::2/126", "fc11::2/126", "fc11::/126");
	assert_text("2001:db8:ffff::1/33", "2001:db8:ffff::1/33", "2001:db8:8000::/33");
	assert_text("::1", "::1/128", "::1/128");
}

static void what_is_no_address(void **state)
{
	(void)state;
	static const char *const texts[] = {"",
	                                    "10.1.1/8",
	                                    "10.1.1.1/33",
	                                    "10.1.1.1/",
	                                    "10.1.1.1/-1",
	                                    "10.1.1.1/8x",
	                                    "10.1.1.1/+8",
	                                    "fc11::g",
	                                    "fc11::1/129",
	                                    "fc11::1/1234",
	                                    "host/8",
	                                    "/8",
	                                    "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb/8"};
	struct netlink_address address;
	for (size_t i = 0; i < COUNT_OF(texts); i++)
		assert_int_equal(netlink_parse(texts[i], &address), NETLINK_BAD);
}

// The rest in a network of its own.
static bool has_own_network(void)
{
	return unshare(CLONE_NEWNET) == 0;
}

static bool route_exists(const char *device, const char *hex)
{
	char line[256], name[32], to[32];
	bool is_found = false;
	FILE *file = fopen("/proc/self/net/route", "re");
	assert_non_null(file);
	while (fgets(line, sizeof line, file))
		is_found = is_found ||
		           (sscanf(line, "%31s %31s", name, to) == 2 && strcmp(name, device) == 0 && strcmp(to, hex) == 0);
	fclose(file);
	return is_found;
}

static void addresses_and_routes_come_and_are_taken_back(void **state)
{
	(void)state;
	struct tun *tun = NULL;
	struct netlink *netlink = NULL;
	struct netlink_address address, to;
	if (!has_own_network() || tun_open(&(struct tun_settings){.name = "nl%d"}, &tun) < 0)
		skip();
	assert_int_equal(netlink_open(tun_name(tun), &netlink), 0);
	assert_int_equal(netlink_bring_up(netlink, 1400, 65535), 0);
	assert_int_equal(netlink_parse("10.20.30.1/24", &address), 0);
	assert_int_equal(netlink_add_address(netlink, &address, NULL), 0);
	assert_int_equal(netlink_add_address(netlink, &address, NULL), 0); // as after a crash
	assert_true(route_exists("nl0", "001E140A"));
	assert_int_equal(netlink_parse("10.99.7.3/16", &to), 0);
	assert_int_equal(netlink_add_route(netlink, &to), 0);
	assert_true(route_exists("nl0", "0000630A"));
	assert_int_equal(netlink_add_route(netlink, &to), 0); // left by a killed process
	netlink_remove_route(netlink, &to);
	assert_false(route_exists("nl0", "0000630A"));
	assert_int_equal(netlink_add_route(netlink, &to), 0);
	netlink_close(&netlink);
	assert_null(netlink);
	assert_false(route_exists("nl0", "0000630A"));
	assert_false(route_exists("nl0", "001E140A"));
	tun_close(&tun);
}

static void a_route_through_another_device_is_not_touched(void **state)
{
	(void)state;
	struct tun *ours = NULL, *theirs = NULL;
	struct netlink *our_side = NULL, *their_side = NULL;
	struct netlink_address to;
	if (!has_own_network() || tun_open(&(struct tun_settings){.name = "theirs"}, &theirs) < 0)
		skip();
	assert_int_equal(tun_open(&(struct tun_settings){.name = "ours"}, &ours), 0);
	assert_int_equal(netlink_open("theirs", &their_side), 0);
	assert_int_equal(netlink_open("ours", &our_side), 0);
	assert_int_equal(netlink_bring_up(their_side, 1400, 0), 0);
	assert_int_equal(netlink_bring_up(our_side, 1400, 0), 0);
	assert_int_equal(netlink_parse("10.99.0.0/16", &to), 0);
	assert_int_equal(netlink_add_route(their_side, &to), 0);
	assert_int_equal(netlink_add_route(our_side, &to), -EEXIST);
	netlink_close(&our_side);
	assert_true(route_exists("theirs", "0000630A"));
	netlink_close(&their_side);
	tun_close(&ours);
	tun_close(&theirs);
}

static struct netlink_address parsed(const char *text)
{
	struct netlink_address address;
	assert_int_equal(netlink_parse(text, &address), 0);
	return address;
}

static bool covers(const char *network, const char *host)
{
	struct netlink_address wide = parsed(network), narrow = parsed(host);
	return netlink_covers(&wide, &narrow);
}

static void networks_cover_hosts(void **state)
{
	(void)state;
	assert_true(covers("0.0.0.0/0", "203.0.113.1") && covers("203.0.113.9/24", "203.0.113.1"));
	assert_true(covers("::/0", "2001:db8::1") && covers("203.0.113.1", "203.0.113.1"));
	assert_false(covers("203.0.112.0/24", "203.0.113.1") || covers("0.0.0.0/0", "::1") || covers("::/0", "0.0.0.1"));
	assert_false(covers("10.0.0.0/16", "10.0.0.0/8"));
}

// `way` is a network with a device of its own, in which 10.5.0.1 is the gateway to everything.
static void a_pinned_host_keeps_its_way_and_the_pin_is_taken_back(void **state)
{
	(void)state;
	struct tun *ours = NULL, *way = NULL;
	struct netlink *netlink = NULL, *other = NULL;
	struct netlink_address host = parsed("203.0.113.7"), own = parsed("10.5.0.2/24"), half = parsed("128.0.0.0/1");
	if (!has_own_network() || tun_open(&(struct tun_settings){.name = "way"}, &way) < 0)
		skip();
	assert_int_equal(tun_open(&(struct tun_settings){.name = "ours"}, &ours), 0);
	assert_int_equal(netlink_open("way", &other), 0);
	assert_int_equal(netlink_bring_up(other, 1400, 0), 0);
	assert_int_equal(netlink_add_address(other, &own, NULL), 0);
	assert_int_equal(netlink_open("ours", &netlink), 0);
	assert_int_equal(netlink_bring_up(netlink, 1400, 0), 0);
	assert_true(netlink_pin(netlink, &host) < 0); // there is no way yet
	struct netlink_address everything = parsed("0.0.0.0/0");
	assert_int_equal(netlink_add_route(other, &everything), 0);
	assert_int_equal(netlink_pin(netlink, &host), 0);
	assert_int_equal(netlink_pin(netlink, &host), 0);
	assert_true(route_exists("way", "077100CB"));
	assert_int_equal(netlink_add_route(netlink, &half), 0);
	struct netlink_address late = parsed("203.0.113.8");
	// Our own routes are not asked.
	assert_int_equal(netlink_pin(netlink, &late), 0);
	assert_true(route_exists("way", "087100CB"));
	netlink_unpin(netlink, &late);
	assert_false(route_exists("way", "087100CB"));
	netlink_close(&netlink);
	assert_false(route_exists("way", "077100CB"));
	netlink_close(&other);
	tun_close(&ours);
	tun_close(&way);
}

// Two ways out, of which the first goes away: the host follows.
static void a_pinned_host_follows_the_routes_of_the_machine(void **state)
{
	(void)state;
	struct tun *ours = NULL, *ways[2] = {NULL, NULL};
	struct netlink *netlink = NULL, *others[2] = {NULL, NULL};
	struct netlink_address host = parsed("203.0.113.7"), half = parsed("128.0.0.0/1"), wide = parsed("203.0.0.0/8"),
						   narrow = parsed("203.0.113.0/24");
	if (!has_own_network() || tun_open(&(struct tun_settings){.name = "way0"}, &ways[0]) < 0)
		skip();
	assert_int_equal(tun_open(&(struct tun_settings){.name = "way1"}, &ways[1]), 0);
	assert_int_equal(tun_open(&(struct tun_settings){.name = "ours"}, &ours), 0);
	assert_int_equal(netlink_open("way0", &others[0]), 0);
	assert_int_equal(netlink_open("way1", &others[1]), 0);
	assert_int_equal(netlink_open("ours", &netlink), 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(netlink_bring_up(others[i], 1400, 0), 0);
	assert_int_equal(netlink_bring_up(netlink, 1400, 0), 0);
	assert_int_equal(netlink_add_route(others[0], &wide), 0);
	assert_int_equal(netlink_pin(netlink, &host), 0);
	assert_int_equal(netlink_add_route(netlink, &half), 0);
	assert_int_equal(netlink_follow(netlink), 0);
	assert_true(route_exists("way0", "077100CB"));
	assert_int_equal(netlink_add_route(others[1], &narrow), 0);
	assert_int_equal(netlink_follow(netlink), 1);
	assert_true(route_exists("way1", "077100CB") && !route_exists("way0", "077100CB"));
	netlink_close(&others[1]);
	tun_close(&ways[1]); // and with it the host's route
	assert_int_equal(netlink_follow(netlink), 1);
	assert_true(route_exists("way0", "077100CB"));
	netlink_close(&others[0]);
	assert_int_equal(netlink_follow(netlink), 0); // there is no other way
	assert_true(route_exists("way0", "077100CB"));
	netlink_close(&netlink);
	tun_close(&ways[0]);
	tun_close(&ours);
}

static bool says_no(void *owner, const struct netlink_address *to)
{
	(void)owner;
	(void)to;
	return false;
}

static void guards_outlive_their_process_and_no_other_takes_those_of_a_living_one(void **state)
{
	(void)state;
	struct tun *first = NULL, *second = NULL;
	struct netlink *guard = NULL, *other = NULL;
	struct netlink_swept swept;
	struct netlink_address to = parsed("10.99.0.0/16"), six = parsed("fd99::/16");
	if (!has_own_network() || tun_open(&(struct tun_settings){.name = "first"}, &first) < 0)
		skip();
	assert_int_equal(netlink_open("first", &guard), 0);
	assert_int_equal(netlink_bring_up(guard, 1400, 0), 0);
	assert_int_equal(netlink_guard(guard, &to), 0);
	assert_int_equal(netlink_guard(guard, &six), 0);
	assert_int_equal(netlink_add_route(guard, &to), 0);
	assert_int_equal(netlink_add_route(guard, &six), 0);
	assert_true(route_exists("first", "0000630A") && route_exists("*", "0000630A"));
	assert_int_equal(tun_open(&(struct tun_settings){.name = "second"}, &second), 0);
	assert_int_equal(netlink_open("second", &other), 0);
	assert_int_equal(netlink_sweep(other, NULL, NULL, &swept), 0);
	assert_int_equal(swept.guards + swept.left + swept.pins, 0);
	netlink_leave_guards(guard);
	netlink_close(&guard);
	tun_close(&first);
	assert_true(route_exists("*", "0000630A"));
	assert_int_equal(netlink_sweep(other, says_no, NULL, &swept), 0);
	assert_int_equal(swept.left, 2);
	assert_true(route_exists("*", "0000630A"));
	assert_int_equal(netlink_release(&swept), 0);
	assert_int_equal(swept.guards, 2);
	assert_false(route_exists("*", "0000630A"));
	netlink_close(&other);
	tun_close(&second);
}

static void a_guard_with_a_rival_is_refused(void **state)
{
	(void)state;
	struct tun *ours = NULL, *theirs = NULL;
	struct netlink *our_side = NULL, *their_side = NULL;
	struct netlink_address to = parsed("10.99.0.0/16"), other = parsed("10.98.0.0/16");
	if (!has_own_network() || tun_open(&(struct tun_settings){.name = "theirs"}, &theirs) < 0)
		skip();
	assert_int_equal(tun_open(&(struct tun_settings){.name = "ours"}, &ours), 0);
	assert_int_equal(netlink_open("theirs", &their_side), 0);
	assert_int_equal(netlink_open("ours", &our_side), 0);
	assert_int_equal(netlink_bring_up(their_side, 1400, 0), 0);
	assert_int_equal(netlink_bring_up(our_side, 1400, 0), 0);
	assert_int_equal(netlink_add_route(their_side, &to), 0);
	assert_int_equal(netlink_guard(our_side, &to), NETLINK_RIVAL);
	assert_int_equal(netlink_guard(our_side, &other), 0);
	netlink_close(&our_side);
	assert_false(route_exists("*", "0000620A"));
	netlink_close(&their_side);
	tun_close(&ours);
	tun_close(&theirs);
}

static void a_device_that_is_not_there(void **state)
{
	(void)state;
	struct netlink *netlink = NULL;
	assert_int_equal(netlink_open("no-such-device", &netlink), -ENODEV);
	assert_null(netlink);
	netlink_close(&netlink);
}

static int count_one(const struct nlmsghdr *message, void *owner)
{
	(void)message;
	++*(unsigned *)owner;
	return MNL_CB_OK;
}

static void what_is_left_of_an_earlier_question_is_no_answer(void **state)
{
	(void)state;
	struct netlink *netlink = NULL;
	char buffer[NETLINK_MESSAGE_BYTES];
	unsigned count = 0;
	if (!has_own_network())
		skip();
	assert_int_equal(netlink_open("lo", &netlink), 0);
	struct nlmsghdr *message = netlink_begin(buffer, RTM_GETLINK, 0);
	struct ifinfomsg *link = mnl_nlmsg_put_extra_header(message, sizeof *link);
	link->ifi_index = (int)netlink->index;
	message->nlmsg_seq = netlink->sequence; // nobody reads the answer
	assert_true(mnl_socket_sendto(netlink->socket, message, message->nlmsg_len) > 0);
	assert_int_equal(netlink_ask(netlink, message, count_one, &count), 0);
	assert_int_equal(count, 1);
	link->ifi_index = 4711;
	assert_int_equal(netlink_ask(netlink, message, NULL, NULL), -ENODEV);
	netlink_close(&netlink);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_and_their_networks),
		cmocka_unit_test(what_is_no_address),
		cmocka_unit_test(addresses_and_routes_come_and_are_taken_back),
		cmocka_unit_test(a_route_through_another_device_is_not_touched),
		cmocka_unit_test(networks_cover_hosts),
		cmocka_unit_test(a_pinned_host_keeps_its_way_and_the_pin_is_taken_back),
		cmocka_unit_test(a_pinned_host_follows_the_routes_of_the_machine),
		cmocka_unit_test(guards_outlive_their_process_and_no_other_takes_those_of_a_living_one),
		cmocka_unit_test(a_guard_with_a_rival_is_refused),
		cmocka_unit_test(a_device_that_is_not_there),
		cmocka_unit_test(what_is_left_of_an_earlier_question_is_no_answer),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
