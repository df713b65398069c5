#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "config/load_test.h"

static const char seed_source[] = "[source]\n"
								  "listen_ip = \"0.0.0.0\"\n"
								  "listen_port = 8443\n"
								  "dest_host = \"utun-dest\"\n"
								  "dest_tunnel_port = 9443\n"
								  "max_connections = 10000\n"
								  "[auth]\n"
								  "use_mtls = true\n"
								  "ca_cert_path = \"/certs/ca.crt\"\n"
								  "client_cert_path = \"/certs/client.crt\"\n"
								  "client_key_path = \"/certs/client.key\"\n"
								  "[crypto]\n"
								  "kem_mode = \"hybrid\"\n"
								  "key_rotation_interval_seconds = 3600\n"
								  "[metrics]\n"
								  "enabled = true\n"
								  "metrics_port = 9090\n";

static void utun_source_file_is_read_as_printed(void **state)
{
	(void)state;
	struct load load;
	assert_good(&load, load_text(&load, CONFIG_SOURCE, seed_source));
	const struct config *config = load.config;
	assert_string_equal(config->source.listen_ip, "0.0.0.0");
	assert_int_equal(config->source.listen_port, 8443);
	assert_string_equal(config->source.dest_host, "utun-dest");
	assert_int_equal(config->source.dest_tunnel_port, 9443);
	assert_int_equal(config->source.max_connections, 10000);
	assert_string_equal(config->auth.ca_cert_path, "/certs/ca.crt");
	assert_string_equal(config->auth.cert_path, "/certs/client.crt");
	assert_string_equal(config->auth.key_path, "/certs/client.key");
	assert_int_equal(config->crypto.kem_mode, CONFIG_KEM_HYBRID);
	assert_int_equal(config->crypto.key_rotation_interval_seconds, 3600);
	assert_true(config->metrics.enabled);
	assert_int_equal(config->metrics.metrics_port, 9090);
	assert_int_equal(load.notes.count, 0);
	load_fini(&load);
}

static void utun_dest_file_is_read_as_printed(void **state)
{
	(void)state;
	struct load load;
	const char *text = "[dest]\nlisten_ip = \"0.0.0.0\"\ntunnel_port = 9443\n"
					   "[[dest.exposed_services]]\nname = \"ssh\"\nport = 22\ntarget_ip = \"127.0.0.1\"\n"
					   "target_port = 22\nprotocol = \"tcp\"\n"
					   "[auth]\nuse_mtls = true\nca_cert_path = \"/certs/ca.crt\"\n"
					   "server_cert_path = \"/certs/server.crt\"\nserver_key_path = \"/certs/server.key\"\n"
					   "[crypto]\nkem_mode = \"hybrid\"\nkey_rotation_interval_seconds = 3600\n"
					   "[metrics]\nenabled = true\nmetrics_port = 9091\n";
	assert_good(&load, load_text(&load, CONFIG_DEST, text));
	const struct config *config = load.config;
	assert_int_equal(config->dest.tunnel_port, 9443);
	assert_int_equal(config->dest.service_count, 1);
	assert_string_equal(config->dest.services[0].name, "ssh");
	assert_int_equal(config->dest.services[0].port, 22);
	assert_string_equal(config->dest.services[0].target_host, "127.0.0.1");
	assert_int_equal(config->dest.services[0].target_port, 22);
	assert_null(config->dest.services[0].description);
	assert_string_equal(config->auth.cert_path, "/certs/server.crt");
	assert_int_equal(config->metrics.metrics_port, 9091);
	load_fini(&load);
}

static void defaults_are_the_documented_ones(void **state)
{
	(void)state;
	struct load load;
	assert_good(&load, load_text(&load, CONFIG_SOURCE, GOOD_SOURCE));
	const struct config *config = load.config;
	assert_string_equal(config->source.listen_ip, "127.0.0.1");
	assert_int_equal(config->source.listen_port, 8443);
	assert_int_equal(config->source.mode, CONFIG_MODE_TRANSPARENT);
	assert_int_equal(config->source.max_connections, 10000);
	assert_int_equal(config->source.connection_timeout_ms, 30000);
	assert_true(config->source.reconnection_enabled);
	assert_int_equal(config->source.max_reconnect_attempts, 0);
	assert_int_equal(config->source.initial_reconnect_delay_ms, 1000);
	assert_int_equal(config->source.max_reconnect_delay_ms, 60000);
	assert_int_equal(config->source.pool_size, 4);
	assert_null(config->auth.peer_name);
	assert_int_equal(config->auth.allowed_peer_count, 0);
	assert_int_equal(config->crypto.kem_mode, CONFIG_KEM_HYBRID);
	assert_int_equal(config->crypto.pq, CONFIG_PQ_REQUIRE);
	assert_int_equal(config->crypto.key_rotation_interval_seconds, 3600);
	assert_int_equal(config->crypto.key_rotation_bytes, 0);
	assert_int_equal(config->crypto.key_overlap_seconds, 60);
	assert_int_equal(config->link.heartbeat_interval_ms, 15000);
	assert_int_equal(config->link.heartbeat_timeout_ms, 5000);
	assert_int_equal(config->link.max_missed_pongs, 3);
	assert_int_equal(config->link.keep_alive_interval_ms, 30000);
	assert_int_equal(config->link.handshake_timeout_ms, 10000);
	assert_string_equal(config->link.congestion, "auto");
	assert_int_equal(config->logging.level, LOG_INFO);
	assert_int_equal(config->logging.format, LOG_FORMAT_PLAIN);
	assert_true(config->logging.include_timestamp);
	assert_true(config->metrics.enabled);
	assert_int_equal(config->metrics.metrics_port, 9090);
	assert_string_equal(config->metrics.metrics_bind_ip, "127.0.0.1");
	assert_non_null(config->node.name);
	assert_int_equal(config->node.workers, 0);
	assert_int_equal(config->node.drain_timeout_seconds, 60);
	load_fini(&load);

	assert_good(&load, load_text(&load, CONFIG_DEST, GOOD_DEST));
	assert_string_equal(load.config->dest.listen_ip, "0.0.0.0");
	assert_int_equal(load.config->dest.max_connections_per_service, 10000);
	assert_int_equal(load.config->dest.target_connect_timeout_ms, 5000);
	assert_int_equal(load.config->dest.allowed_source_count, 0);
	load_fini(&load);
}

static void flag_wins_over_environment_over_file_over_default(void **state)
{
	(void)state;
	struct load load;
	char *flags[] = {"--max-connections", "3", NULL};
	char *environment[] = {"QANAT_SOURCE_MAX_CONNECTIONS=2", "QANAT_SOURCE_POOL_SIZE=7", NULL};
	const char *text = "source.max_connections=1\nsource.pool_size=1\nsource.connection_timeout_ms=77\n" GOOD_SOURCE;
	assert_good(&load, load_words(&load, CONFIG_SOURCE, "t.toml", text, flags, environment));
	assert_int_equal(load.config->source.max_connections, 3);
	assert_int_equal(load.config->source.pool_size, 7);
	assert_int_equal(load.config->source.connection_timeout_ms, 77);
	assert_int_equal(load.config->source.max_reconnect_delay_ms, 60000);
	assert_int_equal(load_setting(&load, "source.max_connections")->origin, LOAD_FLAG);
	assert_string_equal(load_setting(&load, "source.max_connections")->place.name, "--max-connections");
	assert_int_equal(load_setting(&load, "source.pool_size")->origin, LOAD_ENVIRONMENT);
	assert_string_equal(load_setting(&load, "source.pool_size")->place.name, "QANAT_SOURCE_POOL_SIZE");
	assert_int_equal(load_setting(&load, "source.connection_timeout_ms")->origin, LOAD_FILE);
	assert_int_equal(load_setting(&load, "source.connection_timeout_ms")->place.line, 3);
	assert_int_equal(load_setting(&load, "source.max_reconnect_delay_ms")->origin, LOAD_DEFAULT);
	load_fini(&load);
}

static void both_commands_run_without_a_file_from_flags(void **state)
{
	(void)state;
	struct load load;
	char *source[] = {"--dest-host=::1", "--dest-tunnel-port=9", "--ca-cert=ca", "--cert=c",  "--key=k",
	                  "--forward",       "unix:/run/a=b.sock=s", "--forward",    "[::1]:1=t", "--expose=22",
	                  "--expose=80",     "--allow-peer",         "a*",           NULL};
	assert_good(&load, load_words(&load, CONFIG_SOURCE, "t.toml", "", source, no_words));
	assert_int_equal(load.config->source.forward_count, 2);
	assert_string_equal(load.config->source.forwards[0].listen, "unix:/run/a=b.sock");
	assert_string_equal(load.config->source.forwards[0].service, "s");
	assert_string_equal(load.config->source.forwards[1].listen, "[::1]:1");
	assert_int_equal(load.config->source.exposed_count, 2);
	assert_int_equal(load.config->source.exposed_ports[1].port, 80);
	assert_int_equal(load.config->source.listen_port, 0);
	assert_string_equal(load.config->auth.allowed_peers[0], "a*");
	load_fini(&load);

	char *dest[] = {"--tunnel-port=9",
	                "--ca-cert=ca",
	                "--cert=c",
	                "--key=k",
	                "--service=ssh=22:localhost:2222",
	                "--service=six=6:[::1]:66",
	                "--service=sock=7:unix:/run/x:y",
	                "--allow-source=10.0.0.0/8",
	                NULL};
	assert_good(&load, load_words(&load, CONFIG_DEST, "t.toml", "", dest, no_words));
	const struct config_service *services = load.config->dest.services;
	assert_int_equal(load.config->dest.service_count, 3);
	assert_string_equal(services[0].name, "ssh");
	assert_int_equal(services[0].port, 22);
	assert_string_equal(services[0].target_host, "localhost");
	assert_int_equal(services[0].target_port, 2222);
	assert_string_equal(services[1].target_host, "::1");
	assert_int_equal(services[1].target_port, 66);
	assert_string_equal(services[2].target_host, "unix:/run/x:y");
	assert_int_equal(services[2].target_port, 0);
	assert_int_equal(load.config->dest.allowed_source_count, 1);
	load_fini(&load);
}

static void flags_of_lists_may_name_a_protocol(void **state)
{
	(void)state;
	struct load load;
	char *source[] = {"--dest-host=::1",
	                  "--dest-tunnel-port=9",
	                  "--ca-cert=ca",
	                  "--cert=c",
	                  "--key=k",
	                  "--expose=53/udp",
	                  "--forward=127.0.0.1:5353=dns/both",
	                  "--forward=unix:/run/udp=x",
	                  NULL};
	assert_good(&load, load_words(&load, CONFIG_SOURCE, "t.toml", "", source, no_words));
	assert_int_equal(load.config->source.exposed_ports[0].port, 53);
	assert_int_equal(load.config->source.exposed_ports[0].protocol, CONFIG_UDP);
	assert_string_equal(load.config->source.forwards[0].service, "dns");
	assert_int_equal(load.config->source.forwards[0].protocol, CONFIG_BOTH);
	assert_string_equal(load.config->source.forwards[1].listen, "unix:/run/udp");
	assert_int_equal(load.config->source.forwards[1].protocol, CONFIG_TCP);
	load_fini(&load);

	char *dest[] = {"--tunnel-port=9",
	                "--ca-cert=ca",
	                "--cert=c",
	                "--key=k",
	                "--service=dns=53:127.0.0.1:53/udp",
	                "--service=sock=7:unix:/run/udp",
	                NULL};
	assert_good(&load, load_words(&load, CONFIG_DEST, "t.toml", "", dest, no_words));
	assert_int_equal(load.config->dest.services[0].target_port, 53);
	assert_int_equal(load.config->dest.services[0].protocol, CONFIG_UDP);
	assert_string_equal(load.config->dest.services[1].target_host, "unix:/run/udp");
	assert_int_equal(load.config->dest.services[1].protocol, CONFIG_TCP);
	load_fini(&load);
}

static void environment_lists_are_separated_by_commas_and_replace_the_file(void **state)
{
	(void)state;
	struct load load;
	char *environment[] = {"QANAT_DEST_EXPOSED_SERVICES=a=1:h:1,b=2:unix:/x",
	                       "QANAT_DEST_CONNECTION_FILTER_ALLOWED_SOURCE_IPS=10.0.0.0/8,::1",
	                       "QANAT_AUTH_ALLOWED_PEERS=", NULL};
	const char *text = "auth.allowed_peers=['x']\ndest.tunnel_port=1\nauth.ca_cert_path='a'\nauth.cert_path='a'\n"
					   "auth.key_path='a'\n" GOOD_SERVICE;
	assert_good(&load, load_words(&load, CONFIG_DEST, "t.toml", text, no_words, environment));
	assert_int_equal(load.config->dest.service_count, 2);
	assert_string_equal(load.config->dest.services[1].name, "b");
	assert_int_equal(load.config->dest.allowed_source_count, 2);
	assert_int_equal(load.config->auth.allowed_peer_count, 0);
	load_fini(&load);
}

static void json_means_the_same_as_toml(void **state)
{
	(void)state;
	struct load load;
	const char *text = "{\"source\":{\"dest_host\":\"h\",\"dest_tunnel_port\":9,\"reconnection_enabled\":true,"
					   "\"exposed_ports\":[{\"port\":1},{\"port\":2,\"listen_ip\":\"::1\"}]},"
					   "\"auth\":{\"ca_cert_path\":\"a\",\"cert_path\":\"c\",\"key_path\":\"k\"}}";
	assert_good(&load, load_words(&load, CONFIG_SOURCE, "t.json", text, no_words, no_words));
	assert_int_equal(load.config->source.exposed_count, 2);
	assert_string_equal(load.config->source.exposed_ports[1].listen_ip, "::1");
	assert_string_equal(load.config->auth.cert_path, "c");
	load_fini(&load);

	text = "{\"source\":{\"dest_prot\":9}}";
	assert_int_equal(load_words(&load, CONFIG_SOURCE, "t.json", text, no_words, no_words), CONFIG_BAD);
	assert_said(&load.problems, "t.json: source.dest_prot: unknown key (did you mean \"dest_host\"?)\n");
	load_fini(&load);
}

static void one_file_may_hold_both_sections(void **state)
{
	(void)state;
	struct load load;
	const char *text =
		"[source]\ndest_host='h'\ndest_tunnel_port=1\nheartbeat_interval_ms=99\n"
		"[dest]\ntunnel_port=2\n[[dest.exposed_services]]\nname='s'\nport=1\ntarget_ip='::1'\ntarget_port=1\n"
		"[auth]\nca_cert_path='ca'\nclient_cert_path='cc'\nclient_key_path='ck'\nserver_cert_path='sc'\n"
		"server_key_path='sk'\n";
	assert_good(&load, load_text(&load, CONFIG_SOURCE, text));
	assert_true(load.has_source && load.has_dest);
	assert_string_equal(load.config->auth.cert_path, "cc");
	assert_int_equal(load.config->link.heartbeat_interval_ms, 99);
	assert_int_equal(load.config->dest.service_count, 0);
	load_fini(&load);
	assert_good(&load, load_text(&load, CONFIG_DEST, text));
	assert_string_equal(load.config->auth.key_path, "sk");
	assert_int_equal(load.config->link.heartbeat_interval_ms, 15000);
	load_fini(&load);
}

static void keys_of_the_other_section_are_checked_too(void **state)
{
	(void)state;
	assert_refused(CONFIG_SOURCE, "dest.tunnel_port='x'\n" GOOD_SOURCE,
	               "t.toml:1:6: dest.tunnel_port: must be a whole number, not a string\n");
	assert_refused(CONFIG_SOURCE, "dest.tunnel_prot=1\n" GOOD_SOURCE, "t.toml:1:6: dest.tunnel_prot: unknown key");
	assert_refused(CONFIG_DEST, "source.pool_size=-1\n" GOOD_DEST,
	               "t.toml:1:8: source.pool_size: must be 0..256, not -1\n");
}

static void heartbeats_are_taken_from_source_and_from_link_but_not_from_both(void **state)
{
	(void)state;
	struct load load;
	assert_good(&load, load_text(&load, CONFIG_SOURCE, "link.max_missed_pongs=9\n" GOOD_SOURCE));
	assert_int_equal(load.config->link.max_missed_pongs, 9);
	load_fini(&load);
	assert_refused(CONFIG_SOURCE, "link.max_missed_pongs=9\nsource.max_missed_pongs=8\n" GOOD_SOURCE,
	               "given twice: \"link.max_missed_pongs\" means the same\n");
}

static void all_problems_are_listed_at_once_in_the_order_of_the_file(void **state)
{
	(void)state;
	struct load load;
	const char *text = "[source]\n"
					   "listen_prot = 1\n"
					   "dest_tunnel_port = 99999\n"
					   "  [metrics]\n"
					   "metrics_port = 'x'\n"
					   "[auth]\n"
					   "use_mtls = false\n";
	assert_int_equal(load_text(&load, CONFIG_SOURCE, text), CONFIG_BAD);
	char *all = said(&load.problems);
	const char *start = "t.toml:2:1: source.listen_prot: unknown key (did you mean \"listen_port\"?)\n"
						"t.toml:3:1: source.dest_tunnel_port: must be 1..65535, not 99999\n"
						"t.toml:5:1: metrics.metrics_port: must be a whole number, not a string\n"
						"t.toml:7:1: auth.use_mtls: false is refused: ";
	assert_memory_equal(all, start, strlen(start));
	free(all);
	assert_said(&load.problems, "t.toml: source.dest_host: required, but not given: \"dest_host\" in [source], flag "
	                            "--dest-host or environment QANAT_SOURCE_DEST_HOST\n");
	assert_said(&load.problems, "t.toml: auth.ca_cert_path: required, but not given");
	assert_said(&load.problems, "t.toml: auth.client_cert_path: required, but not given");
	assert_said(&load.problems, "t.toml: auth.client_key_path: required, but not given");
	assert_int_equal(load.problems.count, 8);
	load_fini(&load);
}

static void broken_toml_is_one_problem_with_its_place(void **state)
{
	(void)state;
	assert_refused(CONFIG_SOURCE, "[source]\ndest_host = \n", "t.toml:2:");
	assert_refused(CONFIG_SOURCE, "[source]\n[source]\n", "t.toml:2:");
	struct load load;
	assert_int_equal(load_words(&load, CONFIG_SOURCE, "t.json", "{\"a\":1,\n\"a\":2}", no_words, no_words), CONFIG_BAD);
	assert_said(&load.problems, "t.json:2:");
	assert_int_equal(load.problems.count, 1);
	load_fini(&load);
}

static void unknown_sections_and_misplaced_keys_are_named(void **state)
{
	(void)state;
	assert_refused(CONFIG_SOURCE, GOOD_SOURCE "[crypt]\na=1\n", "crypt: unknown section (did you mean \"crypto\"?)\n");
	assert_refused(CONFIG_SOURCE, "node.metrics_port=1\n" GOOD_SOURCE,
	               "node.metrics_port: unknown key here; there is \"metrics_port\" in [metrics]\n");
	assert_refused(CONFIG_SOURCE, "\"source.pool_size\"=1\nsource.pool_size=1\n" GOOD_SOURCE,
	               "t.toml:1:1: source.pool_size: unknown key: \"source.pool_size\" is one name here, dot and all\n");
	assert_refused(CONFIG_SOURCE, "\"\"=1\n" GOOD_SOURCE, "t.toml:1:1: unknown key\n");
	assert_refused(CONFIG_SOURCE, "qqqqqqqqqq=1\n" GOOD_SOURCE, "t.toml:1:1: qqqqqqqqqq: unknown key\n");
	assert_refused(CONFIG_SOURCE, "crypto=1\n" GOOD_SOURCE,
	               "t.toml:1:1: crypto: must be a section [crypto], not a whole number\n");
	assert_refused(CONFIG_SOURCE, GOOD_SOURCE "[[node]]\n", "node: must be a section [node], not a list\n");
}

static void missing_sections_and_files_are_said(void **state)
{
	(void)state;
	struct load load;
	assert_int_equal(load_text(&load, CONFIG_DEST, GOOD_SOURCE), CONFIG_BAD);
	assert_said(&load.problems, "t.toml: the file has no section [dest]\n");
	assert_said(&load.problems,
	            "t.toml: dest.exposed_services: at least one is required: [[dest.exposed_services]], or "
	            "flag --service NAME=PORT:HOST:TARGET_PORT[/PROTOCOL]\n");
	load_fini(&load);

	char *flags[] = {"-c", "/nonexistent/qanat.toml", NULL};
	struct load_input input = {.command = CONFIG_DEST, .argc = 2, .argv = flags, .environment = no_words};
	assert_int_equal(load_run(&input, &load), CONFIG_BAD);
	assert_said(&load.problems, "/nonexistent/qanat.toml: cannot be opened: ");
	assert_int_equal(load.problems.count, 1);
	load_fini(&load);

	input.argc = 0;
	assert_int_equal(load_run(&input, &load), CONFIG_BAD);
	assert_string_equal(load.file, SCHEMA_DEFAULT_PATH);
	if (!load.has_file)
		assert_said(&load.problems, SCHEMA_DEFAULT_PATH ": there is no such file; name one with --config\n");
	load_fini(&load);

	char *folder[] = {"-c", "/", NULL};
	input.argc = 2;
	input.argv = folder;
	assert_int_equal(load_run(&input, &load), CONFIG_BAD);
	assert_said(&load.problems, "/: cannot be read: ");
	assert_int_equal(load.problems.count, 1);
	load_fini(&load);
}

static void file_is_found_by_environment_and_by_flag(void **state)
{
	(void)state;
	char path[] = "/tmp/qanat-load-test-XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, GOOD_SOURCE, strlen(GOOD_SOURCE)), strlen(GOOD_SOURCE));
	close(fd);
	char variable[64];
	snprintf(variable, sizeof variable, "QANAT_CONFIG=%s", path);
	char *environment[] = {variable, NULL};
	struct load_input input = {.command = CONFIG_SOURCE, .argv = no_words, .environment = environment};
	struct load load;
	assert_good(&load, load_run(&input, &load));
	assert_true(load.has_file);
	assert_string_equal(load.file, path);
	load_fini(&load);

	char *flags[] = {"--config", path, NULL};
	char *elsewhere[] = {"QANAT_CONFIG=/nonexistent", NULL};
	input = (struct load_input){.command = CONFIG_SOURCE, .argc = 2, .argv = flags, .environment = elsewhere};
	assert_good(&load, load_run(&input, &load));
	load_fini(&load);
	unlink(path);
}

static void file_longer_than_the_limit_is_refused(void **state)
{
	(void)state;
	char path[] = "/tmp/qanat-load-test-XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, LOAD_MAX_BYTES + 1), 0);
	close(fd);
	char *flags[] = {"--config", path, NULL};
	struct load_input input = {.command = CONFIG_SOURCE, .argc = 2, .argv = flags, .environment = no_words};
	struct load load;
	assert_int_equal(load_run(&input, &load), CONFIG_BAD);
	assert_said(&load.problems, "is longer than 1048576 bytes\n");
	load_fini(&load);
	unlink(path);
}

static void bad_words_name_their_flag_or_variable(void **state)
{
	(void)state;
	struct load load;
	char *flags[] = {"--dest-tunnel-port", "70000", "--log-level=loud", "--metrics=maybe", NULL};
	char *environment[] = {"QANAT_SOURCE_DEST_HOST=",
	                       "QANAT_CRYPTO_PQ=yes",
	                       "QANAT_NODE_WORKERS=-1",
	                       "QANAT_SOURCE_POOL_SIZE=4x",
	                       "QANAT_SOURCE_FRAME_BUFFER_SIZE=1",
	                       NULL};
	assert_int_equal(load_words(&load, CONFIG_SOURCE, "t.toml", AUTH_OF_SOURCE, flags, environment), CONFIG_BAD);
	assert_said(&load.problems, "--dest-tunnel-port: source.dest_tunnel_port: must be 1..65535, not \"70000\"\n");
	assert_said(&load.problems,
	            "--log-level: logging.level: unknown word \"loud\": one of \"error\", \"warn\", \"info\", "
	            "\"debug\", \"trace\"\n");
	assert_said(&load.problems, "--metrics: metrics.enabled: must be true or false, not \"maybe\"\n");
	assert_said(&load.problems, "QANAT_SOURCE_DEST_HOST: source.dest_host: \"\" must not be empty\n");
	assert_said(&load.problems,
	            "QANAT_CRYPTO_PQ: crypto.pq: unknown word \"yes\": one of \"require\", \"prefer\", \"off\"\n");
	assert_said(&load.problems, "QANAT_NODE_WORKERS: node.workers: must be 0..256, not \"-1\"\n");
	assert_said(&load.problems, "QANAT_SOURCE_POOL_SIZE: source.pool_size: must be 0..256, not \"4x\"\n");
	assert_said(&load.problems, "QANAT_SOURCE_FRAME_BUFFER_SIZE: source.frame_buffer_size: has no meaning here: ");
	assert_int_equal(load.problems.count, 8);
	load_fini(&load);
}

static void environment_name_of_ours_that_means_nothing_is_noted_not_refused(void **state)
{
	(void)state;
	struct load load;
	char *environment[] = {"QANAT_DEST_SERVICE_HOST=10.0.0.1", "QANAT_DEPS=/x", "QANAT=/y", "PATH=/", NULL};
	assert_good(&load, load_words(&load, CONFIG_SOURCE, "t.toml", GOOD_SOURCE, no_words, environment));
	assert_said(&load.notes, "QANAT_DEST_SERVICE_HOST: no key has this environment name\n");
	assert_int_equal(load.notes.count, 1);
	assert_int_equal(load.config->note_count, 1);
	load_fini(&load);
}

static void help_is_asked_for_even_when_nothing_else_is_right(void **state)
{
	(void)state;
	struct load load;
	char *flags[] = {"--nonsense", "--help", NULL};
	assert_int_equal(load_words(&load, CONFIG_SOURCE, "t.toml", "=", flags, no_words), CONFIG_HELP);
	load_fini(&load);
}

static void config_load_prints_every_problem_and_leaves_the_output_alone(void **state)
{
	(void)state;
	char *flags[] = {"-c", "/dev/null", "--workers", "x"};
	char *text = NULL;
	size_t length = 0;
	FILE *errors = open_memstream(&text, &length);
	struct config *config = NULL;
	assert_int_equal(config_load(CONFIG_DEST, 4, flags, stdout, errors, &config), CONFIG_BAD);
	fclose(errors);
	assert_null(config);
	assert_non_null(strstr(text, "--workers: node.workers: must be 0..256, not \"x\"\n"));
	assert_non_null(strstr(text, "/dev/null: the file has no section [dest]\n"));
	free(text);
	config_free(&config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(utun_source_file_is_read_as_printed),
		cmocka_unit_test(utun_dest_file_is_read_as_printed),
		cmocka_unit_test(defaults_are_the_documented_ones),
		cmocka_unit_test(flag_wins_over_environment_over_file_over_default),
		cmocka_unit_test(both_commands_run_without_a_file_from_flags),
		cmocka_unit_test(flags_of_lists_may_name_a_protocol),
		cmocka_unit_test(environment_lists_are_separated_by_commas_and_replace_the_file),
		cmocka_unit_test(json_means_the_same_as_toml),
		cmocka_unit_test(one_file_may_hold_both_sections),
		cmocka_unit_test(keys_of_the_other_section_are_checked_too),
		cmocka_unit_test(heartbeats_are_taken_from_source_and_from_link_but_not_from_both),
		cmocka_unit_test(all_problems_are_listed_at_once_in_the_order_of_the_file),
		cmocka_unit_test(broken_toml_is_one_problem_with_its_place),
		cmocka_unit_test(unknown_sections_and_misplaced_keys_are_named),
		cmocka_unit_test(missing_sections_and_files_are_said),
		cmocka_unit_test(file_is_found_by_environment_and_by_flag),
		cmocka_unit_test(file_longer_than_the_limit_is_refused),
		cmocka_unit_test(bad_words_name_their_flag_or_variable),
		cmocka_unit_test(environment_name_of_ours_that_means_nothing_is_noted_not_refused),
		cmocka_unit_test(help_is_asked_for_even_when_nothing_else_is_right),
		cmocka_unit_test(config_load_prints_every_problem_and_leaves_the_output_alone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
