#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "flow/route.h"

static const struct route_port ports[] = {{.port = 80, .tcp = true}, {.port = 53, .udp = true}};
static const struct route_name names[] = {{.service = "web", .tcp = true},
                                          {.service = "dns", .tcp = true, .udp = true}};
static struct cidr loopback, six;
static struct route_table *everything, *listed, *bounded;

static int make_tables(void **state)
{
	(void)state;
	static const char *const hosts[] = {"192.0.2.7", "Dest.Example."};
	struct route_settings settings = {.dest_hosts = hosts, .dest_host_count = 2};
	int r = cidr_parse("127.0.0.0/8", &loopback) | cidr_parse("2001:db8::/32", &six);
	r |= route_table_new(&settings, &everything);
	settings.ports = ports;
	settings.port_count = COUNT_OF(ports);
	settings.names = names;
	settings.name_count = COUNT_OF(names);
	r |= route_table_new(&settings, &listed);
	struct cidr both[] = {loopback, six};
	settings =
		(struct route_settings){.dest_hosts = hosts, .dest_host_count = 1, .outbound = both, .outbound_count = 2};
	return r | route_table_new(&settings, &bounded);
}

static int drop_tables(void **state)
{
	(void)state;
	struct route_table *again = route_table_ref(listed);
	route_table_unref(&listed);
	route_table_unref(&again);
	route_table_unref(&everything);
	route_table_unref(&bounded);
	route_table_unref(&bounded);
	return 0;
}

static struct header found;

static int find(const struct route_table *table, enum header_kind kind, const char *host, uint16_t port)
{
	struct request request = {.port = port};
	snprintf(request.host, sizeof request.host, "%s", host);
	found = (struct header){.kind = kind, .service = "untouched", .port = 9};
	return route_find(table, &request, &found);
}

static void addresses_and_the_names_of_dest_go_by_port(void **state)
{
	(void)state;
	const char *const hosts[] = {"192.0.2.1",  "::1",          "::ffff:10.0.0.1", "localhost",
	                             "LOCALHOST.", "dest.example", "DEST.EXAMPLE",    "dest.example."};
	for (size_t i = 0; i < COUNT_OF(hosts); i++) {
		assert_int_equal(find(everything, HEADER_TCP, hosts[i], 8080), 0);
		assert_string_equal(found.service, "");
		assert_int_equal(found.port, 8080);
		assert_int_equal(find(everything, HEADER_TCP, hosts[i], 0), ROUTE_NOT_EXPOSED);
	}
}

static void other_hosts_are_names_of_services(void **state)
{
	(void)state;
	const char *const hosts[] = {"web", "Web", "dest", "dest.example.org", "127.1", "1"};
	for (size_t i = 0; i < COUNT_OF(hosts); i++) {
		assert_int_equal(find(everything, HEADER_TCP, hosts[i], (uint16_t)i), 0);
		assert_string_equal(found.service, hosts[i]);
		assert_int_equal(found.port, 0);
	}
}

static void only_what_is_listed_may_be_asked_for(void **state)
{
	(void)state;
	assert_int_equal(find(listed, HEADER_TCP, "::1", 80), 0);
	assert_int_equal(find(listed, HEADER_TCP, "::1", 81), ROUTE_NOT_EXPOSED);
	assert_int_equal(find(listed, HEADER_TCP, "::1", 53), ROUTE_NOT_EXPOSED);
	assert_int_equal(find(listed, HEADER_UDP, "::1", 53), 0);
	assert_int_equal(find(listed, HEADER_UDP, "::1", 80), ROUTE_NOT_EXPOSED);
	assert_int_equal(find(listed, HEADER_TCP, "web", 1), 0);
	assert_int_equal(find(listed, HEADER_UDP, "web", 1), ROUTE_NOT_EXPOSED);
	assert_int_equal(find(listed, HEADER_UDP, "dns", 1), 0);
	assert_int_equal(find(listed, HEADER_TCP, "WEB", 1), ROUTE_NOT_EXPOSED);
	assert_int_equal(find(listed, HEADER_TCP, "mail", 80), ROUTE_NOT_EXPOSED);
}

static void names_that_no_service_has_are_not_exposed(void **state)
{
	(void)state;
	char name[LIMIT_SERVICE_NAME_BYTES + 2];
	memset(name, 'n', sizeof name);
	name[sizeof name - 1] = '\0';
	assert_int_equal(find(everything, HEADER_TCP, name, 1), ROUTE_NOT_EXPOSED);
	assert_int_equal(find(everything, HEADER_TCP, name + 1, 1), 0);
	assert_int_equal(find(everything, HEADER_TCP, "*", 1), ROUTE_NOT_EXPOSED);
}

static void addresses_must_lie_in_the_outbound_ranges(void **state)
{
	(void)state;
	assert_int_equal(find(bounded, HEADER_TCP, "127.9.9.9", 1), 0);
	assert_int_equal(find(bounded, HEADER_TCP, "::ffff:127.0.0.1", 1), 0);
	assert_int_equal(find(bounded, HEADER_TCP, "2001:db8::1", 1), 0);
	assert_int_equal(find(bounded, HEADER_TCP, "192.0.2.7", 1), ROUTE_NOT_OUTBOUND);
	assert_int_equal(find(bounded, HEADER_TCP, "::1", 1), ROUTE_NOT_OUTBOUND);
	assert_int_equal(find(bounded, HEADER_TCP, "localhost", 1), 0);
	assert_int_equal(find(bounded, HEADER_TCP, "web", 1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_and_the_names_of_dest_go_by_port),
		cmocka_unit_test(other_hosts_are_names_of_services),
		cmocka_unit_test(only_what_is_listed_may_be_asked_for),
		cmocka_unit_test(names_that_no_service_has_are_not_exposed),
		cmocka_unit_test(addresses_must_lie_in_the_outbound_ranges),
	};
	return cmocka_run_group_tests(tests, make_tables, drop_tables);
}
