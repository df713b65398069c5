#include "cmd/tun_device.h"

#include "cmd/tun_routes.h"

#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>

// In a network of its own; without the right to one, or without TUN, there is nothing to test.
static struct tun_device *device;
static char problem[TUN_ROUTES_PROBLEM_BYTES];

static bool begin(void)
{
	struct tun_device_settings settings = {.name = "td0", .mtu = 1400};
	return unshare(CLONE_NEWNET) == 0 && tun_device_open(&settings, &device) == 0;
}

static bool has_address(const char *wanted)
{
	struct ifaddrs *list;
	bool is_found = false;
	assert_int_equal(getifaddrs(&list), 0);
	for (const struct ifaddrs *item = list; item; item = item->ifa_next) {
		char text[INET6_ADDRSTRLEN] = "";
		if (!item->ifa_addr || strcmp(item->ifa_name, "td0") != 0)
			continue;
		if (item->ifa_addr->sa_family == AF_INET)
			inet_ntop(AF_INET, &((struct sockaddr_in *)(void *)item->ifa_addr)->sin_addr, text, sizeof text);
		else if (item->ifa_addr->sa_family == AF_INET6)
			inet_ntop(AF_INET6, &((struct sockaddr_in6 *)(void *)item->ifa_addr)->sin6_addr, text, sizeof text);
		is_found = is_found || strcmp(text, wanted) == 0;
	}
	freeifaddrs(list);
	return is_found;
}

static bool has_route(const char *hex)
{
	char line[256], name[32], to[32];
	bool is_found = false;
	FILE *file = fopen("/proc/self/net/route", "re");
	assert_non_null(file);
	while (fgets(line, sizeof line, file))
		is_found = is_found || (sscanf(line, "%31s %31s", name, to) == 2 && strcmp(to, hex) == 0);
	fclose(file);
	return is_found;
}

static int set(const char *first, const char *second)
{
	struct tun_device_address list[] = {{.text = first}, {.text = second}};
	return tun_device_set_addresses(device, list, COUNT_OF(list), problem, sizeof problem);
}

static void addresses_are_replaced_and_routes_stay(void **state)
{
	(void)state;
	const char *networks[] = {"10.99.0.0/16"};
	struct tun_routes *routes = NULL;
	struct tun_routes_settings settings = {.networks = networks, .count = 1};
	if (!begin())
		skip();
	assert_int_equal(set("10.1.0.1/24", NULL), 0);
	assert_int_equal(tun_routes_open(device, &settings, &routes, problem), 0);
	assert_true(has_route("0000630A") && has_address("10.1.0.1"));
	// The second lives in the network of the first, with which the kernel takes it away.
	assert_int_equal(set("10.1.0.1/24", "10.1.0.2/24"), 0);
	assert_int_equal(set("10.1.0.2/24", NULL), 0);
	assert_true(has_address("10.1.0.2") && !has_address("10.1.0.1") && has_route("0000630A"));
	// Without any address the kernel takes the routes of that version of IP.
	assert_int_equal(set("", NULL), 0);
	assert_true(!has_address("10.1.0.2") && has_route("0000630A"));
	assert_int_equal(set("10.2.0.1/24", NULL), 0);
	assert_true(has_address("10.2.0.1") && has_route("0000630A"));
	tun_routes_close(&routes);
	tun_device_close(&device);
}

static void addresses_change_all_or_none(void **state)
{
	(void)state;
	if (!begin())
		skip();
	assert_int_equal(set("10.1.0.1/24", NULL), 0);
	assert_int_equal(set("10.1.0.9/24", "10.1.0.1.1/24"), -EINVAL);
	assert_non_null(strstr(problem, "10.1.0.1.1/24"));
	assert_true(has_address("10.1.0.1") && !has_address("10.1.0.9"));
	tun_device_close(&device);
}

static void routes_change_all_or_none(void **state)
{
	(void)state;
	const char *before[] = {"10.98.0.0/16", "10.97.0.0/16"}, *after[] = {"10.98.0.0/16", "10.96.0.0/16", "10.1.0.0/24"};
	struct tun_routes *routes = NULL;
	if (!begin())
		skip();
	assert_int_equal(set("10.1.0.1/24", NULL), 0);
	struct tun_routes_settings settings = {.networks = before, .count = 2};
	assert_int_equal(tun_routes_open(device, &settings, &routes, problem), 0);
	settings = (struct tun_routes_settings){.networks = after, .count = 3};
	assert_int_equal(tun_routes_set(routes, &settings, problem), -EEXIST); // the network of the address
	assert_non_null(strstr(problem, "10.1.0.0/24"));
	assert_true(has_route("0000620A") && has_route("0000610A") && !has_route("0000600A"));
	settings.count = 2;
	assert_int_equal(tun_routes_set(routes, &settings, problem), 0);
	assert_true(has_route("0000620A") && !has_route("0000610A") && has_route("0000600A"));
	tun_routes_close(&routes);
	tun_device_close(&device);
	assert_false(has_route("0000620A"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_are_replaced_and_routes_stay),
		cmocka_unit_test(addresses_change_all_or_none),
		cmocka_unit_test(routes_change_all_or_none),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
