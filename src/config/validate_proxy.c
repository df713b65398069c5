#include "config/validate_proxy.h"

#include "config/target.h"
#include "config/text.h"
#include "config/value.h"

#include <string.h>

// The seed's own defaults, which only count outside of production.
#define SEED_CERTS "certs/hybrid/dilithium3/"

static struct tree_place place_of_item(const struct load *load, const char *path, size_t index)
{
	const struct load_setting *setting = load_setting(load, path);
	return setting->item_places ? setting->item_places[index] : setting->place;
}

// ---- defaults that depend

static void take_seed_path(struct load *load, const char *path, char **field, const char *initial)
{
	if (!*field && !load_is_given(load, path))
		*field = text_copy(initial);
}

// Several sidecars share a machine, and a port each of them opens unasked would be the second one's failure.
static bool has_metrics_key(const struct load *load)
{
	return load_is_given(load, "metrics.enabled") || load_is_given(load, "metrics.metrics_port") ||
	       load_is_given(load, "metrics.metrics_bind_ip");
}

void validate_proxy_complete(struct load *load)
{
	struct config_of_proxy *proxy = &load->config->proxy;
	if (!has_metrics_key(load))
		load->config->metrics.enabled = false;
	if (proxy->environment == CONFIG_PRODUCTION || proxy->mode == CONFIG_PROXY_CLIENT)
		return;
	if (!load_is_given(load, "proxy.cert_path") && !load_is_given(load, "proxy.key_path")) {
		take_seed_path(load, "proxy.cert_path", &proxy->cert_path, SEED_CERTS "server.crt");
		take_seed_path(load, "proxy.key_path", &proxy->key_path, SEED_CERTS "server.key");
	}
	if (proxy->client_cert_mode != CONFIG_CLIENT_CERT_NONE)
		take_seed_path(load, "proxy.ca_cert_path", &proxy->ca_cert_path, SEED_CERTS "ca.crt");
}

// ---- what must be given

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

static void demand_server(struct load *load)
{
	const struct config_of_proxy *proxy = &load->config->proxy;
	if (proxy->environment != CONFIG_PRODUCTION)
		return;
	static const char *const why = "with environment = \"production\"";
	demand(load, "proxy.cert_path", why);
	demand(load, "proxy.key_path", why);
	demand(load, "proxy.client_cert_mode", why);
	if (proxy->client_cert_mode != CONFIG_CLIENT_CERT_NONE)
		demand(load, "proxy.ca_cert_path", why);
}

static void demand_client(struct load *load)
{
	static const char *const why = "with mode = \"client\"";
	demand(load, "proxy.targets", why);
	demand(load, "proxy.ca_cert_path", why);
}

// ---- addresses

static void check_addresses(struct load *load)
{
	const struct config_of_proxy *proxy = &load->config->proxy;
	char host[TARGET_HOST_BYTES];
	uint16_t port;
	for (size_t i = 0; i < proxy->listen_count; i++) {
		const char *fault = target_listen_fault(proxy->listen[i]);
		if (fault)
			problem_add(&load->problems, place_of_item(load, "proxy.listen", i), "proxy.listen", "\"%s\" %s",
			            proxy->listen[i], fault);
	}
	for (size_t i = 0; i < proxy->target_count; i++) {
		const char *fault = target_split(proxy->targets[i], host, &port);
		if (fault)
			problem_add(&load->problems, place_of_item(load, "proxy.targets", i), "proxy.targets", "\"%s\" %s",
			            proxy->targets[i], fault);
	}
}

void validate_proxy(struct load *load)
{
	if (load->config->proxy.mode == CONFIG_PROXY_SERVER)
		demand_server(load);
	else
		demand_client(load);
	check_addresses(load);
}
