#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "config/load_test.h"

static void listen_port_is_8443_only_when_there_is_nothing_else_to_listen_on(void **state)
{
	(void)state;
	struct load load;
	assert_good(&load, load_text(&load, CONFIG_SOURCE, GOOD_SOURCE "[[source.exposed_ports]]\nport=22\n"));
	assert_int_equal(load.config->source.listen_port, 0);
	assert_int_equal(load.notes.count, 0);
	load_fini(&load);
	assert_good(&load, load_text(&load, CONFIG_SOURCE, "source.exposed_ports=[]\n" GOOD_SOURCE));
	assert_int_equal(load.config->source.listen_port, 8443);
	load_fini(&load);
}

static void listen_port_beside_exposed_ports_is_noted_and_not_opened(void **state)
{
	(void)state;
	struct load load;
	const char *text = "source.listen_port=8443\n" GOOD_SOURCE "[[source.exposed_ports]]\nport=22\n";
	assert_good(&load, load_text(&load, CONFIG_SOURCE, text));
	assert_said(&load.notes,
	            "t.toml:1:8: source.listen_port: port 8443 is not opened, because there are exposed_ports or "
	            "forwards\n");
	assert_int_equal(load.config->source.listen_port, 0);
	assert_int_equal(load.config->note_count, 1);
	load_fini(&load);
}

static void the_entry_has_a_port_beside_exposed_ports(void **state)
{
	(void)state;
	struct load load;
	const char *hybrid = "source.mode='hybrid'\n" GOOD_SOURCE "[[source.exposed_ports]]\nport=22\n";
	assert_good(&load, load_text(&load, CONFIG_SOURCE, hybrid));
	assert_int_equal(load.config->source.listen_port, 8443);
	assert_int_equal(load.notes.count, 0);
	load_fini(&load);
	const char *protocol = "source.mode='protocol'\nsource.listen_port=22\n" GOOD_SOURCE
						   "[[source.exposed_ports]]\nport=22\n";
	assert_good(&load, load_text(&load, CONFIG_SOURCE, protocol));
	assert_int_equal(load.config->source.listen_port, 22);
	assert_said(&load.notes, "t.toml:1:8: source.mode: protocol: exposed_ports and forwards are not listened on");
	load_fini(&load);
	assert_good(&load, load_text(&load, CONFIG_SOURCE, "source.mode='hybrid'\n" GOOD_SOURCE));
	assert_int_equal(load.config->source.listen_port, 8443);
	assert_said(&load.notes, "source.mode: hybrid without exposed_ports and forwards is the same as protocol\n");
	load_fini(&load);
}

static void an_entry_on_an_exposed_port_is_refused(void **state)
{
	(void)state;
	assert_refused(CONFIG_SOURCE,
	               "source.mode='hybrid'\nsource.listen_port=22\n" GOOD_SOURCE "[[source.exposed_ports]]\nport=22\n",
	               "t.toml:2:8: source.listen_port: port 22 is listened on for exposed_ports or forwards already\n");
	assert_refused(CONFIG_SOURCE,
	               "source.mode='hybrid'\n" GOOD_SOURCE "[[source.forwards]]\nlisten='127.0.0.1:8443'\nservice='s'\n",
	               "source.listen_port: port 8443 is listened on for exposed_ports or forwards already\n");
}

static void exposed_port_listed_twice_is_refused_unless_addresses_differ(void **state)
{
	(void)state;
	struct load load;
	assert_refused(CONFIG_SOURCE, "source.exposed_ports=[{port=1},\n{port=2},\n{port=1}]\n" GOOD_SOURCE,
	               "source.exposed_ports: port 1 on 127.0.0.1 is listed twice\n");
	assert_good(&load, load_text(&load, CONFIG_SOURCE,
	                             "source.exposed_ports=[{port=1},{port=1,listen_ip='::1'}]\n" GOOD_SOURCE));
	load_fini(&load);
}

static void forward_on_a_taken_address_is_refused(void **state)
{
	(void)state;
	assert_refused(CONFIG_SOURCE,
	               "source.forwards=[{listen='unix:/a',service='x'},\n{listen='unix:/a',service='y'}]\n" GOOD_SOURCE,
	               "source.forwards: unix:/a is listened on already\n");
	assert_refused(
		CONFIG_SOURCE,
		"source.exposed_ports=[{port=7,listen_ip='[::1]'}]\nsource.forwards=[{listen='[::1]:7',service='y'}]\n" GOOD_SOURCE,
		"source.forwards: [::1]:7 is listened on already\n");
}

static void patterns_with_a_prefix_that_is_none_are_refused(void **state)
{
	(void)state;
	struct load load;
	assert_refused(CONFIG_DEST, GOOD_DEST "allowed_clients=['CN=a','cn=b']\n",
	               "dest.exposed_services: \"cn=b\": a pattern begins with \"CN=\", \"DNS:\" or \"URI:\"");
	assert_refused(CONFIG_DEST, "auth.allowed_peers=['IP:192.0.2.1']\n" GOOD_DEST,
	               "t.toml:1:6: auth.allowed_peers: \"IP:192.0.2.1\": a pattern begins with");
	assert_refused(CONFIG_SOURCE, "auth.allowed_peers=['DNS=a']\n" GOOD_SOURCE, "auth.allowed_peers: \"DNS=a\"");
	const char *good = "auth.allowed_peers=['CN=a','DNS:*','URI:spiffe://a','spiffe://a','cn','ip-*','*']\n" GOOD_DEST;
	assert_good(&load, load_text(&load, CONFIG_DEST, good));
	load_fini(&load);
}

static void services_that_share_a_name_or_a_port_are_refused(void **state)
{
	(void)state;
	assert_refused(CONFIG_DEST, GOOD_DEST "[[dest.exposed_services]]\nname='s'\nport=2\ntarget_ip='h'\ntarget_port=1\n",
	               "dest.exposed_services: the name \"s\" is given to two services\n");
	assert_refused(CONFIG_DEST, GOOD_DEST "[[dest.exposed_services]]\nname='z'\nport=1\ntarget_ip='h'\ntarget_port=1\n",
	               "dest.exposed_services: port 1 is given to two services, \"s\" and \"z\"\n");
}

static void target_port_is_for_addresses_and_not_for_sockets(void **state)
{
	(void)state;
	assert_refused(CONFIG_DEST, GOOD_DEST "[[dest.exposed_services]]\nname='z'\nport=2\ntarget_ip='h'\n",
	               "dest.exposed_services: service \"z\": \"target_port\" is missing\n");
	assert_refused(CONFIG_DEST,
	               GOOD_DEST "[[dest.exposed_services]]\nname='z'\nport=2\ntarget_host='unix:/x'\ntarget_port=1\n",
	               "dest.exposed_services: service \"z\": a Unix socket has no target_port\n");
}

static void tcp_and_udp_have_ports_of_their_own(void **state)
{
	(void)state;
	struct load load;
	assert_good(&load,
	            load_text(&load, CONFIG_SOURCE,
	                      "source.exposed_ports=[{port=1},{port=1,protocol='udp'}]\n"
	                      "source.forwards=[{listen='127.0.0.1:2',service='x'},\n"
	                      "{listen='127.0.0.1:2',service='y',protocol='udp'},\n"
	                      "{listen='127.0.0.1:9090',service='m',protocol='udp'}]\n" GOOD_SOURCE)); // metrics are on TCP
	load_fini(&load);
	assert_refused(CONFIG_SOURCE, "source.exposed_ports=[{port=1},\n{port=1,protocol='both'}]\n" GOOD_SOURCE,
	               "source.exposed_ports: port 1 on 127.0.0.1 is listed twice");
	assert_refused(CONFIG_SOURCE,
	               "source.exposed_ports=[{port=2,protocol='udp'}]\n"
	               "source.forwards=[{listen='127.0.0.1:2',service='x',protocol='both'}]\n" GOOD_SOURCE,
	               "source.forwards: 127.0.0.1:2 is listened on already");
	assert_good(&load, load_text(&load, CONFIG_DEST,
	                             GOOD_DEST "[[dest.exposed_services]]\nname='z'\nport=1\ntarget_ip='h'\ntarget_port=1\n"
	                                       "protocol='udp'\n"));
	load_fini(&load);
	assert_refused(CONFIG_DEST,
	               GOOD_DEST
	               "[[dest.exposed_services]]\nname='z'\nport=1\ntarget_ip='h'\ntarget_port=1\nprotocol='both'\n",
	               "port 1 is given to two services, \"s\" and \"z\"");
}

static void udp_is_not_for_unix_sockets_and_has_no_proxy_header(void **state)
{
	(void)state;
	assert_refused(
		CONFIG_SOURCE, "source.forwards=[{listen='unix:/a',service='x',protocol='udp'}]\n" GOOD_SOURCE,
		"source.forwards: unix:/a: a Unix socket carries tcp only; udp is listened on at an IP address and port");
	assert_refused(CONFIG_DEST,
	               GOOD_DEST "[[dest.exposed_services]]\nname='z'\nport=2\ntarget_host='unix:/x'\nprotocol='both'\n",
	               "service \"z\": a Unix socket carries tcp only; udp needs a target with an address and a port");
	assert_refused(CONFIG_DEST, GOOD_DEST "protocol='udp'\nproxy_protocol='v2'\n",
	               "service \"s\": proxy_protocol is for tcp; datagrams carry no such header");
}

static void metrics_port_that_the_command_uses_itself_is_refused(void **state)
{
	(void)state;
	struct load load;
	assert_refused(CONFIG_DEST, "metrics.metrics_port=1\n" GOOD_DEST,
	               "t.toml:1:9: metrics.metrics_port: port 1 is used by dest already\n");
	assert_refused(CONFIG_SOURCE, "source.listen_port=9090\n" GOOD_SOURCE,
	               "metrics.metrics_port: port 9090 is used by source already\n");
	assert_refused(CONFIG_SOURCE, "source.exposed_ports=[{port=9090,listen_ip='0.0.0.0'}]\n" GOOD_SOURCE,
	               "metrics.metrics_port: port 9090 is used by source already\n");
	assert_refused(CONFIG_SOURCE, "source.forwards=[{listen='127.0.0.1:9090',service='s'}]\n" GOOD_SOURCE,
	               "metrics.metrics_port: port 9090 is used by source already\n");
	assert_good(&load, load_text(&load, CONFIG_SOURCE, "source.listen_port=9090\nmetrics.enabled=false\n" GOOD_SOURCE));
	load_fini(&load);
	assert_good(&load, load_text(&load, CONFIG_SOURCE,
	                             "source.listen_port=9090\nmetrics.metrics_bind_ip='unix:/m'\n" GOOD_SOURCE));
	load_fini(&load);
	assert_good(&load, load_text(&load, CONFIG_SOURCE,
	                             "source.listen_port=9090\nmetrics.metrics_bind_ip='127.0.0.2'\n" GOOD_SOURCE));
	load_fini(&load);
}

static void reconnect_settings_that_contradict_are_refused(void **state)
{
	(void)state;
	assert_refused(CONFIG_SOURCE, "source.initial_reconnect_delay_ms=61000\n" GOOD_SOURCE,
	               "t.toml:1:8: source.initial_reconnect_delay_ms: is longer than source.max_reconnect_delay_ms\n");
	assert_refused(CONFIG_SOURCE, "source.max_reconnect_delay_ms=5\n" GOOD_SOURCE, "t.toml:1:8: ");
	assert_refused(CONFIG_SOURCE, "source.reconnection_enabled=false\nsource.max_reconnect_attempts=2\n" GOOD_SOURCE,
	               "t.toml:2:8: source.max_reconnect_attempts: contradicts source.reconnection_enabled = false\n");
}

static void dest_without_a_service_is_refused(void **state)
{
	(void)state;
	assert_refused(CONFIG_DEST, "dest.tunnel_port=1\n" AUTH_OF_DEST,
	               "t.toml: dest.exposed_services: at least one is required: [[dest.exposed_services]]");
	assert_refused(CONFIG_DEST, "dest.tunnel_port=1\ndest.exposed_services=[]\n" AUTH_OF_DEST,
	               "t.toml: dest.exposed_services: at least one is required: [[dest.exposed_services]]");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(listen_port_is_8443_only_when_there_is_nothing_else_to_listen_on),
		cmocka_unit_test(listen_port_beside_exposed_ports_is_noted_and_not_opened),
		cmocka_unit_test(the_entry_has_a_port_beside_exposed_ports),
		cmocka_unit_test(an_entry_on_an_exposed_port_is_refused),
		cmocka_unit_test(exposed_port_listed_twice_is_refused_unless_addresses_differ),
		cmocka_unit_test(forward_on_a_taken_address_is_refused),
		cmocka_unit_test(patterns_with_a_prefix_that_is_none_are_refused),
		cmocka_unit_test(services_that_share_a_name_or_a_port_are_refused),
		cmocka_unit_test(target_port_is_for_addresses_and_not_for_sockets),
		cmocka_unit_test(tcp_and_udp_have_ports_of_their_own),
		cmocka_unit_test(udp_is_not_for_unix_sockets_and_has_no_proxy_header),
		cmocka_unit_test(metrics_port_that_the_command_uses_itself_is_refused),
		cmocka_unit_test(reconnect_settings_that_contradict_are_refused),
		cmocka_unit_test(dest_without_a_service_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
