#include "config/validate_proxy.h"

#include "config/certificates.h"
#include "config/target.h"
#include "config/value.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "config/load_test.h"

#define FILES "proxy.cert_path='c'\nproxy.key_path='k'\nproxy.ca_cert_path='ca'\n"
#define GOOD FILES "proxy.client_cert_mode='required'\n"
#define GOOD_CLIENT \
	"proxy.mode='client'\nproxy.listen='127.0.0.1:6000'\nproxy.targets='h:8443'\nproxy.ca_cert_path='ca'\n"
#define README_JSON                                                                                                 \
	"{\"listen\": \"0.0.0.0:8443\", \"target\": \"127.0.0.1:6000\","                                                \
	" \"cert_path\": \"certs/hybrid/dilithium3/server.crt\", \"key_path\": \"certs/hybrid/dilithium3/server.key\"," \
	" \"ca_cert_path\": \"certs/hybrid/dilithium3/ca.crt\", \"hybrid_mode\": true,"                                 \
	" \"client_cert_mode\": \"optional\", \"log_level\": \"info\", \"environment\": \"production\"}"

static void the_file_of_the_seeds_document_is_understood(void **state)
{
	(void)state;
	struct load load;
	assert_good(&load, load_words(&load, CONFIG_PROXY, "config.json", README_JSON, no_words, no_words));
	const struct config_of_proxy *proxy = &load.config->proxy;
	assert_int_equal(proxy->listen_count, 1);
	assert_string_equal(proxy->listen[0], "0.0.0.0:8443");
	assert_int_equal(proxy->target_count, 1);
	assert_string_equal(proxy->targets[0], "127.0.0.1:6000");
	assert_string_equal(proxy->cert_path, "certs/hybrid/dilithium3/server.crt");
	assert_string_equal(proxy->key_path, "certs/hybrid/dilithium3/server.key");
	assert_string_equal(proxy->ca_cert_path, "certs/hybrid/dilithium3/ca.crt");
	assert_int_equal(proxy->hybrid_mode, CONFIG_HYBRID_PREFER);
	assert_int_equal(proxy->client_cert_mode, CONFIG_CLIENT_CERT_OPTIONAL);
	assert_int_equal(proxy->environment, CONFIG_PRODUCTION);
	assert_int_equal(load.config->logging.level, LOG_INFO);
	assert_true(load.has_proxy);
	assert_said(&load.notes, "the target cannot tell clients with a certificate from those without");
	load_fini(&load);
}

static void words_of_later_seeds_mean_the_same(void **state)
{
	(void)state;
	struct load load;
	assert_good(&load, load_words(&load, CONFIG_PROXY, "t.json",
	                              "{\"hybrid_cert\":\"c\",\"hybrid_key\":\"k\",\"traditional_cert\":\"fc\","
	                              "\"traditional_key\":\"fk\",\"client_ca_cert_path\":\"ca\",\"connection_timeout\":30,"
	                              "\"client_cert_mode\":\"REQUIRED\",\"hybrid_mode\":false,\"log_level\":\"Debug\"}",
	                              no_words, no_words));
	const struct config_of_proxy *proxy = &load.config->proxy;
	assert_int_equal(certificates_count(load.config), 2);
	assert_string_equal(certificates_at(load.config, 0).cert_path, "c");
	assert_string_equal(certificates_at(load.config, 0).key_path, "k");
	assert_string_equal(certificates_at(load.config, 1).cert_path, "fc");
	assert_string_equal(certificates_at(load.config, 1).key_path, "fk");
	assert_string_equal(proxy->ca_cert_path, "ca");
	assert_int_equal(proxy->connection_timeout_seconds, 30);
	assert_int_equal(proxy->hybrid_mode, CONFIG_HYBRID_OFF);
	assert_int_equal(proxy->client_cert_mode, CONFIG_CLIENT_CERT_REQUIRED);
	assert_int_equal(load.config->logging.level, LOG_DEBUG);
	load_fini(&load);
}

static void production_names_everything_that_is_missing(void **state)
{
	(void)state;
	struct load load;
	assert_int_equal(load_text(&load, CONFIG_PROXY, ""), CONFIG_BAD);
	assert_int_equal(load.problems.count, 4);
	assert_said(&load.problems, "proxy.cert_path: required with environment = \"production\", but not given: "
	                            "\"cert_path\" in [proxy], flag --cert or environment QANAT_PROXY_CERT_PATH");
	assert_said(&load.problems, "proxy.key_path: required");
	assert_said(&load.problems, "proxy.client_cert_mode: required");
	assert_said(&load.problems, "proxy.ca_cert_path: required");
	load_fini(&load);
	// Nobody is checked, so nobody's CA is needed.
	assert_good(&load, load_text(&load, CONFIG_PROXY,
	                             "proxy.cert_path='c'\nproxy.key_path='k'\nproxy.client_cert_mode='none'\n"));
	load_fini(&load);
	assert_refused(CONFIG_PROXY, FILES, "proxy.client_cert_mode: required");
}

static void outside_of_production_the_seeds_defaults_hold(void **state)
{
	(void)state;
	struct load load;
	assert_good(&load, load_text(&load, CONFIG_PROXY, "environment='Testing'\n"));
	assert_string_equal(load.config->proxy.cert_path, "certs/hybrid/dilithium3/server.crt");
	assert_string_equal(load.config->proxy.key_path, "certs/hybrid/dilithium3/server.key");
	assert_string_equal(load.config->proxy.ca_cert_path, "certs/hybrid/dilithium3/ca.crt");
	assert_string_equal(load.config->proxy.listen[0], "0.0.0.0:8443");
	assert_string_equal(load.config->proxy.targets[0], "127.0.0.1:6000");
	assert_int_equal(load.config->proxy.client_cert_mode, CONFIG_CLIENT_CERT_OPTIONAL);
	assert_false(load.config->metrics.enabled);
	load_fini(&load);
	// Half of a pair is no reason to take the other half from somewhere else.
	assert_refused(CONFIG_PROXY, "proxy.environment='development'\nproxy.cert_path='c'\n",
	               "proxy.key_path: is missing: a certificate and its key go together");
}

static void the_seeds_environment_counts_only_when_it_is_asked_for(void **state)
{
	(void)state;
	struct load load;
	char *const environment[] = {(char[]){"QUANTUM_SAFE_PROXY_LISTEN=0.0.0.0:9443"},
	                             (char[]){"QUANTUM_SAFE_PROXY_TARGET=127.0.0.1:7000"},
	                             (char[]){"QUANTUM_SAFE_PROXY_CERT=c"},
	                             (char[]){"QUANTUM_SAFE_PROXY_KEY=k"},
	                             (char[]){"QUANTUM_SAFE_PROXY_CA_CERT=ca"},
	                             (char[]){"QUANTUM_SAFE_PROXY_LOG_LEVEL=debug"},
	                             (char[]){"QUANTUM_SAFE_PROXY_HYBRID_MODE=true"},
	                             (char[]){"QUANTUM_SAFE_PROXY_CLIENT_CERT_MODE=required"},
	                             (char[]){"QUANTUM_SAFE_PROXY_LISTTEN=x"},
	                             NULL};
	char *const from_env[] = {(char[]){"--from-env"}, NULL};
	assert_good(&load, load_words(&load, CONFIG_PROXY, "t.toml", "", from_env, environment));
	assert_string_equal(load.config->proxy.listen[0], "0.0.0.0:9443");
	assert_string_equal(load.config->proxy.targets[0], "127.0.0.1:7000");
	assert_int_equal(load.config->proxy.client_cert_mode, CONFIG_CLIENT_CERT_REQUIRED);
	assert_int_equal(load.config->logging.level, LOG_DEBUG);
	assert_int_equal(load.notes.count, 1);
	assert_said(&load.notes, "QUANTUM_SAFE_PROXY_LISTTEN: no key has this environment name");
	load_fini(&load);
	assert_int_equal(load_words(&load, CONFIG_PROXY, "t.toml", "", no_words, environment), CONFIG_BAD);
	assert_int_equal(load.problems.count, 4);
	assert_said(&load.notes, "QUANTUM_SAFE_PROXY_CERT: proxy.cert_path: is set, but not read without --from-env");
	assert_string_equal(load.config->proxy.listen[0], "0.0.0.0:8443");
	load_fini(&load);
}

static void two_environment_names_for_one_key_are_one_too_many(void **state)
{
	(void)state;
	struct load load;
	char *const environment[] = {(char[]){"QUANTUM_SAFE_PROXY_CERT=other"}, (char[]){"QANAT_PROXY_CERT_PATH=c"}, NULL};
	char *const from_env[] = {(char[]){"--from-env=true"}, NULL};
	assert_int_equal(load_words(&load, CONFIG_PROXY, "t.toml", GOOD, from_env, environment), CONFIG_BAD);
	assert_said(&load.problems,
	            "QUANTUM_SAFE_PROXY_CERT: proxy.cert_path: given twice: QANAT_PROXY_CERT_PATH means the same");
	load_fini(&load);
}

static void a_flag_wins_over_the_environment_and_that_over_the_file(void **state)
{
	(void)state;
	static const char *const expected[] = {"127.0.0.1:6000", "127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"};
	for (size_t level = 0; level < 4; level++) {
		struct load load;
		char *const argv[] = {(char[]){"--from-env"}, NULL};
		char *const flag[] = {(char[]){"--from-env"}, (char[]){"-t"}, (char[]){"127.0.0.1:3"}, NULL};
		char *const environment[] = {level >= 2 ? (char[]){"QUANTUM_SAFE_PROXY_TARGET=127.0.0.1:2"} : NULL, NULL};
		assert_good(&load,
		            load_words(&load, CONFIG_PROXY, "t.toml", level >= 1 ? GOOD "proxy.target='127.0.0.1:1'\n" : GOOD,
		                       level >= 3 ? flag : argv, environment));
		assert_string_equal(load.config->proxy.targets[0], expected[level]);
		load_fini(&load);
	}
}

static void flags_of_the_seed_are_taken_in_both_shapes(void **state)
{
	(void)state;
	struct load load;
	char *const argv[] = {(char[]){"--listen=0.0.0.0:1"},
	                      (char[]){"-l"},
	                      (char[]){"[::1]:2"},
	                      (char[]){"--target"},
	                      (char[]){"backend:6000"},
	                      (char[]){"--hybrid-mode"},
	                      (char[]){"--cert=c"},
	                      (char[]){"--key"},
	                      (char[]){"k"},
	                      (char[]){"--client-ca-cert=ca"},
	                      (char[]){"--log-level=WARN"},
	                      (char[]){"--client-cert-mode=Required"},
	                      NULL};
	assert_good(&load, load_words(&load, CONFIG_PROXY, "t.toml", "", argv, no_words));
	assert_int_equal(load.config->proxy.listen_count, 2);
	assert_string_equal(load.config->proxy.listen[1], "[::1]:2");
	assert_string_equal(load.config->proxy.targets[0], "backend:6000");
	assert_int_equal(load.config->proxy.hybrid_mode, CONFIG_HYBRID_PREFER);
	assert_int_equal(load.config->logging.level, LOG_WARN);
	load_fini(&load);
	char *const off[] = {(char[]){"--hybrid-mode=false"}, NULL};
	assert_good(&load, load_words(&load, CONFIG_PROXY, "t.toml", GOOD, off, no_words));
	assert_int_equal(load.config->proxy.hybrid_mode, CONFIG_HYBRID_OFF);
	load_fini(&load);
}

static void routes_and_certificates_have_a_form_for_flags(void **state)
{
	(void)state;
	struct load load;
	char *const argv[] = {(char[]){"--route"}, (char[]){"A.example.com+*.b.example.com=127.0.0.1:1+unix:/run/b"},
	                      (char[]){"--certificate=c2:k2:o2"}, (char[]){"--certificate=c3:k3"}, NULL};
	assert_good(&load, load_words(&load, CONFIG_PROXY, "t.toml", GOOD, argv, no_words));
	const struct config_of_proxy *proxy = &load.config->proxy;
	assert_int_equal(proxy->route_count, 1);
	assert_int_equal(proxy->routes[0].sni_count, 2);
	assert_string_equal(proxy->routes[0].sni[1], "*.b.example.com");
	assert_int_equal(proxy->routes[0].target_count, 2);
	assert_string_equal(proxy->routes[0].targets[1], "unix:/run/b");
	assert_int_equal(proxy->routes[0].selection, CONFIG_TARGET_AS_PROXY);
	assert_int_equal(certificates_count(load.config), 3);
	assert_string_equal(certificates_at(load.config, 1).ocsp_path, "o2");
	assert_null(certificates_at(load.config, 2).ocsp_path);
	load_fini(&load);
}

static void a_client_needs_a_target_and_somebody_to_believe(void **state)
{
	(void)state;
	struct load load;
	assert_good(&load, load_text(&load, CONFIG_PROXY, GOOD_CLIENT));
	assert_int_equal(certificates_count(load.config), 0);
	load_fini(&load);
	assert_int_equal(load_text(&load, CONFIG_PROXY, "proxy.mode='client'\n"), CONFIG_BAD);
	assert_int_equal(load.problems.count, 3);
	load_fini(&load);
	assert_good(&load, load_text(&load, CONFIG_PROXY,
	                             "proxy.mode='client'\nproxy.listen='unix:/run/x'\nproxy.targets='h:8443'\n"
	                             "proxy.pins='0000000000000000000000000000000000000000000000000000000000000000'\n"));
	load_fini(&load);
}

static void what_contradicts_is_refused(void **state)
{
	(void)state;
	static const struct {
		const char *text, *line;
	} cases[] = {
		{GOOD "proxy.listen=['1.2.3.4:1','1.2.3.4:1']\n", "1.2.3.4:1 is listened on already, by 1.2.3.4:1"},
		{GOOD "proxy.listen=['0.0.0.0:1','127.0.0.1:1']\n", "127.0.0.1:1 is listened on already, by 0.0.0.0:1"},
		{GOOD "proxy.listen=['10.0.0.1:1','[::]:1']\n", "[::]:1 is listened on already, by 10.0.0.1:1"},
		{GOOD "proxy.listen=['unix:/a','unix:/a']\n", "unix:/a is listened on already"},
		{GOOD "proxy.listen=[]\n", "proxy.listen: at least one address is needed"},
		{GOOD "proxy.listen='8443'\n", "\"8443\" must be IP:PORT, [IP6]:PORT or unix:/path"},
		{GOOD "proxy.listen='1.2.3.4:0'\n", "must be IP:PORT"},
		{GOOD "proxy.listen='myhost:1'\n", "must be an IP address of this machine"},
		{GOOD "proxy.listen='unix:relative'\n", "needs an absolute path"},
		{GOOD "proxy.listen='unix:/c'\ncontrol.socket='/c'\n", "/c is the path of control.socket as well"},
		{GOOD "proxy.listen='unix:/c'\nmetrics.metrics_bind_ip='unix:/c'\n",
	     "/c is the path of metrics.metrics_bind_ip as well"},
		{GOOD "proxy.listen='0.0.0.0:9090'\nmetrics.enabled=true\n", "port 9090 is used by proxy.listen already"},
		{GOOD "proxy.targets=[]\n", "proxy.targets: at least one target is needed"},
		{GOOD "proxy.targets='127.0.0.1'\n", "\"127.0.0.1\" must be HOST:PORT"},
		{GOOD "proxy.targets='127.0.0.1:0'\n", "must be HOST:PORT"},
		{GOOD "proxy.targets='http://a:1'\n", "must be HOST:PORT"},
		{GOOD "proxy.targets=['a:1','a:1']\n", "a:1 is listed twice"},
		{GOOD "proxy.targets='127.0.0.1:8443'\n", "127.0.0.1:8443 is where this proxy listens itself (0.0.0.0:8443)"},
		{GOOD "proxy.listen='unix:/a'\nproxy.targets='unix:/a'\n", "unix:/a is where this proxy listens itself"},
		{GOOD "proxy.target='a:1'\ntarget='a:2'\n", "given twice: \"proxy.target\" means the same"},
		{GOOD "[[proxy.routes]]\nsni='a'\n", "\"targets\" is missing"},
		{GOOD "[[proxy.routes]]\nsni=[]\ntargets='a:1'\n", "\"sni\" is empty"},
		{GOOD "[[proxy.routes]]\nsni='a'\ntargets=[]\n", "at least one target is needed"},
		{GOOD "[[proxy.routes]]\nsni='1.2.3.4'\ntargets='a:1'\n", "is an IP address"},
		{GOOD "[[proxy.routes]]\nsni='a.*.b'\ntargets='a:1'\n", "may have one '*'"},
		{GOOD "[[proxy.routes]]\nsni=['a','A']\ntargets='a:1'\n", "the name \"A\" is given twice"},
		{GOOD "[[proxy.routes]]\nsni='a'\ntargets='a:1'\n[[proxy.routes]]\nsni='a'\ntargets='b:1'\n",
	     "the name \"a\" is given twice"},
		{GOOD "[[proxy.certificates]]\ncert='x'\n", "\"key_path\" is missing"},
		{GOOD "proxy.fallback_cert='x'\n",
	     "proxy.fallback_key_path: is missing: a certificate and its key go together"},
		{GOOD "proxy.fallback_key='x'\n", "proxy.fallback_cert_path: is missing"},
		{GOOD "proxy.server_name='x'\n", "proxy.server_name: is for mode = \"client\" only"},
		{GOOD "proxy.min_tls='1.2'\nproxy.hybrid_mode='require'\n", "contradicts hybrid_mode"},
		{GOOD "proxy.min_tls='1.2'\nproxy.signatures='require-pq'\n", "contradicts signatures"},
		{GOOD "proxy.min_tls='1.1'\n", "unknown word \"1.1\""},
		{GOOD "proxy.proxy_protocol_from=['10.0.0.0/8']\n", "needs proxy_protocol_in"},
		{GOOD "proxy.hybrid_mode=1\n", "must be a string, not a whole number"},
		{GOOD "proxy.hybrid_mode='requierd'\n", "(did you mean \"require\"?)"},
		{GOOD "proxy.buffer_size=8192\n", "proxy.buffer_size: has no meaning here: buffers have one size"},
		{GOOD "openssl_dir='/opt'\n", "openssl_dir: has no meaning here"},
		{GOOD "proxy.connection_timeout=0\n", "must be 1..3600 s"},
		{FILES "proxy.client_cert_mode='optional'\nproxy.allowed_clients='CN=a'\n",
	     "would let in who shows no certificate"},
		{"proxy.cert_path='c'\nproxy.key_path='k'\nproxy.client_cert_mode='none'\nproxy.usage_may_be_absent=true\n",
	     "proxy.usage_may_be_absent: has nothing to judge"},
		{"proxy.cert_path='c'\nproxy.key_path='k'\nproxy.client_cert_mode='none'\nproxy.crl_paths='x'\n",
	     "has nothing to judge"},
		{GOOD_CLIENT "proxy.client_cert_mode='none'\n", "is for mode = \"server\" only"},
		{GOOD_CLIENT "proxy.cert_path='c'\n", "proxy.key_path: is missing"},
		{GOOD_CLIENT "[[proxy.routes]]\nsni='a'\ntargets='b:1'\n", "is for mode = \"server\" only"},
		{GOOD "proxy.allowed_clients=['cn:a','dns:*']\n", "proxy.allowed_clients: \"dns:*\": it would match"},
		{GOOD "proxy.allowed_clients='spki:00'\n", "after spki: stand 64 hexadecimal digits"},
		{GOOD "proxy.allowed_clients='SHA256:00'\n", "\"sha256:\" is neither"},
		{GOOD_CLIENT "proxy.pins='00'\n", "proxy.pins: "},
		{GOOD "listten='x'\n", "unknown key (did you mean \"listen\"?)"},
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		assert_refused(CONFIG_PROXY, cases[i].text, cases[i].line);
}

static void what_is_not_wrong_but_dangerous_is_said(void **state)
{
	(void)state;
	static const struct {
		const char *text, *line;
	} cases[] = {
		{GOOD "proxy.targets='192.0.2.1:1'\n", "what is sent there is not encrypted any more"},
		{GOOD "proxy.targets='backend:1'\n", "what is sent there is not encrypted any more"},
		{FILES "proxy.client_cert_mode='none'\n", "is not used: client_cert_mode is \"none\""},
		{GOOD "proxy.proxy_protocol_in='accept'\n", "whoever can connect says which address it comes from"},
		{"proxy.mode='client'\nproxy.listen='0.0.0.0:1'\nproxy.targets='h:8443'\nproxy.ca_cert_path='ca'\n",
	     "can be reached from other machines"},
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct load load;
		assert_good(&load, load_text(&load, CONFIG_PROXY, cases[i].text));
		assert_int_equal(load.notes.count, 1);
		assert_said(&load.notes, cases[i].line);
		load_fini(&load);
	}
	struct load load;
	assert_good(&load, load_text(&load, CONFIG_PROXY,
	                             GOOD "proxy.targets=['localhost:1','[::1]:1','unix:/x']\n"
	                                  "proxy.listen=['0.0.0.0:2','[::1]:2','unix:/y']\n"));
	assert_int_equal(load.notes.count, 0);
	load_fini(&load);
}

static void targets_are_taken_apart(void **state)
{
	(void)state;
	char host[TARGET_HOST_BYTES];
	uint16_t port;
	assert_null(target_split("[2001:db8::1]:443", host, &port));
	assert_string_equal(host, "2001:db8::1");
	assert_int_equal(port, 443);
	assert_null(target_split("db.internal:65535", host, &port));
	assert_string_equal(host, "db.internal");
	assert_int_equal(port, 65535);
	assert_null(target_split("unix:/run/x.sock", host, &port));
	assert_string_equal(host, "unix:/run/x.sock");
	assert_int_equal(port, 0);
	static const char *const bad[] = {"",       ":1",    "a",      "a:",    "a:65536", "a:-1",  "a:1x",
	                                  "::1:80", "[::1]", "[::1]:", "unix:", "unix:x",  "a b:1", "a:1:2"};
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		if (!target_split(bad[i], host, &port))
			fail_msg("taken: %s", bad[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_file_of_the_seeds_document_is_understood),
		cmocka_unit_test(words_of_later_seeds_mean_the_same),
		cmocka_unit_test(production_names_everything_that_is_missing),
		cmocka_unit_test(outside_of_production_the_seeds_defaults_hold),
		cmocka_unit_test(the_seeds_environment_counts_only_when_it_is_asked_for),
		cmocka_unit_test(two_environment_names_for_one_key_are_one_too_many),
		cmocka_unit_test(a_flag_wins_over_the_environment_and_that_over_the_file),
		cmocka_unit_test(flags_of_the_seed_are_taken_in_both_shapes),
		cmocka_unit_test(routes_and_certificates_have_a_form_for_flags),
		cmocka_unit_test(a_client_needs_a_target_and_somebody_to_believe),
		cmocka_unit_test(what_contradicts_is_refused),
		cmocka_unit_test(what_is_not_wrong_but_dangerous_is_said),
		cmocka_unit_test(targets_are_taken_apart),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
