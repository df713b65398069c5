#include "config/validate_psk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "config/load_test.h"

#define GOOD "psk.key='0123'\n"
#define GOOD_CLIENT GOOD "psk.server='host:20203'\n"

static void each_side_has_the_defaults_of_ttun(void **state)
{
	(void)state;
	struct load load;
	assert_good(&load, load_text(&load, CONFIG_PSK_SERVER, GOOD));
	const struct config *config = load.config;
	assert_string_equal(config->psk.ipv4, "10.1.1.1/30");
	assert_string_equal(config->psk.ipv6, "fc11::1/126");
	assert_string_equal(config->psk.listen, "[::]:20203");
	assert_string_equal(config->psk.device, "ttun%d");
	assert_int_equal(config->psk.mtu, 1280);
	assert_int_equal(config->psk.method, CONFIG_PSK_CHACHA20);
	assert_int_equal(config->psk.mptcp, CONFIG_MPTCP_AUTO);
	assert_false(config->metrics.enabled || config->psk.pq);
	load_fini(&load);
	assert_good(&load, load_text(&load, CONFIG_PSK_CLIENT, GOOD_CLIENT));
	assert_string_equal(load.config->psk.ipv4, "10.1.1.2/30");
	assert_string_equal(load.config->psk.ipv6, "fc11::2/126");
	load_fini(&load);
}

static void what_is_asked_for_wins(void **state)
{
	(void)state;
	struct load load;
	assert_good(&load, load_text(&load, CONFIG_PSK_SERVER,
	                             GOOD "psk.ipv4='10.9.0.1'\npsk.peer_ipv4='10.9.0.2'\npsk.ipv6='none'\npsk.mtu=600\n"
	                                  "psk.listen='192.0.2.1:7'\npsk.method='aes-256-gcm'\nmetrics.metrics_port=1\n"));
	assert_string_equal(load.config->psk.ipv6, "");
	assert_string_equal(load.config->psk.listen, "192.0.2.1:7");
	assert_int_equal(load.config->psk.method, CONFIG_PSK_AES);
	assert_true(load.config->metrics.enabled);
	load_fini(&load);
	assert_good(&load, load_text(&load, CONFIG_PSK_SERVER, GOOD "psk.mtu=1000\n"));
	assert_string_equal(load.config->psk.ipv6, ""); // there is no IPv6 below 1280
	load_fini(&load);
}

static void the_key_comes_in_one_way_and_the_nearer_wins(void **state)
{
	(void)state;
	struct load load;
	char *const flag[] = {(char[]){"--key-file=other"}, NULL};
	char *const environment[] = {(char[]){"QANAT_PSK_KEY=from-environment"}, NULL};
	assert_good(&load, load_words(&load, CONFIG_PSK_SERVER, "t.toml", "psk.key_file='f'\n", no_words, environment));
	assert_string_equal(load.config->psk.key, "from-environment");
	assert_null(load.config->psk.key_file);
	load_fini(&load);
	assert_good(&load, load_words(&load, CONFIG_PSK_SERVER, "t.toml", GOOD, flag, environment));
	assert_null(load.config->psk.key);
	assert_string_equal(load.config->psk.key_file, "other");
	load_fini(&load);
	assert_int_equal(load_text(&load, CONFIG_PSK_SERVER, GOOD "psk.key_fd='3'\n"), CONFIG_BAD);
	assert_said(&load.problems, "one way only");
	load_fini(&load);
	assert_int_equal(load_text(&load, CONFIG_PSK_SERVER, "psk.mtu=1280\n"), CONFIG_BAD);
	assert_said(&load.problems, "psk.key: missing -k <psk>");
	load_fini(&load);
}

static void a_key_is_never_said(void **state)
{
	(void)state;
	struct load load;
	assert_int_equal(load_text(&load, CONFIG_PSK_SERVER, "psk.key='geheim'\npsk.key_file='f'\npsk.mtu=1\n"),
	                 CONFIG_BAD);
	char *text = said(&load.problems);
	assert_null(strstr(text, "geheim"));
	free(text);
	load_fini(&load);
}

static void what_is_refused_with_its_reason(void **state)
{
	(void)state;
	static const struct {
		enum config_command command;
		const char *text, *wanted;
	} cases[] = {
		{CONFIG_PSK_SERVER, GOOD "psk.ipv4='10.1.1/30'\n", "psk.ipv4: must be an IPv4 address such as"},
		{CONFIG_PSK_SERVER, GOOD "psk.ipv4='fc11::1/126'\n", "psk.ipv4: is not an IPv4 address"},
		{CONFIG_PSK_SERVER, GOOD "psk.ipv6='10.1.1.1/30'\n", "psk.ipv6: is not an IPv6 address"},
		{CONFIG_PSK_SERVER, GOOD "psk.ipv4='none'\npsk.peer_ipv4='10.1.1.2'\n", "psk.peer_ipv4: needs psk.ipv4"},
		{CONFIG_PSK_SERVER, GOOD "psk.peer_ipv4='10.1.1.2/30'\n", "psk.peer_ipv4: is one host"},
		{CONFIG_PSK_SERVER, GOOD "psk.ipv6='fc11::1/126'\npsk.mtu=1279\n", "psk.mtu: is too small for IPv6"},
		{CONFIG_PSK_SERVER, GOOD "psk.mtu=65520\n", "psk.mtu: must be 68..65519"},
		{CONFIG_PSK_SERVER, GOOD "psk.routes=['10.0.0.0/8','ten']\n", "psk.routes: \"ten\" is not a network"},
		{CONFIG_PSK_SERVER, GOOD "psk.device='a/b'\n", "psk.device: is not a name of a network device"},
		{CONFIG_PSK_SERVER, GOOD "psk.device='x%s'\n", "psk.device: may have one %d"},
		{CONFIG_PSK_SERVER, GOOD "psk.device='x%d%d'\n", "psk.device: may have one %d"},
		{CONFIG_PSK_SERVER, GOOD "psk.listen='host:1'\n", "psk.listen: must be IP:PORT"},
		{CONFIG_PSK_SERVER, GOOD "psk.listen='unix:/x'\n", "psk.listen: must be IP:PORT"},
		{CONFIG_PSK_SERVER, GOOD "psk.method='rot13'\n", "psk.method: unknown word \"rot13\""},
		{CONFIG_PSK_SERVER, "psk.key_fd='three'\n", "psk.key_fd: must be the number"},
		{CONFIG_PSK_CLIENT, GOOD, "psk.server: required, but not given"},
		{CONFIG_PSK_CLIENT, GOOD "psk.server='host'\n", "psk.server: must be HOST:PORT"},
		{CONFIG_PSK_CLIENT, GOOD_CLIENT "psk.initial_reconnect_delay_ms=99999\n", "is longer than psk.max_reconnect"},
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct load load;
		assert_int_equal(load_text(&load, cases[i].command, cases[i].text), CONFIG_BAD);
		assert_said(&load.problems, cases[i].wanted);
		load_fini(&load);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_side_has_the_defaults_of_ttun),
		cmocka_unit_test(what_is_asked_for_wins),
		cmocka_unit_test(the_key_comes_in_one_way_and_the_nearer_wins),
		cmocka_unit_test(a_key_is_never_said),
		cmocka_unit_test(what_is_refused_with_its_reason),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
