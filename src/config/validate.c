#include "config/validate.h"
#include "config/dests.h"
#include "config/validate_agent.h"
#include "config/validate_hub.h"
#include "config/validate_life.h"
#include "config/validate_proxy.h"
#include "config/validate_psk.h"
#include "config/validate_vpn.h"
#include "config/text.h"
#include "config/value_text.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define HOST_NAME_BYTES 256
#define DEFAULT_LISTEN_PORT 8443

static void add(struct load *load, const char *path, const char *other, const char *message)
{
	struct tree_place place = load_is_given(load, path) ? load_setting(load, path)->place
	                                                    : load_setting(load, other)->place;
	problem_add(&load->problems, place, path, "%s", message);
}

static struct tree_place place_of_item(const struct load *load, const char *path, size_t index)
{
	const struct load_setting *setting = load_setting(load, path);
	return setting->item_places ? setting->item_places[index] : setting->place;
}

// ---- defaults that depend

// As long as a silent peer is tolerated: link/control has the same formula.
static void complete_user_timeout(struct load *load)
{
	struct config *config = load->config;
	uint64_t interval = config->link.heartbeat_interval_ms, timeout = config->link.heartbeat_timeout_ms;
	if (load_is_given(load, "link.user_timeout_ms"))
		return;
	if (load->command == CONFIG_AGENT) { // it has a PING of its own, and waits no longer for the answer
		interval = config->agent.ping_seconds * 1000ULL;
		timeout = timeout < interval ? timeout : interval;
	}
	uint64_t budget = interval * config->link.max_missed_pongs;
	if (budget < interval + timeout)
		budget = interval + timeout;
	config->link.user_timeout_ms = (uint32_t)(budget < INT32_MAX ? budget : INT32_MAX);
}

void validate_complete(struct load *load)
{
	struct config *config = load->config;
	bool has_listeners = config->source.mode == CONFIG_MODE_TRANSPARENT &&
	                     (config->source.exposed_count > 0 || config->source.forward_count > 0);
	if (load->command == CONFIG_SOURCE && !has_listeners && !load_is_given(load, "source.listen_port"))
		config->source.listen_port = DEFAULT_LISTEN_PORT;
	complete_user_timeout(load);
	if (load->command == CONFIG_PSK_SERVER || load->command == CONFIG_PSK_CLIENT)
		validate_psk_complete(load);
	if (load->command == CONFIG_VPN_SERVER || load->command == CONFIG_VPN_CLIENT)
		validate_vpn_complete(load);
	if (load->command == CONFIG_PROXY)
		validate_proxy_complete(load);
	if (load->command == CONFIG_AGENT)
		validate_agent_complete(load);
	if (config->node.name || load_is_given(load, "node.name"))
		return;
	char name[HOST_NAME_BYTES] = "";
	// Syscalls: uname
	if (gethostname(name, sizeof name - 1) != 0 || value_text_fault(schema_find("node.name", load->command), name))
		problem_add(&load->problems, (struct tree_place){0}, "node.name",
		            "this machine's host name does not do as a name; set it here");
	else
		config->node.name = text_copy(name);
}

// ---- required

static void refuse_missing(struct load *load, const struct schema_key *key)
{
	char environment[SCHEMA_ENVIRONMENT_BYTES];
	schema_environment(key, environment);
	const char *dot = strrchr(key->path, '.');
	struct tree_place place = {.name = load->has_file ? load->file : NULL};
	if (key->type == SCHEMA_TABLES)
		problem_add(&load->problems, place, key->path, "at least one is required: [[%s]], or flag %s %s", key->path,
		            key->flag, key->value_name);
	else
		problem_add(&load->problems, place, key->path,
		            "required, but not given: \"%s\" in [%.*s], flag %s or environment %s", dot + 1,
		            (int)(dot - key->path), key->path, key->flag, environment);
}

static bool is_tables_empty(const struct load *load, const struct schema_key *key)
{
	size_t count = 0;
	if (key->type == SCHEMA_TABLES)
		memcpy(&count, (const char *)load->config + key->count_offset, sizeof count);
	return key->type == SCHEMA_TABLES && count == 0;
}

static void check_required(struct load *load)
{
	size_t before = load->problems.count;
	for (size_t i = 0; i < schema.count; i++) {
		const struct schema_key *key = &schema.keys[i];
		if (!(key->required & schema_command_bit(load->command)))
			continue;
		const struct load_setting *setting = &load->settings[i];
		if (dests_replace(load, key->path))
			continue;
		if (setting->origin == LOAD_DEFAULT || (is_tables_empty(load, key) && !setting->is_bad))
			refuse_missing(load, key);
	}
	const char *section = schema_command_section(load->command);
	bool is_vpn = load->command == CONFIG_VPN_SERVER || load->command == CONFIG_VPN_CLIENT;
	bool has_section = load->command == CONFIG_SOURCE ? load->has_source
	                   : load->command == CONFIG_DEST ? load->has_dest
	                   : is_vpn                       ? load->has_vpn
	                                                  : load->has_psk;
	if (load->problems.count > before && load->has_file && !has_section)
		problem_add(&load->problems, (struct tree_place){.name = load->file}, "", "the file has no section [%s]",
		            section);
	if (load->problems.count > before && !load->has_file)
		problem_add(&load->problems, (struct tree_place){.name = load->file}, "",
		            "there is no such file; name one with --config");
}

// ---- patterns of certificates

// A prefix that is almost one of ours would be read as part of a name and match nothing, silently.
static bool has_wrong_prefix(const char *pattern)
{
	static const char *const good[] = {"CN=", "DNS:", "URI:"}, *const bad[] = {"CN", "DNS", "URI",
	                                                                           "IP", "SAN", "EMAIL"};
	for (size_t i = 0; i < COUNT_OF(good); i++)
		if (strncmp(pattern, good[i], strlen(good[i])) == 0)
			return false;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		size_t length = strlen(bad[i]);
		if (strncasecmp(pattern, bad[i], length) == 0 && (pattern[length] == ':' || pattern[length] == '='))
			return true;
	}
	return false;
}

static void check_patterns(struct load *load, const char *key, struct tree_place place, char *const *patterns,
                           size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (has_wrong_prefix(patterns[i]))
			problem_add(&load->problems, place, key,
			            "\"%s\": a pattern begins with \"CN=\", \"DNS:\" or \"URI:\", or with none of them",
			            patterns[i]);
}

// ---- protocols

// TCP and UDP have ports of their own.
static bool do_meet(enum config_protocol a, enum config_protocol b)
{
	return a == b || a == CONFIG_BOTH || b == CONFIG_BOTH;
}

static bool is_unix(const char *endpoint)
{
	return strncmp(endpoint, "unix:", 5) == 0;
}

// ---- source

static void check_exposed_ports(struct load *load)
{
	const struct config *config = load->config;
	for (size_t i = 0; i < config->source.exposed_count; i++)
		for (size_t j = 0; j < i; j++) {
			const struct config_exposed_port *a = &config->source.exposed_ports[i],
											 *b = &config->source.exposed_ports[j];
			const char *ip_a = a->listen_ip ? a->listen_ip : config->source.listen_ip;
			const char *ip_b = b->listen_ip ? b->listen_ip : config->source.listen_ip;
			if (a->port != b->port || strcmp(ip_a, ip_b) != 0 || !do_meet(a->protocol, b->protocol))
				continue;
			problem_add(&load->problems, place_of_item(load, "source.exposed_ports", i), "source.exposed_ports",
			            "port %u on %s is listed twice", (unsigned)a->port, ip_a);
			break;
		}
}

static char *endpoint_text(const char *ip, unsigned port)
{
	return text_format(strchr(ip, ':') ? "[%s]:%u" : "%s:%u", ip, port);
}

static bool is_exposed(const struct config *config, const struct config_forward *forward)
{
	bool is_found = false;
	for (size_t i = 0; i < config->source.exposed_count && !is_found; i++) {
		const struct config_exposed_port *port = &config->source.exposed_ports[i];
		char *text = endpoint_text(port->listen_ip ? port->listen_ip : config->source.listen_ip, port->port);
		is_found = strcmp(text, forward->listen) == 0 && do_meet(port->protocol, forward->protocol);
		free(text);
	}
	return is_found;
}

static bool is_same_listener(const char *a, const char *b)
{
	bool is_any = strcmp(a, "0.0.0.0") == 0 || strcmp(a, "::") == 0 || strcmp(b, "0.0.0.0") == 0 ||
	              strcmp(b, "::") == 0;
	return is_any || strcmp(a, b) == 0;
}

// Whether an exposed port or a forward is listened on there, by TCP.
static bool has_listener(const struct config *config, const char *ip, unsigned port)
{
	for (size_t i = 0; i < config->source.exposed_count; i++) {
		const struct config_exposed_port *exposed = &config->source.exposed_ports[i];
		const char *listen_ip = exposed->listen_ip ? exposed->listen_ip : config->source.listen_ip;
		if (exposed->protocol != CONFIG_UDP && exposed->port == port && is_same_listener(listen_ip, ip))
			return true;
	}
	char *endpoint = endpoint_text(ip, port);
	bool is_forward = false;
	for (size_t i = 0; i < config->source.forward_count; i++) {
		const struct config_forward *forward = &config->source.forwards[i];
		is_forward = is_forward || (forward->protocol != CONFIG_UDP && strcmp(forward->listen, endpoint) == 0);
	}
	free(endpoint);
	return is_forward;
}

static void check_forwards(struct load *load)
{
	const struct config *config = load->config;
	for (size_t i = 0; i < config->source.forward_count; i++) {
		const struct config_forward *forward = &config->source.forwards[i];
		struct tree_place place = place_of_item(load, "source.forwards", i);
		bool is_double = is_exposed(config, forward);
		for (size_t j = 0; j < i && !is_double; j++)
			is_double = strcmp(forward->listen, config->source.forwards[j].listen) == 0 &&
			            do_meet(forward->protocol, config->source.forwards[j].protocol);
		if (is_double)
			problem_add(&load->problems, place, "source.forwards", "%s is listened on already", forward->listen);
		if (forward->protocol != CONFIG_TCP && is_unix(forward->listen))
			problem_add(&load->problems, place, "source.forwards",
			            "%s: a Unix socket carries tcp only; udp is listened on at an IP address and port",
			            forward->listen);
	}
}

// What the entry's port means beside the other keys: nothing in transparent mode, a listener of its own otherwise.
static void check_mode(struct load *load)
{
	struct config *config = load->config;
	bool has_lists = config->source.exposed_count + config->source.forward_count > 0;
	uint16_t port = config->source.listen_port;
	struct tree_place place = load_setting(load, "source.listen_port")->place;
	if (config->source.mode == CONFIG_MODE_TRANSPARENT && has_lists && port > 0) {
		problem_add(&load->notes, place, "source.listen_port",
		            "port %u is not opened, because there are exposed_ports or forwards", (unsigned)port);
		config->source.listen_port = 0;
	}
	if (config->source.mode == CONFIG_MODE_PROTOCOL && has_lists)
		problem_add(&load->notes, load_setting(load, "source.mode")->place, "source.mode",
		            "protocol: exposed_ports and forwards are not listened on; they say what the entry's clients may "
		            "ask for (hybrid does both)");
	if (config->source.mode == CONFIG_MODE_HYBRID && !has_lists)
		problem_add(&load->notes, load_setting(load, "source.mode")->place, "source.mode",
		            "hybrid without exposed_ports and forwards is the same as protocol");
	if (config->source.mode == CONFIG_MODE_HYBRID && port > 0 && has_listener(config, config->source.listen_ip, port))
		problem_add(&load->problems, place, "source.listen_port",
		            "port %u is listened on for exposed_ports or forwards already", (unsigned)port);
}

static void check_source(struct load *load)
{
	struct config *config = load->config;
	check_exposed_ports(load);
	check_forwards(load);
	check_mode(load);
	dests_check(load);
	if (config->source.initial_reconnect_delay_ms > config->source.max_reconnect_delay_ms)
		add(load, "source.initial_reconnect_delay_ms", "source.max_reconnect_delay_ms",
		    "is longer than source.max_reconnect_delay_ms");
	if (!config->source.reconnection_enabled && config->source.max_reconnect_attempts > 0)
		problem_add(&load->problems, load_setting(load, "source.max_reconnect_attempts")->place,
		            "source.max_reconnect_attempts", "contradicts source.reconnection_enabled = false");
}

// ---- dest

static void check_target(struct load *load, const struct config_service *service, struct tree_place place)
{
	bool has_path = is_unix(service->target_host);
	if (has_path && service->target_port > 0)
		problem_add(&load->problems, place, "dest.exposed_services", "service \"%s\": a Unix socket has no target_port",
		            service->name);
	if (!has_path && service->target_port == 0)
		problem_add(&load->problems, place, "dest.exposed_services", "service \"%s\": \"target_port\" is missing",
		            service->name);
	if (has_path && service->protocol != CONFIG_TCP)
		problem_add(&load->problems, place, "dest.exposed_services",
		            "service \"%s\": a Unix socket carries tcp only; udp needs a target with an address and a port",
		            service->name);
	if (service->protocol == CONFIG_UDP && service->proxy != CONFIG_PROXY_OFF)
		problem_add(&load->problems, place, "dest.exposed_services",
		            "service \"%s\": proxy_protocol is for tcp; datagrams carry no such header", service->name);
}

static void check_services(struct load *load)
{
	const struct config *config = load->config;
	for (size_t i = 0; i < config->dest.service_count; i++) {
		const struct config_service *service = &config->dest.services[i];
		struct tree_place place = place_of_item(load, "dest.exposed_services", i);
		check_patterns(load, "dest.exposed_services", place, service->allowed_clients, service->allowed_client_count);
		check_target(load, service, place);
		for (size_t j = 0; j < i; j++) {
			const struct config_service *other = &config->dest.services[j];
			if (strcmp(service->name, other->name) == 0)
				problem_add(&load->problems, place, "dest.exposed_services", "the name \"%s\" is given to two services",
				            service->name);
			if (service->port == other->port && do_meet(service->protocol, other->protocol))
				problem_add(&load->problems, place, "dest.exposed_services",
				            "port %u is given to two services, \"%s\" and \"%s\"", (unsigned)service->port, other->name,
				            service->name);
		}
	}
}

// ---- both

static bool is_taken(const struct config *config, enum config_command command, const char *ip, unsigned port)
{
	if (command == CONFIG_DEST)
		return config->dest.tunnel_port == port && is_same_listener(config->dest.listen_ip, ip);
	if (command == CONFIG_VPN_SERVER || command == CONFIG_VPN_CLIENT)
		return false; // likewise
	if (command == CONFIG_HUB)
		return config->hub.listen_port == port && is_same_listener(config->hub.listen_ip, ip);
	if (command == CONFIG_PROXY || command == CONFIG_AGENT)
		return false; // config/validate_ends.h has asked
	if (command == CONFIG_PSK_SERVER || command == CONFIG_PSK_CLIENT)
		return false; // a clash shows when the second one is opened
	if (config->source.listen_port == port && is_same_listener(config->source.listen_ip, ip))
		return true;
	return config->source.mode != CONFIG_MODE_PROTOCOL && has_listener(config, ip, port);
}

static void check_metrics(struct load *load)
{
	const struct config *config = load->config;
	const char *ip = config->metrics.metrics_bind_ip;
	if (!config->metrics.enabled || config->metrics.metrics_port == 0 || strncmp(ip, "unix:", 5) == 0)
		return;
	if (is_taken(config, load->command, ip, config->metrics.metrics_port))
		problem_add(&load->problems, load_setting(load, "metrics.metrics_port")->place, "metrics.metrics_port",
		            "port %u is used by %s already", (unsigned)config->metrics.metrics_port,
		            schema_command_name(load->command));
}

void validate(struct load *load)
{
	if (!load->is_unreadable)
		check_required(load);
	switch (load->command) {
	case CONFIG_SOURCE:
		check_source(load);
		break;
	case CONFIG_DEST:
		check_services(load);
		break;
	case CONFIG_PSK_SERVER:
	case CONFIG_PSK_CLIENT:
		validate_psk(load);
		break;
	case CONFIG_VPN_SERVER:
	case CONFIG_VPN_CLIENT:
		validate_vpn(load);
		break;
	case CONFIG_HUB:
		validate_hub(load);
		break;
	case CONFIG_PROXY:
		validate_proxy(load);
		break;
	case CONFIG_AGENT:
		validate_agent(load);
		break;
	}
	check_patterns(load, "auth.allowed_peers", load_setting(load, "auth.allowed_peers")->place,
	               load->config->auth.allowed_peers, load->config->auth.allowed_peer_count);
	validate_life(load);
	check_metrics(load);
}
