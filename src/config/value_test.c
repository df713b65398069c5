#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "config/load_test.h"

static void ranges_hold_at_their_ends_and_not_one_past(void **state)
{
	(void)state;
	struct load load;
	const char *good[] = {
		"source.listen_port=1",
		"source.listen_port=65535",
		"metrics.metrics_port=0",
		"node.workers=256",
		"crypto.key_rotation_interval_seconds=1",
		"crypto.key_rotation_interval_seconds=604800",
		"source.max_reconnect_attempts=4294967295",
		"crypto.key_rotation_bytes=9223372036854775807",
	};
	for (size_t i = 0; i < COUNT_OF(good); i++) {
		char text[512];
		snprintf(text, sizeof text, "%s\n" GOOD_SOURCE, good[i]);
		assert_good(&load, load_text(&load, CONFIG_SOURCE, text));
		load_fini(&load);
	}
	assert_refused(CONFIG_SOURCE, "source.listen_port=0\n" GOOD_SOURCE,
	               "t.toml:1:8: source.listen_port: must be 1..65535, not 0\n");
	assert_refused(CONFIG_SOURCE, "source.listen_port=65536\n" GOOD_SOURCE, "must be 1..65535, not 65536\n");
	assert_refused(CONFIG_SOURCE, "source.listen_port=-1\n" GOOD_SOURCE, "must be 1..65535, not -1\n");
	assert_refused(CONFIG_SOURCE, "crypto.key_rotation_interval_seconds=0\n" GOOD_SOURCE,
	               "must be 1..604800 s, not 0\n");
	assert_refused(CONFIG_SOURCE, "crypto.key_rotation_interval_seconds=604801\n" GOOD_SOURCE,
	               "must be 1..604800 s, not 604801\n");
	assert_refused(CONFIG_SOURCE, "link.heartbeat_interval_ms=0\n" GOOD_SOURCE, "must be 10..3600000 ms, not 0\n");
	assert_refused(CONFIG_SOURCE, "crypto.key_rotation_bytes=-1\n" GOOD_SOURCE, "must be 0 or more bytes, not -1\n");
	assert_refused(CONFIG_SOURCE, "source.max_reconnect_attempts=4294967296\n" GOOD_SOURCE,
	               "must be 0..4294967295, not 4294967296\n");
}

static void wrong_types_say_what_was_wanted_and_what_was_found(void **state)
{
	(void)state;
	assert_refused(CONFIG_SOURCE, "source.pool_size=1.5\n" GOOD_SOURCE,
	               "must be a whole number, not a number with a fraction\n");
	assert_refused(CONFIG_SOURCE, "source.pool_size=1979-05-27\n" GOOD_SOURCE,
	               "must be a whole number, not a date or time\n");
	assert_refused(CONFIG_SOURCE, "source.pool_size=true\n" GOOD_SOURCE, "must be a whole number, not true or false\n");
	assert_refused(CONFIG_SOURCE, "source.pool_size='4'\n" GOOD_SOURCE, "must be a whole number, not a string\n");
	assert_refused(CONFIG_SOURCE, "metrics.enabled='true'\n" GOOD_SOURCE, "must be true or false, not a string\n");
	assert_refused(CONFIG_SOURCE, "metrics.enabled=1\n" GOOD_SOURCE, "must be true or false, not a whole number\n");
	assert_refused(CONFIG_SOURCE, "source.listen_ip=1\n" GOOD_SOURCE, "must be a string, not a whole number\n");
	assert_refused(CONFIG_SOURCE, "crypto.kem_mode=['hybrid']\n" GOOD_SOURCE, "must be a string, not a list\n");
	assert_refused(CONFIG_SOURCE, "auth.allowed_peers='x'\n" GOOD_SOURCE, "must be a list of strings, not a string\n");
	assert_refused(CONFIG_SOURCE, "auth.allowed_peers=[1]\n" GOOD_SOURCE,
	               "auth.allowed_peers[0]: must be a string, not a whole number\n");
	assert_refused(CONFIG_SOURCE, "source.exposed_ports=2222\n" GOOD_SOURCE,
	               "must be a list of tables, not a whole number\n");
	assert_refused(CONFIG_SOURCE, "source.exposed_ports=[2222]\n" GOOD_SOURCE,
	               "source.exposed_ports[0]: must be a table, not a whole number\n");
	assert_refused(CONFIG_SOURCE, "node.name=\"a\\u0000b\"\n" GOOD_SOURCE,
	               "must be a string, not a string with a NUL inside\n");
}

static void unknown_words_are_answered_with_the_choices(void **state)
{
	(void)state;
	assert_refused(CONFIG_SOURCE, "crypto.kem_mode='hybird'\n" GOOD_SOURCE,
	               "t.toml:1:8: crypto.kem_mode: unknown word \"hybird\": one of \"hybrid\", \"mlkem768\", "
	               "\"mceliece460896\" (did you mean \"hybrid\"?)\n");
	assert_refused(CONFIG_SOURCE, "crypto.pq='Require'\n" GOOD_SOURCE,
	               "unknown word \"Require\": one of \"require\", \"prefer\", \"off\" (did you mean \"require\"?)\n");
	assert_refused(CONFIG_SOURCE, "logging.format='text'\n" GOOD_SOURCE,
	               "unknown word \"text\": one of \"plain\", \"json\"\n");
}

static void protocols_are_words(void **state)
{
	(void)state;
	struct load load;
	assert_good(&load, load_text(&load, CONFIG_SOURCE,
	                             "source.exposed_ports=[{port=1,protocol='udp'},{port=1},{port=2,protocol='both'}]\n"
	                             "source.forwards=[{listen='127.0.0.1:3',service='s',protocol='both'}]\n" GOOD_SOURCE));
	assert_int_equal(load.config->source.exposed_ports[0].protocol, CONFIG_UDP);
	assert_int_equal(load.config->source.exposed_ports[1].protocol, CONFIG_TCP);
	assert_int_equal(load.config->source.exposed_ports[2].protocol, CONFIG_BOTH);
	assert_int_equal(load.config->source.forwards[0].protocol, CONFIG_BOTH);
	load_fini(&load);
	assert_good(&load, load_text(&load, CONFIG_DEST, GOOD_DEST "protocol='udp'\n"));
	assert_int_equal(load.config->dest.services[0].protocol, CONFIG_UDP);
	load_fini(&load);
	assert_refused(CONFIG_SOURCE, "source.exposed_ports=[{port=1,protocol='sctp'}]\n" GOOD_SOURCE,
	               "source.exposed_ports[0].protocol: unknown word \"sctp\": one of \"tcp\", \"udp\", \"both\"");
}

static void services_have_lists_and_words_of_their_own(void **state)
{
	(void)state;
	struct load load;
	const char *text = GOOD_DEST "allowed_clients=['CN=a','DNS:*.b']\nproxy_protocol='v2'\n";
	assert_good(&load, load_text(&load, CONFIG_DEST, text));
	assert_int_equal(load.config->dest.services[0].allowed_client_count, 2);
	assert_string_equal(load.config->dest.services[0].allowed_clients[1], "DNS:*.b");
	assert_int_equal(load.config->dest.services[0].proxy, CONFIG_PROXY_V2);
	load_fini(&load);
	assert_refused(CONFIG_DEST, GOOD_DEST "allowed_clients=['a',3]\n",
	               "dest.exposed_services[0].allowed_clients[1]: must be a string, not a whole number");
	assert_refused(CONFIG_DEST, GOOD_DEST "allowed_clients='a'\n",
	               "dest.exposed_services[0].allowed_clients: must be a list of strings");
	assert_refused(CONFIG_DEST, GOOD_DEST "proxy_protocol='v1'\n",
	               "dest.exposed_services[0].proxy_protocol: unknown word \"v1\": one of \"off\", \"v2\"");
}

static void address_lists_of_source_are_kept(void **state)
{
	(void)state;
	struct load load;
	const char *text = "source.allowed_outbound.allowed_ips=['10.0.0.0/8','::1']\n"
					   "source.connection_filter.allowed_source_ips=['127.0.0.0/8']\n" GOOD_SOURCE;
	assert_good(&load, load_text(&load, CONFIG_SOURCE, text));
	assert_int_equal(load.config->source.allowed_outbound_count, 2);
	assert_int_equal(load.config->source.allowed_outbound[1].bits, 128);
	assert_int_equal(load.config->source.allowed_source_count, 1);
	load_fini(&load);
	assert_refused(CONFIG_SOURCE, "source.allowed_outbound.allowed_ips=['10.0.0.1/8']\n" GOOD_SOURCE,
	               "\"10.0.0.1/8\" is not an address range");
}

static void what_asks_for_nothing_unbuilt_is_accepted(void **state)
{
	(void)state;
	struct load load;
	const char *text = "source.mode='transparent'\nsource.allowed_outbound.allowed_ips=[]\nauth.use_mtls=true\n"
					   "auth.verify_client_cert=true\nsource.exposed_ports=[{port=1,protocol='tcp'}]\n" GOOD_SOURCE;
	assert_good(&load, load_text(&load, CONFIG_SOURCE, text));
	load_fini(&load);
}

static void tunnels_without_certificates_are_refused_with_the_reason(void **state)
{
	(void)state;
	const char *reason = "false is refused: a link without certificates on both sides would not know whom it talks to";
	assert_refused(CONFIG_SOURCE, "auth.use_mtls=false\n" GOOD_SOURCE, reason);
	assert_refused(CONFIG_DEST, "auth.verify_client_cert=false\n" GOOD_DEST, reason);
}

static void keys_without_a_meaning_here_say_what_to_do(void **state)
{
	(void)state;
	const char *queues = "has no meaning here: there are no queues of frames here";
	assert_refused(CONFIG_SOURCE, "source.frame_buffer_size=1000\n" GOOD_SOURCE, queues);
	assert_refused(CONFIG_SOURCE, "source.connection_channel_size=1\n" GOOD_SOURCE, queues);
	assert_refused(CONFIG_SOURCE, "source.write_queue_size=1\n" GOOD_SOURCE, queues);
	assert_refused(CONFIG_DEST, "dest.connection_channel_size=1\n" GOOD_DEST, queues);
	assert_refused(CONFIG_SOURCE, "source.circuit_breaker_window_secs=60\n" GOOD_SOURCE,
	               "paced by the reconnect delays");
	assert_refused(CONFIG_SOURCE, "source.circuit_breaker_max_restarts=5\n" GOOD_SOURCE,
	               "paced by the reconnect delays");
	assert_refused(CONFIG_SOURCE, "source.connection_refresh_interval_secs=60\n" GOOD_SOURCE,
	               "set crypto.key_rotation_interval_seconds instead");
	assert_refused(CONFIG_SOURCE, "source.connection_drain_timeout_secs=60\n" GOOD_SOURCE,
	               "set node.drain_timeout_seconds instead");
	assert_refused(CONFIG_SOURCE, "crypto.rehandshake_before_expiry_seconds=300\n" GOOD_SOURCE, "delete this key");
	assert_refused(CONFIG_SOURCE, "crypto.max_handshake_size=1\n" GOOD_SOURCE, "delete this key");
	assert_refused(CONFIG_DEST, "dest.stale_cleanup_interval_secs=15\n" GOOD_DEST, "delete this key");
}

static void tables_in_lists_name_what_is_missing_and_what_is_unknown(void **state)
{
	(void)state;
	struct load load;
	const char *text = "dest.tunnel_port=1\n" AUTH_OF_DEST "[[dest.exposed_services]]\nname='a'\nprot=1\n";
	assert_int_equal(load_text(&load, CONFIG_DEST, text), CONFIG_BAD);
	assert_said(&load.problems, "dest.exposed_services[0]: \"port\" is missing: ");
	assert_said(&load.problems, "dest.exposed_services[0]: \"target_ip\" is missing: ");
	assert_said(&load.problems, "t.toml:7:1: dest.exposed_services[0].prot: unknown key (did you mean \"port\"?)\n");
	assert_int_equal(load.problems.count, 3);
	load_fini(&load);
	assert_refused(
		CONFIG_DEST, GOOD_DEST "target_host='h'\n",
		"dest.exposed_services[0].target_host: given twice: \"target_ip\" and \"target_host\" mean the same\n");
}

static void lists_of_tables_are_bounded(void **state)
{
	(void)state;
	struct load load;
	char *text = NULL;
	size_t length = 0;
	FILE *out = open_memstream(&text, &length);
	fputs(GOOD_SOURCE "source.exposed_ports=[", out);
	for (int port = 1; port <= 4096; port++)
		fprintf(out, "{port=%d},", port);
	fputs("]\n", out);
	fclose(out);
	assert_good(&load, load_text(&load, CONFIG_SOURCE, text));
	assert_int_equal(load.config->source.exposed_count, 4096);
	load_fini(&load);
	char *longer = malloc(length + 32);
	memcpy(longer, text, length - 2);
	strcpy(longer + length - 2, "{port=5000}]\n");
	assert_refused(CONFIG_SOURCE, longer, "source.exposed_ports: has more than 4096 entries\n");
	free(longer);
	free(text);
}

static void address_ranges_are_kept_and_bad_ones_named_one_by_one(void **state)
{
	(void)state;
	struct load load;
	assert_good(
		&load,
		load_text(&load, CONFIG_DEST,
	              "dest.connection_filter.allowed_source_ips=['10.0.0.0/8','192.168.1.7','fd00::/8']\n" GOOD_DEST));
	assert_int_equal(load.config->dest.allowed_source_count, 3);
	assert_int_equal(load.config->dest.allowed_source_ips[0].bits, 104);
	assert_int_equal(load.config->dest.allowed_source_ips[2].bits, 8);
	load_fini(&load);
	assert_int_equal(
		load_text(&load, CONFIG_DEST,
	              "dest.connection_filter.allowed_source_ips=['10.0.0.0/8',\n'10.0.0.0/33',\n'host']\n" GOOD_DEST),
		CONFIG_BAD);
	assert_said(&load.problems,
	            "t.toml:2:1: dest.connection_filter.allowed_source_ips[1]: \"10.0.0.0/33\" is not an address range");
	assert_said(&load.problems,
	            "t.toml:3:1: dest.connection_filter.allowed_source_ips[2]: \"host\" is not an address range");
	load_fini(&load);
}

static void every_default_of_the_table_is_a_good_value(void **state)
{
	(void)state;
	for (size_t i = 0; i < schema.count; i++) {
		const struct schema_key *key = &schema.keys[i];
		if (!key->initial || strcmp(key->initial, "[]") == 0)
			continue;
		char text[512];
		bool is_word = key->type != SCHEMA_NUMBER && key->type != SCHEMA_BOOL;
		bool is_source = (key->commands & SCHEMA_FOR_SOURCE) != 0;
		snprintf(text, sizeof text, "%s=%s%s%s\n%s", key->path, is_word ? "'" : "", key->initial, is_word ? "'" : "",
		         is_source ? GOOD_SOURCE : GOOD_DEST);
		struct load load;
		int result = load_text(&load, is_source ? CONFIG_SOURCE : CONFIG_DEST, text);
		assert_good(&load, result);
		load_fini(&load);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ranges_hold_at_their_ends_and_not_one_past),
		cmocka_unit_test(wrong_types_say_what_was_wanted_and_what_was_found),
		cmocka_unit_test(unknown_words_are_answered_with_the_choices),
		cmocka_unit_test(protocols_are_words),
		cmocka_unit_test(services_have_lists_and_words_of_their_own),
		cmocka_unit_test(address_lists_of_source_are_kept),
		cmocka_unit_test(what_asks_for_nothing_unbuilt_is_accepted),
		cmocka_unit_test(tunnels_without_certificates_are_refused_with_the_reason),
		cmocka_unit_test(keys_without_a_meaning_here_say_what_to_do),
		cmocka_unit_test(tables_in_lists_name_what_is_missing_and_what_is_unknown),
		cmocka_unit_test(lists_of_tables_are_bounded),
		cmocka_unit_test(address_ranges_are_kept_and_bad_ones_named_one_by_one),
		cmocka_unit_test(every_default_of_the_table_is_a_good_value),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
