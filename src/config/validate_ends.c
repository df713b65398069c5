#include "config/validate_ends.h"

#include "config/target.h"
#include "config/value_text.h"
#include "limits.h"
#include "net/address.h"

#include <string.h>
#include <strings.h>

static struct tree_place place_of_item(const struct load *load, const char *path, size_t index)
{
	const struct load_setting *setting = load_setting(load, path);
	return setting->item_places ? setting->item_places[index] : setting->place;
}

static bool is_unix(const char *text)
{
	return strncmp(text, "unix:", 5) == 0;
}

// ---- what is listened on -------------------------------------------------------------------------------------------

static bool is_any(const struct address *address)
{
	if (address->any.sa_family == AF_INET)
		return address->in4.sin_addr.s_addr == INADDR_ANY;
	return address->any.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&address->in6.sin6_addr);
}

static uint16_t port_of(const struct address *address)
{
	return address->any.sa_family == AF_INET ? address->in4.sin_port : address->in6.sin6_port;
}

// Whether a connection to `to` arrives at a listener on `at`, as far as addresses tell.
static bool arrives(const struct address *to, const struct address *at)
{
	if (address_is_unix(to) || address_is_unix(at))
		return address_is_unix(to) && address_is_unix(at) && strcmp(to->un.sun_path, at->un.sun_path) == 0;
	if (port_of(to) != port_of(at))
		return false;
	if (is_any(at))
		return address_is_loopback(to) || is_any(to);
	return address_is_same_host(to, at) || (is_any(to) && address_is_loopback(at));
}

// The first address listened on that a connection to `text` arrives at; NULL: none, or a name that only a resolver
// knows.
static const char *find_listener(const struct config_of_proxy *proxy, const char *text)
{
	struct address to, at;
	if (address_parse(text, &to) != 0)
		return NULL;
	for (size_t i = 0; i < proxy->listen_count; i++)
		if (address_parse(proxy->listen[i], &at) == 0 && arrives(&to, &at))
			return proxy->listen[i];
	return NULL;
}

// Whether one of two listeners keeps the other from being opened; [::] takes IPv4 as well.
static bool excludes(const struct address *a, const struct address *b)
{
	if (address_is_unix(a) || address_is_unix(b))
		return address_is_unix(a) && address_is_unix(b) && strcmp(a->un.sun_path, b->un.sun_path) == 0;
	if (port_of(a) != port_of(b))
		return false;
	if (is_any(a) && (a->any.sa_family == AF_INET6 || b->any.sa_family == AF_INET))
		return true;
	if (is_any(b) && (b->any.sa_family == AF_INET6 || a->any.sa_family == AF_INET))
		return true;
	return address_is_same_host(a, b);
}

static const char *find_rival(const struct config_of_proxy *proxy, size_t index)
{
	struct address own, other;
	if (address_parse(proxy->listen[index], &own) != 0)
		return NULL;
	for (size_t i = 0; i < index; i++)
		if (address_parse(proxy->listen[i], &other) == 0 && excludes(&own, &other))
			return proxy->listen[i];
	return NULL;
}

static void check_socket_path(struct load *load, size_t index)
{
	const struct config *config = load->config;
	const char *path = config->proxy.listen[index] + strlen("unix:"), *metrics = config->metrics.metrics_bind_ip;
	const char *other = NULL;
	if (config->control.socket && strcmp(config->control.socket, path) == 0)
		other = "control.socket";
	if (config->metrics.enabled && metrics && is_unix(metrics) && strcmp(metrics + strlen("unix:"), path) == 0)
		other = "metrics.metrics_bind_ip";
	if (other)
		problem_add(&load->problems, place_of_item(load, "proxy.listen", index), "proxy.listen",
		            "%s is the path of %s as well", path, other);
}

static void check_metrics(struct load *load, size_t index)
{
	const struct config *config = load->config;
	struct address at, metrics;
	if (!config->metrics.enabled || config->metrics.metrics_port == 0 || is_unix(config->metrics.metrics_bind_ip) ||
	    address_parse(config->proxy.listen[index], &at) != 0 || address_is_unix(&at) ||
	    address_from_ip(config->metrics.metrics_bind_ip, config->metrics.metrics_port, &metrics) != 0)
		return;
	bool is_taken = port_of(&at) == port_of(&metrics) &&
	                (is_any(&at) || is_any(&metrics) || address_is_same_host(&at, &metrics));
	if (is_taken)
		problem_add(&load->problems, load_setting(load, "metrics.metrics_port")->place, "metrics.metrics_port",
		            "port %u is used by proxy.listen already", (unsigned)config->metrics.metrics_port);
}

static void check_listen(struct load *load)
{
	const struct config_of_proxy *proxy = &load->config->proxy;
	if (proxy->listen_count == 0 && !load_setting(load, "proxy.listen")->is_bad)
		problem_add(&load->problems, load_setting(load, "proxy.listen")->place, "proxy.listen",
		            "at least one address is needed");
	for (size_t i = 0; i < proxy->listen_count; i++) {
		struct tree_place place = place_of_item(load, "proxy.listen", i);
		const char *text = proxy->listen[i], *fault = target_listen_fault(text);
		if (fault)
			problem_add(&load->problems, place, "proxy.listen", "\"%s\" %s", text, fault);
		else if (find_rival(proxy, i))
			problem_add(&load->problems, place, "proxy.listen", "%s is listened on already, by %s", text,
			            find_rival(proxy, i));
		if (!fault && is_unix(text))
			check_socket_path(load, i);
		if (!fault)
			check_metrics(load, i);
	}
}

// ---- targets -------------------------------------------------------------------------------------------------------

static bool is_on_this_machine(const char *host)
{
	struct address address;
	if (is_unix(host) || strcasecmp(host, "localhost") == 0)
		return true;
	return address_from_ip(host, 0, &address) == 0 && (address_is_loopback(&address) || is_any(&address));
}

struct ends { // of one list of targets
	const char *path;
	struct tree_place place; // unless each item has its own
	bool has_item_places;
	char *const *targets;
	size_t count;
};

static struct tree_place place_in(const struct load *load, const struct ends *ends, size_t index)
{
	return ends->has_item_places ? place_of_item(load, ends->path, index) : ends->place;
}

static void check_target(struct load *load, const struct ends *ends, size_t index)
{
	const struct config_of_proxy *proxy = &load->config->proxy;
	const char *text = ends->targets[index];
	struct tree_place place = place_in(load, ends, index);
	char host[TARGET_HOST_BYTES];
	uint16_t port;
	const char *fault = target_split(text, host, &port);
	if (fault) {
		problem_add(&load->problems, place, ends->path, "\"%s\" %s", text, fault);
		return;
	}
	for (size_t i = 0; i < index; i++)
		if (strcmp(ends->targets[i], text) == 0)
			problem_add(&load->problems, place, ends->path, "%s is listed twice", text);
	const char *listener = find_listener(proxy, text);
	if (listener)
		problem_add(&load->problems, place, ends->path, "%s is where this proxy listens itself (%s)", text, listener);
	if (proxy->mode == CONFIG_PROXY_SERVER && !is_on_this_machine(host))
		problem_add(&load->notes, place, ends->path,
		            "%s may be another machine: what is sent there is not encrypted any more", text);
}

static void check_targets(struct load *load, const struct ends *ends)
{
	if (ends->count == 0)
		problem_add(&load->problems, ends->place, ends->path, "at least one target is needed");
	if (ends->count > LIMIT_TARGETS_PER_ROUTE) {
		problem_add(&load->problems, ends->place, ends->path, "has more than %d targets", LIMIT_TARGETS_PER_ROUTE);
		return;
	}
	for (size_t i = 0; i < ends->count; i++)
		check_target(load, ends, i);
}

// ---- routes --------------------------------------------------------------------------------------------------------

static const char *sni_fault(const char *name)
{
	static const struct schema_key host_key = {.type = SCHEMA_HOST};
	struct address address;
	const char *rest = strncmp(name, "*.", 2) == 0 ? name + 2 : name;
	if (address_from_ip(name, 0, &address) == 0)
		return "is an IP address, which no client asks for by SNI";
	if (strchr(rest, '*'))
		return "may have one '*', which stands for the first label: *.example.com";
	return value_text_fault(&host_key, rest);
}

static bool is_routed_before(const struct config_of_proxy *proxy, size_t route, size_t index)
{
	const char *name = proxy->routes[route].sni[index];
	for (size_t i = 0; i <= route; i++)
		for (size_t k = 0; k < (i < route ? proxy->routes[i].sni_count : index); k++)
			if (strcasecmp(proxy->routes[i].sni[k], name) == 0)
				return true;
	return false;
}

static void check_route(struct load *load, size_t index)
{
	const struct config_of_proxy *proxy = &load->config->proxy;
	const struct config_route *route = &proxy->routes[index];
	struct tree_place place = place_of_item(load, "proxy.routes", index);
	struct ends ends = {.path = "proxy.routes",
	                    .place = place,
	                    .targets = route->targets,
	                    .count = route->target_count};
	if (route->sni_count == 0)
		problem_add(&load->problems, place, "proxy.routes",
		            "\"sni\" is empty; where other names go is what proxy.targets says");
	for (size_t i = 0; i < route->sni_count; i++) {
		const char *fault = sni_fault(route->sni[i]);
		if (fault)
			problem_add(&load->problems, place, "proxy.routes", "\"%s\" %s", route->sni[i], fault);
		else if (is_routed_before(proxy, index, i))
			problem_add(&load->problems, place, "proxy.routes", "the name \"%s\" is given twice", route->sni[i]);
	}
	check_targets(load, &ends);
}

// ---- all of it -----------------------------------------------------------------------------------------------------

// Whoever reaches the plain side of a client speaks with its certificate.
static void note_open_door(struct load *load)
{
	const struct config_of_proxy *proxy = &load->config->proxy;
	struct address at;
	for (size_t i = 0; i < proxy->listen_count && load_is_given(load, "proxy.listen"); i++)
		if (address_parse(proxy->listen[i], &at) == 0 && !address_is_loopback(&at))
			problem_add(&load->notes, place_of_item(load, "proxy.listen", i), "proxy.listen",
			            "%s can be reached from other machines, without encryption and without a question who they are",
			            proxy->listen[i]);
}

void validate_ends(struct load *load)
{
	const struct config_of_proxy *proxy = &load->config->proxy;
	const struct load_setting *targets = load_setting(load, "proxy.targets");
	struct ends ends = {.path = "proxy.targets",
	                    .place = targets->place,
	                    .has_item_places = targets->item_places != NULL,
	                    .targets = proxy->targets,
	                    .count = proxy->target_count};
	bool is_missing = proxy->mode == CONFIG_PROXY_CLIENT && targets->origin == LOAD_DEFAULT;
	check_listen(load);
	if (!is_missing && !targets->is_bad)
		check_targets(load, &ends);
	for (size_t i = 0; i < proxy->route_count; i++)
		check_route(load, i);
	if (proxy->mode == CONFIG_PROXY_CLIENT)
		note_open_door(load);
}
