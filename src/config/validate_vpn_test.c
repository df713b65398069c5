#include "config/validate_vpn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "config/load_test.h"

#define NOTHING ""
#define CLIENT "vpn.server='vpn.example.com'\n"

static void each_side_has_the_defaults_of_rust_vpn(void **state)
{
	(void)state;
	struct load load;
	assert_good(&load, load_text(&load, CONFIG_VPN_SERVER, NOTHING));
	const struct config *config = load.config;
	assert_string_equal(config->vpn.control_bind_address, "0.0.0.0");
	assert_string_equal(config->vpn.data_bind_address, "0.0.0.0");
	assert_int_equal(config->vpn.control_port, 1107);
	assert_int_equal(config->vpn.data_port, 1108);
	assert_string_equal(config->vpn.device, "rustvpn");
	assert_int_equal(config->vpn.stream_count, 5);
	assert_int_equal(config->vpn.mtu, 1500);
	assert_int_equal(config->vpn.transport, CONFIG_VPN_TLS);
	assert_string_equal(config->auth.ca_cert_path, "ca.pem");
	assert_string_equal(config->auth.cert_path, "server.pem");
	assert_string_equal(config->auth.key_path, "server.key");
	assert_null(config->vpn.ipv4);
	assert_null(config->vpn.ipv6);
	assert_int_equal(config->vpn.route_count, 0);
	load_fini(&load);
	assert_good(&load, load_text(&load, CONFIG_VPN_CLIENT, CLIENT));
	assert_string_equal(load.config->auth.cert_path, "client.pem");
	assert_string_equal(load.config->auth.key_path, "client.key");
	load_fini(&load);
}

static void a_build_id_is_the_protocol_unless_one_is_given(void **state)
{
	(void)state;
	struct load load;
	assert_good(&load, load_text(&load, CONFIG_VPN_SERVER, NOTHING));
	assert_string_equal(load.config->vpn.build_id, "qanat/1");
	load_fini(&load);
	assert_good(&load, load_text(&load, CONFIG_VPN_SERVER, "vpn.build_id='main-7'\n"));
	assert_string_equal(load.config->vpn.build_id, "main-7");
	load_fini(&load);
}

static void no_port_is_open_for_metrics_unless_one_is_asked_for(void **state)
{
	(void)state;
	struct load load;
	assert_good(&load, load_text(&load, CONFIG_VPN_SERVER, NOTHING));
	assert_false(load.config->metrics.enabled);
	load_fini(&load);
	static const char *const asking[] = {"metrics.metrics_port=9099\n", "metrics.enabled=true\n",
	                                     "metrics.metrics_bind_ip='127.0.0.1'\n"};
	for (size_t i = 0; i < COUNT_OF(asking); i++) {
		assert_good(&load, load_text(&load, CONFIG_VPN_SERVER, asking[i]));
		assert_true(load.config->metrics.enabled);
		load_fini(&load);
	}
}

static void a_common_name_becomes_the_list_of_peers(void **state)
{
	(void)state;
	struct load load;
	assert_good(&load, load_text(&load, CONFIG_VPN_SERVER, "vpn.peer_cn='client.test'\n"));
	assert_int_equal(load.config->auth.allowed_peer_count, 1);
	assert_string_equal(load.config->auth.allowed_peers[0], "CN=client.test");
	load_fini(&load);
	assert_good(&load, load_text(&load, CONFIG_VPN_SERVER, "auth.allowed_peers=['CN=*.test']\n"));
	assert_string_equal(load.config->auth.allowed_peers[0], "CN=*.test");
	load_fini(&load);
}

static void flags_of_rust_vpn_are_taken(void **state)
{
	(void)state;
	struct load load;
	char *const words[] = {(char[]){"-d"},
	                       (char[]){"tun7"},
	                       (char[]){"--control-port"},
	                       (char[]){"2107"},
	                       (char[]){"--data-port"},
	                       (char[]){"2108"},
	                       (char[]){"--ca-bundle"},
	                       (char[]){"bundle"},
	                       (char[]){"--client-cert"},
	                       (char[]){"cert"},
	                       (char[]){"--client-key"},
	                       (char[]){"key"},
	                       (char[]){"--route"},
	                       (char[]){"10.0.0.5/16"},
	                       (char[]){"--route"},
	                       (char[]){"fd00:7::/64"},
	                       (char[]){"--server"},
	                       (char[]){"2001:db8::1"},
	                       (char[]){"--peer-cn"},
	                       (char[]){"server"},
	                       (char[]){"--stream-count"},
	                       (char[]){"100"},
	                       NULL};
	assert_good(&load, load_words(&load, CONFIG_VPN_CLIENT, "t.toml", NOTHING, words, no_words));
	const struct config *config = load.config;
	assert_string_equal(config->vpn.device, "tun7");
	assert_int_equal(config->vpn.control_port, 2107);
	assert_int_equal(config->vpn.data_port, 2108);
	assert_string_equal(config->auth.ca_cert_path, "bundle");
	assert_string_equal(config->auth.cert_path, "cert");
	assert_string_equal(config->auth.key_path, "key");
	assert_int_equal(config->vpn.route_count, 2);
	assert_string_equal(config->vpn.routes[0], "10.0.0.5/16"); // host bits do not matter
	assert_string_equal(config->vpn.server, "2001:db8::1");
	assert_string_equal(config->auth.allowed_peers[0], "CN=server");
	assert_int_equal(config->vpn.stream_count, 100);
	load_fini(&load);
}

static void what_lies_at_the_ends_of_a_range_is_good(void **state)
{
	(void)state;
	static const char *const good[] = {
		"vpn.stream_count=1\n",
		"vpn.stream_count=100\n",
		"vpn.mtu=100\n",
		"vpn.mtu=65535\n",
		"vpn.mtu=1280\nvpn.ipv6='fd03::1/64'\n",
		"vpn.mtu=1279\nvpn.ipv4='192.168.3.1/24'\n",
		"vpn.mtu=1279\nvpn.ipv6=''\n",
		"vpn.control_port=1107\nvpn.data_port=1107\n",
		"vpn.device='tun%d'\n",
		"vpn.routes=['0.0.0.0/0','::/0']\n",
		"vpn.control_bind_address='::'\n",
		"vpn.max_clients=1\nvpn.kill_switch=true\n",
	};
	for (size_t i = 0; i < COUNT_OF(good); i++) {
		struct load load;
		assert_good(&load, load_text(&load, CONFIG_VPN_SERVER, good[i]));
		load_fini(&load);
	}
}

static void what_is_refused_with_its_reason(void **state)
{
	(void)state;
	static const struct {
		enum config_command command;
		const char *text, *wanted;
	} cases[] = {
		{CONFIG_VPN_SERVER, "vpn.ipv4='192.168.3/24'\n", "vpn.ipv4: must be an IPv4 address such as 192.168.3.1/24"},
		{CONFIG_VPN_SERVER, "vpn.ipv4='fd03::1/64'\n", "vpn.ipv4: must be an IPv4 address"},
		{CONFIG_VPN_SERVER, "vpn.ipv4='192.168.3.1/33'\n", "vpn.ipv4: must be an IPv4 address"},
		{CONFIG_VPN_SERVER, "vpn.ipv6='192.168.3.1/24'\n", "vpn.ipv6: must be an IPv6 address"},
		{CONFIG_VPN_SERVER, "vpn.ipv6='fd03::1/64'\nvpn.mtu=1279\n", "vpn.mtu: is too small for IPv6"},
		{CONFIG_VPN_SERVER, "vpn.mtu=99\n", "vpn.mtu: must be 100..65535"},
		{CONFIG_VPN_SERVER, "vpn.stream_count=0\n", "vpn.stream_count: must be 1..100"},
		{CONFIG_VPN_SERVER, "vpn.stream_count=101\n", "vpn.stream_count: must be 1..100"},
		{CONFIG_VPN_SERVER, "vpn.routes=['10.0.0.0/8','ten']\n", "vpn.routes: \"ten\" is not a network"},
		{CONFIG_VPN_SERVER, "vpn.device='a/b'\n", "vpn.device: is not a name of a network device"},
		{CONFIG_VPN_SERVER, "vpn.device='..'\n", "vpn.device: is not a name of a network device"},
		{CONFIG_VPN_SERVER, "vpn.device='x%s'\n", "vpn.device: may have one %d"},
		{CONFIG_VPN_SERVER, "vpn.device='x%d%d'\n", "vpn.device: may have one %d"},
		{CONFIG_VPN_SERVER, "vpn.device='sixteen-letters-'\n", "vpn.device: "},
		{CONFIG_VPN_SERVER, "vpn.control_bind_address='host'\n", "vpn.control_bind_address: "},
		{CONFIG_VPN_SERVER, "vpn.peer_cn='*.test'\n", "vpn.peer_cn: is one name"},
		{CONFIG_VPN_SERVER, "vpn.peer_cn='a'\nauth.allowed_peers=['CN=a']\n", "vpn.peer_cn: says the same"},
		{CONFIG_VPN_SERVER, "vpn.transport='quic'\n", "vpn.transport: \"quic\" is not built yet"},
		{CONFIG_VPN_CLIENT, "vpn.mtu=1400\n", "vpn.server: required, but not given"},
		{CONFIG_VPN_CLIENT, CLIENT "vpn.kill_switch='maybe'\n", "vpn.kill_switch"},
		{CONFIG_VPN_CLIENT, CLIENT "vpn.initial_reconnect_delay_ms=5001\n", "is longer than vpn.max_reconnect"},
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		assert_refused(cases[i].command, cases[i].text, cases[i].wanted);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_side_has_the_defaults_of_rust_vpn),
		cmocka_unit_test(a_build_id_is_the_protocol_unless_one_is_given),
		cmocka_unit_test(no_port_is_open_for_metrics_unless_one_is_asked_for),
		cmocka_unit_test(a_common_name_becomes_the_list_of_peers),
		cmocka_unit_test(flags_of_rust_vpn_are_taken),
		cmocka_unit_test(what_lies_at_the_ends_of_a_range_is_good),
		cmocka_unit_test(what_is_refused_with_its_reason),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
