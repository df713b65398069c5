#include "config/validate_vpn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "config/load_test.h"

#define POOL "vpn.pool_ipv4='10.8.0.0/24'\n"
#define ONE "[[vpn.clients]]\nname='one'\nipv4='10.8.0.2/24'\n"

static void clients_and_pools_are_read(void **state)
{
	(void)state;
	struct load load;
	assert_good(&load, load_text(&load, CONFIG_VPN_SERVER,
	                             "vpn.max_clients=20\n" POOL "vpn.client_to_client=true\nvpn.bandwidth_limit=1000000\n"
	                             "vpn.push_routes=['10.0.0.0/8']\n"
	                             "[[vpn.clients]]\nname='one'\nipv4='10.8.0.2/24'\nipv6='fd08::2/64'\n"
	                             "routes=['10.7.0.0/16','fd07::/64']\nbandwidth_limit=5\n"
	                             "[[vpn.clients]]\nname='two'\n"));
	const struct config_of_vpn *vpn = &load.config->vpn;
	assert_int_equal(vpn->max_clients, 20);
	assert_int_equal(vpn->client_count, 2);
	assert_string_equal(vpn->clients[0].ipv6, "fd08::2/64");
	assert_int_equal(vpn->clients[0].route_count, 2);
	assert_int_equal(vpn->clients[0].bandwidth_limit, 5);
	assert_string_equal(vpn->clients[1].name, "two");
	assert_true(vpn->client_to_client);
	assert_int_equal(vpn->bandwidth_limit, 1000000);
	load_fini(&load);
}

static void a_client_may_ask_for_its_addresses_and_a_server_may_not(void **state)
{
	(void)state;
	struct load load;
	assert_good(&load, load_text(&load, CONFIG_VPN_CLIENT,
	                             "vpn.server='a'\nvpn.ipv4='auto'\nvpn.ipv6='auto'\nvpn.accept_routes=true\n"));
	assert_true(load.config->vpn.accept_routes);
	load_fini(&load);
	assert_refused(CONFIG_VPN_SERVER, "vpn.ipv4='auto'\n", "vpn.ipv4: must be an IPv4 address");
}

static void what_would_give_two_clients_one_address_is_refused(void **state)
{
	(void)state;
	static const struct {
		const char *text, *wanted;
	} cases[] = {
		{"vpn.max_clients=2\n", "vpn.max_clients: more than one client needs addresses for each"},
		{"vpn.max_clients=0\n", "vpn.max_clients: must be 1..1024"},
		{"vpn.client_to_client=true\n", "vpn.client_to_client: needs clients"},
		{"vpn.push_routes=['10.0.0.0/8']\n", "vpn.push_routes: are told together with addresses"},
		{POOL "vpn.push_routes=['ten']\n", "vpn.push_routes: \"ten\" is not a network"},
		{"vpn.pool_ipv4='10.8.0.1/24'\n", "vpn.pool_ipv4: must be a network without host bits"},
		{"vpn.pool_ipv4='10.8.0.0/31'\n", "vpn.pool_ipv4: must have a prefix of 8 to 30 bits"},
		{"vpn.pool_ipv4='10.0.0.0/7'\n", "vpn.pool_ipv4: must have a prefix of 8 to 30 bits"},
		{"vpn.pool_ipv6='10.8.0.0/24'\n", "vpn.pool_ipv6: must be a network"},
		{"vpn.mtu=1279\nvpn.pool_ipv6='fd08::/64'\n", "vpn.pool_ipv6: IPv6 needs vpn.mtu"},
		{POOL "vpn.name_rules=['x']\n", "vpn.name_rules: \"x\": a rule begins with"},
		{"[[vpn.clients]]\nname='one'\n", "vpn.clients: needs ipv4 or ipv6"},
		{"[[vpn.clients]]\nipv4='10.8.0.2/24'\n", "name"},
		{"[[vpn.clients]]\nname='.one'\nipv4='10.8.0.2/24'\n", "\".one\": a name has letters"},
		{"[[vpn.clients]]\nname='one'\nipv4='127.0.0.1/8'\n", "vpn.clients.ipv4: must be an IPv4 address"},
		{"[[vpn.clients]]\nname='one'\nipv6='fe80::1/64'\n", "vpn.clients.ipv6: must be an IPv6 address"},
		{"vpn.ipv4='10.8.0.2/24'\n" ONE, "vpn.clients.ipv4: is the server's own address"},
		{ONE ONE, "vpn.clients: \"one\" is listed twice"},
		{ONE "[[vpn.clients]]\nname='two'\nipv4='10.8.0.2/16'\n", "has an address that \"one\" has as well"},
		{ONE "routes=['10.7.0.0/33']\n", "vpn.clients.routes: \"10.7.0.0/33\" is not a network"},
		{ONE "routes=['0.0.0.0/0']\n", "vpn.clients.routes: \"0.0.0.0/0\" is not a network"},
		{ONE "routes=['10.7.0.0/16']\n[[vpn.clients]]\nname='two'\nipv4='10.8.0.3/24'\nroutes=['10.7.1.1/16']\n",
	     "vpn.clients.routes: has a network that \"one\" has as well"},
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		assert_refused(CONFIG_VPN_SERVER, cases[i].text, cases[i].wanted);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(clients_and_pools_are_read),
		cmocka_unit_test(a_client_may_ask_for_its_addresses_and_a_server_may_not),
		cmocka_unit_test(what_would_give_two_clients_one_address_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
