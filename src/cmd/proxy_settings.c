// What the parts of proxy need, out of a configuration.

#include "cmd/proxy_internal.h"
#include "config/certificates.h"
#include "config/target.h"
#include "core/log.h"
#include "crypto/pin.h"
#include "wire/tls_sidecar.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

// ---- files ---------------------------------------------------------------------------------------------------------

static int load_identities(const struct config *config, struct proxy_material *material,
                           char problem[PROXY_PROBLEM_BYTES])
{
	_Static_assert(PROXY_PROBLEM_BYTES >= IDENTITY_PROBLEM_BYTES, "problems are handed on");
	bool is_client = config->proxy.mode == CONFIG_PROXY_CLIENT;
	for (size_t i = 0; i < certificates_count(config); i++) {
		struct config_certificate files = certificates_at(config, i);
		struct identity_files wanted = {.cert_path = files.cert_path,
		                                .key_path = files.key_path,
		                                .ocsp_path = files.ocsp_path,
		                                .usage = is_client ? IDENTITY_CLIENT : IDENTITY_SERVER,
		                                .any_issuer = true};
		int r = identity_load(&wanted, &material->identities[i], problem);
		if (r != 0)
			return r;
		material->identity_count = i + 1;
	}
	return 0;
}

static int load_trust(const struct config *config, struct proxy_material *material, char problem[PROXY_PROBLEM_BYTES])
{
	struct trust_files files = {.ca_path = config->proxy.ca_cert_path,
	                            .crl_paths = (const char *const *)config->proxy.crl_paths,
	                            .crl_count = config->proxy.crl_count};
	return files.ca_path ? trust_load(&files, &material->trust, problem) : 0;
}

static int load_authorise(const struct config *config, struct proxy_material *material,
                          char problem[PROXY_PROBLEM_BYTES])
{
	_Static_assert(PROXY_PROBLEM_BYTES >= AUTHORISE_PROBLEM_BYTES, "problems are handed on");
	size_t count = config->proxy.allowed_client_count;
	return count == 0 ? 0
	                  : authorise_new((const char *const *)config->proxy.allowed_clients, count, &material->authorise,
	                                  problem);
}

static int read_pins(const struct config *config, struct proxy_material *material, char problem[PROXY_PROBLEM_BYTES])
{
	size_t count = config->proxy.pin_count;
	material->pins = calloc(count + 1, sizeof *material->pins);
	if (!material->pins)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		char fault[PIN_PROBLEM_BYTES];
		if (pin_parse(config->proxy.pins[i], material->pins[i], fault) != 0) {
			snprintf(problem, PROXY_PROBLEM_BYTES, "proxy.pins: %s", fault);
			return 1;
		}
	}
	material->pin_count = count;
	return 0;
}

int proxy_material_load(const struct config *config, struct proxy_material *material, char problem[PROXY_PROBLEM_BYTES])
{
	*material = (struct proxy_material){0};
	int r = load_identities(config, material, problem);
	if (r == 0)
		r = load_trust(config, material, problem);
	if (r == 0)
		r = load_authorise(config, material, problem);
	if (r == 0)
		r = read_pins(config, material, problem);
	if (r != 0)
		proxy_material_fini(material);
	return r;
}

void proxy_material_fini(struct proxy_material *material)
{
	for (size_t i = 0; i < material->identity_count; i++)
		identity_unref(&material->identities[i]);
	if (material->trust)
		trust_unref(&material->trust);
	authorise_unref(&material->authorise);
	free(material->pins);
	*material = (struct proxy_material){0};
}

// ---- targets -------------------------------------------------------------------------------------------------------

static enum targets_selection selection_of(enum config_target_selection own, enum config_target_selection common)
{
	switch (own == CONFIG_TARGET_AS_PROXY ? common : own) {
	case CONFIG_TARGET_AS_PROXY:
	case CONFIG_TARGET_PRIORITY:
		return TARGETS_PRIORITY;
	case CONFIG_TARGET_ROUND_ROBIN:
		return TARGETS_ROUND_ROBIN;
	case CONFIG_TARGET_LEAST_CONNECTIONS:
		return TARGETS_LEAST_CONNECTIONS;
	}
	return TARGETS_PRIORITY;
}

struct split { // targets of one route, taken apart
	struct targets_address address[LIMIT_TARGETS_PER_ROUTE];
	char host[LIMIT_TARGETS_PER_ROUTE][TARGET_HOST_BYTES];
};

static void split(char *const *texts, size_t count, struct split *into)
{
	for (size_t i = 0; i < count; i++) {
		into->address[i] = (struct targets_address){.name = texts[i], .host = into->host[i]};
		// The schema has checked it.
		(void)target_split(texts[i], into->host[i], &into->address[i].port);
	}
}

int proxy_make_targets(const struct config *config, struct targets *old, struct targets **targets)
{
	const struct config_of_proxy *proxy = &config->proxy;
	size_t count = proxy->route_count + 1; // the last one is for every other name
	struct targets_route *routes = calloc(count, sizeof *routes);
	struct split *parts = calloc(count, sizeof *parts);
	int r = routes && parts ? 0 : -ENOMEM;
	for (size_t i = 0; r == 0 && i < proxy->route_count; i++) {
		const struct config_route *from = &proxy->routes[i];
		split(from->targets, from->target_count, &parts[i]);
		routes[i] = (struct targets_route){.names = (const char *const *)from->sni,
		                                   .name_count = from->sni_count,
		                                   .targets = parts[i].address,
		                                   .target_count = from->target_count,
		                                   .selection = selection_of(from->selection, proxy->target_selection)};
	}
	if (r == 0) {
		split(proxy->targets, proxy->target_count, &parts[count - 1]);
		routes[count - 1] = (struct targets_route){.targets = parts[count - 1].address,
		                                           .target_count = proxy->target_count,
		                                           .selection = selection_of(proxy->target_selection,
		                                                                     proxy->target_selection)};
		struct targets_settings settings = {.routes = routes,
		                                    .route_count = count,
		                                    .rise = proxy->health_rise,
		                                    .fall = proxy->health_fall};
		if (proxy->health_kind == CONFIG_HEALTH_OFF)
			settings.forgive_ms = proxy->health_interval_ms;
		r = targets_new(&settings, old, targets);
	}
	free(parts);
	free(routes);
	return r;
}

struct probes_settings proxy_probes_settings(const struct config *config)
{
	return (struct probes_settings){.is_off = config->proxy.health_kind == CONFIG_HEALTH_OFF,
	                                .interval_ms = config->proxy.health_interval_ms,
	                                .timeout_ms = config->proxy.health_timeout_ms};
}

// ---- TLS -----------------------------------------------------------------------------------------------------------

static enum tls_client_cert client_cert_of(enum config_client_cert mode)
{
	switch (mode) {
	case CONFIG_CLIENT_CERT_REQUIRED:
		return TLS_CLIENT_CERT_REQUIRED;
	case CONFIG_CLIENT_CERT_OPTIONAL:
		return TLS_CLIENT_CERT_OPTIONAL;
	case CONFIG_CLIENT_CERT_NONE:
		return TLS_CLIENT_CERT_NONE;
	}
	return TLS_CLIENT_CERT_REQUIRED;
}

static enum tls_pq pq_of(enum config_hybrid mode)
{
	switch (mode) {
	case CONFIG_HYBRID_REQUIRE:
		return TLS_PQ_REQUIRE;
	case CONFIG_HYBRID_PREFER:
		return TLS_PQ_PREFER;
	case CONFIG_HYBRID_OFF:
		return TLS_PQ_OFF;
	}
	return TLS_PQ_REQUIRE;
}

int proxy_make_profile(const struct config *config, const struct proxy_material *material, struct tls_profile **profile,
                       char problem[PROXY_PROBLEM_BYTES])
{
	_Static_assert(PROXY_PROBLEM_BYTES >= TLS_SIDECAR_PROBLEM_BYTES, "problems are handed on");
	const struct config_of_proxy *proxy = &config->proxy;
	struct tls_sidecar settings = {
		.is_client = proxy->mode == CONFIG_PROXY_CLIENT,
		.identities = material->identities,
		.identity_count = material->identity_count,
		.trust = material->trust,
		.pins = (const uint8_t(*)[TLS_PIN_BYTES])material->pins,
		.pin_count = material->pin_count,
		.client_cert = client_cert_of(proxy->client_cert_mode),
		.pq = pq_of(proxy->hybrid_mode),
		.signatures = proxy->signatures == CONFIG_SIGNATURES_PQ ? TLS_SIGNATURES_REQUIRE_PQ : TLS_SIGNATURES_ANY,
		.usage_may_be_absent = proxy->usage_may_be_absent,
		.allow_tls12 = proxy->min_tls == CONFIG_TLS_1_2,
		.alpn = (const char *const *)proxy->alpn,
		.alpn_count = proxy->alpn_count,
		.alpn_is_strict = proxy->alpn_count > 0,
	};
	return tls_sidecar_profile(&settings, profile, problem);
}

// ---- connections ---------------------------------------------------------------------------------------------------

struct sidecar_limits proxy_limits(const struct config *config)
{
	return (struct sidecar_limits){.connections_max = config->proxy.max_connections,
	                               .client_max = config->proxy.max_connections_per_client,
	                               .handshakes_max = LIMIT_STRANGERS,
	                               .rate_max = config->proxy.max_handshakes_per_client,
	                               .rate_window_ms = LIMIT_ADDRESS_WINDOW_MS};
}

static enum sidecar_header header_of(enum config_header_out kind)
{
	switch (kind) {
	case CONFIG_HEADER_OUT_OFF:
		return SIDECAR_HEADER_OFF;
	case CONFIG_HEADER_OUT_V1:
		return SIDECAR_HEADER_V1;
	case CONFIG_HEADER_OUT_V2:
		return SIDECAR_HEADER_V2;
	}
	return SIDECAR_HEADER_OFF;
}

static int judge(void *owner, X509 *certificate)
{
	const struct proxy_worker *worker = owner;
	return authorise_allows(worker->authorise, certificate) ? TLS_FAILURE_NONE : TLS_FAILURE_NOT_ALLOWED;
}

struct sidecars_settings proxy_sidecars_settings(struct proxy_worker *worker, struct tls_profile *profile)
{
	const struct proxy *proxy = worker->proxy;
	const struct config *config = proxy->config;
	authorise_unref(&worker->authorise);
	if (proxy->material.authorise)
		worker->authorise = authorise_ref(proxy->material.authorise);
	const struct config_of_proxy *from = &config->proxy;
	struct sidecars_settings settings = {
		.loop = worker->loop,
		.shares = proxy->shares,
		.profile = profile,
		.is_client = from->mode == CONFIG_PROXY_CLIENT,
		.targets = proxy->targets,
		.congestion = config->link.congestion,
		.keepalive_ms = config->link.keep_alive_interval_ms,
		.handshake_ms = from->handshake_timeout_ms,
		.connect_ms = from->connection_timeout_seconds * 1000,
		.idle_ms = from->idle_timeout_ms,
		.half_close_ms = from->half_close_timeout_ms,
		.lifetime_ms = from->max_age_seconds * 1000ULL,
		.key_update_bytes = config->crypto.tls_key_update_bytes,
		.takes_header = from->header_in == CONFIG_HEADER_IN_ACCEPT,
		.header_from = from->header_from,
		.header_from_count = from->header_from_count,
		.sends_header = header_of(from->header_out),
		.peer_name = from->server_name,
		.judge = judge,
		.judge_owner = worker,
	};
	if (proxy->material.identity_count > 0)
		identity_describe(identity_certificate(proxy->material.identities[0]), &settings.own);
	return settings;
}

bool proxy_try(const struct config *config, char problem[PROXY_PROBLEM_BYTES])
{
	struct proxy_material material;
	struct tls_profile *profile = NULL;
	int result = proxy_material_load(config, &material, problem);
	if (result == 0)
		result = proxy_make_profile(config, &material, &profile, problem);
	if (result < 0)
		snprintf(problem, PROXY_PROBLEM_BYTES, "%s", outcome_text(result));
	tls_profile_free(&profile);
	proxy_material_fini(&material);
	return result == 0;
}
