#include "config/validate_proxy.h"

#include "config/text.h"
#include "config/validate_ends.h"
#include "crypto/authorise.h"
#include "crypto/pin.h"

#include <string.h>
#include <strings.h>
#include <sys/stat.h>

// The seed's own defaults, which only count outside of production.
#define SEED_CERTS "certs/hybrid/dilithium3/"
// What the seed reads unasked when it lies in the working directory.
#define SEED_FILE "config.json"

static struct tree_place place_of(const struct load *load, const char *path)
{
	return load_is_given(load, path) ? load_setting(load, path)->place : (struct tree_place){0};
}

static void refuse(struct load *load, const char *path, const char *message)
{
	problem_add(&load->problems, place_of(load, path), path, "%s", message);
}

static void note(struct load *load, const char *path, const char *message)
{
	problem_add(&load->notes, place_of(load, path), path, "%s", message);
}

// ---- defaults that depend ------------------------------------------------------------------------------------------

// Several sidecars share a machine, and a port each of them opens unasked would be the second one's failure.
static bool has_metrics_key(const struct load *load)
{
	return load_is_given(load, "metrics.enabled") || load_is_given(load, "metrics.metrics_port") ||
	       load_is_given(load, "metrics.metrics_bind_ip");
}

static void take_seed_path(char **field, const char *initial)
{
	if (!*field)
		*field = text_copy(initial);
}

void validate_proxy_complete(struct load *load)
{
	struct config_of_proxy *proxy = &load->config->proxy;
	if (!has_metrics_key(load))
		load->config->metrics.enabled = false;
	if (proxy->environment == CONFIG_PRODUCTION || proxy->mode == CONFIG_PROXY_CLIENT)
		return;
	if (!load_is_given(load, "proxy.cert_path") && !load_is_given(load, "proxy.key_path")) {
		take_seed_path(&proxy->cert_path, SEED_CERTS "server.crt");
		take_seed_path(&proxy->key_path, SEED_CERTS "server.key");
	}
	if (proxy->client_cert_mode != CONFIG_CLIENT_CERT_NONE && !load_is_given(load, "proxy.ca_cert_path"))
		take_seed_path(&proxy->ca_cert_path, SEED_CERTS "ca.crt");
}

// ---- what must be given --------------------------------------------------------------------------------------------

static void demand(struct load *load, const char *path, const char *why)
{
	if (load_is_given(load, path))
		return;
	const struct schema_key *key = schema_find(path, load->command);
	char environment[SCHEMA_ENVIRONMENT_BYTES];
	schema_environment(key, environment);
	problem_add(&load->problems, (struct tree_place){.name = load->has_file ? load->file : NULL}, path,
	            "required %s, but not given: \"%s\" in [proxy], flag %s or environment %s", why,
	            path + strlen("proxy."), key->flag, environment);
}

// What decides who gets in has no default in production: a name that was written wrongly, or a file that was not read,
// must not open the door.
static void demand_server(struct load *load)
{
	static const char *const why = "with environment = \"production\"";
	const struct config_of_proxy *proxy = &load->config->proxy;
	if (proxy->environment != CONFIG_PRODUCTION)
		return;
	demand(load, "proxy.cert_path", why);
	demand(load, "proxy.key_path", why);
	demand(load, "proxy.client_cert_mode", why);
	if (proxy->client_cert_mode != CONFIG_CLIENT_CERT_NONE)
		demand(load, "proxy.ca_cert_path", why);
}

static void demand_client(struct load *load)
{
	static const char *const why = "with mode = \"client\"";
	demand(load, "proxy.listen", why);
	demand(load, "proxy.targets", why);
	if (load->config->proxy.pin_count == 0)
		demand(load, "proxy.ca_cert_path", why);
}

// ---- what belongs to one mode --------------------------------------------------------------------------------------

static void refuse_in_mode(struct load *load, const char *const *paths, size_t count, const char *mode)
{
	for (size_t i = 0; i < count; i++)
		if (load_is_given(load, paths[i]))
			problem_add(&load->problems, place_of(load, paths[i]), paths[i], "is for mode = \"%s\" only", mode);
}

static void check_mode(struct load *load)
{
	static const char *const of_server[] = {"proxy.client_cert_mode", "proxy.allowed_clients", "proxy.routes",
	                                        "proxy.ocsp_path"};
	static const char *const of_client[] = {"proxy.server_name", "proxy.pins"};
	if (load->config->proxy.mode == CONFIG_PROXY_CLIENT)
		refuse_in_mode(load, of_server, COUNT_OF(of_server), "server");
	else
		refuse_in_mode(load, of_client, COUNT_OF(of_client), "client");
}

// ---- certificates --------------------------------------------------------------------------------------------------

static void check_pair(struct load *load, const char *cert, const char *key)
{
	bool has_cert = load_is_given(load, cert), has_key = load_is_given(load, key);
	// In production the server's own pair is demanded already.
	if (has_cert == has_key)
		return;
	problem_add(&load->problems, place_of(load, has_cert ? cert : key), has_cert ? key : cert,
	            "is missing: a certificate and its key go together");
}

static void check_certificates(struct load *load)
{
	const struct config_of_proxy *proxy = &load->config->proxy;
	bool is_demanded = proxy->mode == CONFIG_PROXY_SERVER && proxy->environment == CONFIG_PRODUCTION;
	if (!is_demanded)
		check_pair(load, "proxy.cert_path", "proxy.key_path");
	check_pair(load, "proxy.fallback_cert_path", "proxy.fallback_key_path");
	if (proxy->ocsp_path && !proxy->cert_path)
		refuse(load, "proxy.ocsp_path", "is for the certificate of proxy.cert_path, which is not given");
}

// ---- clients' certificates -----------------------------------------------------------------------------------------

static void check_clients(struct load *load)
{
	const struct config_of_proxy *proxy = &load->config->proxy;
	enum config_client_cert mode = proxy->client_cert_mode;
	bool is_known = load_is_given(load, "proxy.client_cert_mode")
	                    ? !load_setting(load, "proxy.client_cert_mode")->is_bad
	                    : proxy->environment != CONFIG_PRODUCTION;
	if (proxy->mode != CONFIG_PROXY_SERVER || !is_known)
		return;
	if (proxy->allowed_client_count > 0 && mode != CONFIG_CLIENT_CERT_REQUIRED)
		refuse(load, "proxy.allowed_clients",
		       mode == CONFIG_CLIENT_CERT_NONE
		           ? "has nothing to judge with client_cert_mode = \"none\""
		           : "would let in who shows no certificate: it needs client_cert_mode = \"required\"");
	if (proxy->crl_count > 0 && mode == CONFIG_CLIENT_CERT_NONE)
		refuse(load, "proxy.crl_paths", "has nothing to judge with client_cert_mode = \"none\"");
	if (proxy->usage_may_be_absent && mode == CONFIG_CLIENT_CERT_NONE)
		refuse(load, "proxy.usage_may_be_absent", "has nothing to judge with client_cert_mode = \"none\"");
	if (mode == CONFIG_CLIENT_CERT_NONE && load_is_given(load, "proxy.ca_cert_path"))
		note(load, "proxy.ca_cert_path", "is not used: client_cert_mode is \"none\"");
	if (mode == CONFIG_CLIENT_CERT_OPTIONAL && proxy->header_out != CONFIG_HEADER_OUT_V2)
		note(load, "proxy.client_cert_mode",
		     "\"optional\": the target cannot tell clients with a certificate from those without; set "
		     "proxy_protocol_out = \"v2\", or \"required\"");
}

static struct tree_place place_of_item(const struct load *load, const char *path, size_t index)
{
	const struct load_setting *setting = load_setting(load, path);
	return setting->item_places ? setting->item_places[index] : setting->place;
}

// Without one of the prefixes that exist a pattern is a name; with one of these it is meant to be something else, and
// would let nobody in, silently.
static const char *wrong_prefix(const char *pattern)
{
	static const char *const prefixes[] = {"san:",    "san=",    "ip:",  "email:", "subject:", "subject=", "sha256:",
	                                       "sha256/", "sha256=", "pin:", "key:",   "ou=",      "o="};
	for (size_t i = 0; i < COUNT_OF(prefixes); i++)
		if (strncasecmp(pattern, prefixes[i], strlen(prefixes[i])) == 0)
			return prefixes[i];
	return NULL;
}

// What almost looks like a pattern or a pin must not let nobody in, or everybody.
static void check_patterns(struct load *load)
{
	const struct config_of_proxy *proxy = &load->config->proxy;
	char problem[AUTHORISE_PROBLEM_BYTES], pin_problem[PIN_PROBLEM_BYTES];
	uint8_t pin[PIN_BYTES];
	for (size_t i = 0; i < proxy->allowed_client_count; i++)
		if (authorise_check(proxy->allowed_clients[i], problem) != 0)
			problem_add(&load->problems, place_of_item(load, "proxy.allowed_clients", i), "proxy.allowed_clients", "%s",
			            problem);
		else if (wrong_prefix(proxy->allowed_clients[i]))
			problem_add(&load->problems, place_of_item(load, "proxy.allowed_clients", i), "proxy.allowed_clients",
			            "\"%s\": a pattern begins with cn:, dns:, uri: or spki:, or is a name; \"%s\" is neither",
			            proxy->allowed_clients[i], wrong_prefix(proxy->allowed_clients[i]));
	for (size_t i = 0; i < proxy->pin_count; i++)
		if (pin_parse(proxy->pins[i], pin, pin_problem) != 0)
			problem_add(&load->problems, place_of_item(load, "proxy.pins", i), "proxy.pins", "%s", pin_problem);
}

static void check_lists(struct load *load)
{
	const struct config_of_proxy *proxy = &load->config->proxy;
	if (proxy->mode == CONFIG_PROXY_CLIENT && proxy->crl_count > 0 && !proxy->ca_cert_path)
		refuse(load, "proxy.crl_paths", "needs proxy.ca_cert_path: lists are those of its CAs");
}

// ---- TLS -----------------------------------------------------------------------------------------------------------

static void check_tls(struct load *load)
{
	const struct config_of_proxy *proxy = &load->config->proxy;
	if (proxy->min_tls == CONFIG_TLS_1_2 && proxy->hybrid_mode == CONFIG_HYBRID_REQUIRE)
		refuse(load, "proxy.min_tls", "\"1.2\" contradicts hybrid_mode = \"require\": only TLS 1.3 has such groups");
	if (proxy->min_tls == CONFIG_TLS_1_2 && proxy->signatures == CONFIG_SIGNATURES_PQ)
		refuse(load, "proxy.min_tls",
		       "\"1.2\" contradicts signatures = \"require-pq\": only TLS 1.3 has such signatures");
}

// ---- the PROXY protocol --------------------------------------------------------------------------------------------

static void check_headers(struct load *load)
{
	const struct config_of_proxy *proxy = &load->config->proxy;
	if (proxy->header_in == CONFIG_HEADER_IN_OFF && proxy->header_from_count > 0)
		refuse(load, "proxy.proxy_protocol_from", "needs proxy_protocol_in = \"accept\"");
	if (proxy->header_in == CONFIG_HEADER_IN_ACCEPT && proxy->header_from_count == 0)
		note(load, "proxy.proxy_protocol_in",
		     "without proxy_protocol_from whoever can connect says which address it comes from");
}

// ---- the file ------------------------------------------------------------------------------------------------------

// Configuration that is found by chance is followed by nobody who thinks of it. But who comes from the seed expects it.
static void look_for_seed_file(struct load *load)
{
	struct stat found;
	if (load->is_file_named || stat(SEED_FILE, &found) != 0)
		return;
	problem_add(&load->notes, (struct tree_place){.name = SEED_FILE}, "",
	            "lies in the working directory, but is not read: name it with --config-file");
}

void validate_proxy(struct load *load)
{
	if (load->is_unreadable)
		return;
	if (load->config->proxy.mode == CONFIG_PROXY_SERVER)
		demand_server(load);
	else
		demand_client(load);
	check_mode(load);
	check_certificates(load);
	check_clients(load);
	check_patterns(load);
	check_lists(load);
	check_tls(load);
	check_headers(load);
	validate_ends(load);
	look_for_seed_file(load);
}
