#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "config/dests.h"
#include "config/load_test.h"
#include "limits.h"

static void hosts_and_ports_are_taken_apart(void **state)
{
	(void)state;
	char host[DESTS_HOST_BYTES];
	uint16_t port = 0;
	assert_null(dests_parse("dest.example:8443", host, &port));
	assert_string_equal(host, "dest.example");
	assert_int_equal(port, 8443);
	assert_null(dests_parse("[2001:db8::1]:65535", host, &port));
	assert_string_equal(host, "2001:db8::1");
	assert_int_equal(port, 65535);
	assert_null(dests_parse("192.0.2.1:1", host, &port));
	static const char *const bad[] = {
		"",           "host",    "host:",    ":1",        "host:0",  "host:65536",
		"host:1x",    "host: 1", "::1:8443", "[::1]",     "[]:1",    "10.0.0.300:1",
		"http://h:1", "h/x:1",   "host:-1",  "unix:/a:1", "ho st:1", "host:99999999999999999999"};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		if (!dests_parse(bad[i], host, &port))
			fail_msg("%s was taken", bad[i]);
	char longest[300];
	memset(longest, 'a', sizeof longest);
	strcpy(longest + 256, ":1");
	assert_non_null(dests_parse(longest, host, &port));
}

static void dest_host_is_the_first(void **state)
{
	(void)state;
	struct load load;
	char host[DESTS_HOST_BYTES];
	uint16_t port;
	assert_good(&load, load_text(&load, CONFIG_SOURCE, "source.dests=['b.example:2','[::1]:3']\n" GOOD_SOURCE));
	assert_int_equal(dests_count(load.config), 3);
	dests_get(load.config, 0, host, &port);
	assert_string_equal(host, load.config->source.dest_host);
	assert_int_equal(port, load.config->source.dest_tunnel_port);
	dests_get(load.config, 2, host, &port);
	assert_string_equal(host, "::1");
	assert_int_equal(port, 3);
	load_fini(&load);
}

static const char *const only_a_list = "source.dests=['b.example:2']\n"
									   "[auth]\nca_cert_path='a'\nclient_cert_path='b'\nclient_key_path='c'\n";

static void a_list_alone_is_enough(void **state)
{
	(void)state;
	struct load load;
	assert_good(&load, load_text(&load, CONFIG_SOURCE, only_a_list));
	assert_int_equal(dests_count(load.config), 1);
	load_fini(&load);
}

static void half_of_the_first_dest_is_refused(void **state)
{
	(void)state;
	char text[512];
	snprintf(text, sizeof text, "source.dest_host='a.example'\n%s", only_a_list);
	assert_refused(CONFIG_SOURCE, text, "source.dest_tunnel_port: required, but not given");
}

static void bad_entries_are_named(void **state)
{
	(void)state;
	assert_refused(CONFIG_SOURCE, "source.dests=['b.example']\n" GOOD_SOURCE,
	               "source.dests: \"b.example\" must be HOST:PORT or [IP6]:PORT\n");
	assert_refused(CONFIG_SOURCE, "source.dests=['b.example:2','B.example:2']\n" GOOD_SOURCE,
	               "source.dests: \"B.example:2\" is listed twice\n");
	char text[4096] = "source.dests=[";
	for (int i = 0; i <= LIMIT_DESTS; i++)
		sprintf(text + strlen(text), "'h:%d',", i + 2);
	strcat(text, "]\n" GOOD_SOURCE);
	assert_refused(CONFIG_SOURCE, text, "dests can be listed\n");
}

static void user_timeout_follows_the_heartbeat_unless_it_is_given(void **state)
{
	(void)state;
	struct load load;
	assert_good(&load, load_text(&load, CONFIG_SOURCE,
	                             "link.heartbeat_interval_ms=1000\nlink.max_missed_pongs=4\n" GOOD_SOURCE));
	assert_int_equal(load.config->link.user_timeout_ms, 6000); // heartbeat_timeout_ms is 5000
	load_fini(&load);
	assert_good(&load, load_text(&load, CONFIG_SOURCE, "link.user_timeout_ms=0\n" GOOD_SOURCE));
	assert_int_equal(load.config->link.user_timeout_ms, 0);
	load_fini(&load);
}

// It sends PINGs of its own, and waits for their answers no longer than until the next one.
static void user_timeout_of_an_agent_follows_its_ping(void **state)
{
	(void)state;
	struct load load;
	static const char text[] = "agent.hub_host='h'\nagent.hub_port=1\nagent.local_host='::1'\nagent.local_port=22\n"
							   "link.heartbeat_interval_ms=60000\n" AUTH_OF_SOURCE;
	assert_good(&load, load_text(&load, CONFIG_AGENT, text));
	assert_int_equal(load.config->agent.ping_seconds, 5);
	assert_int_equal(load.config->link.user_timeout_ms, 15000); // three of them
	assert_int_equal(load.config->metrics.metrics_port, 9091);  // a hub on the same machine has 9090
	load_fini(&load);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hosts_and_ports_are_taken_apart),
		cmocka_unit_test(dest_host_is_the_first),
		cmocka_unit_test(a_list_alone_is_enough),
		cmocka_unit_test(half_of_the_first_dest_is_refused),
		cmocka_unit_test(bad_entries_are_named),
		cmocka_unit_test(user_timeout_follows_the_heartbeat_unless_it_is_given),
		cmocka_unit_test(user_timeout_of_an_agent_follows_its_ping),
	};
	return cmocka_run_group_tests_name("dests", tests, NULL, NULL);
}
