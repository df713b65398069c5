// The device of `qanat psk`: made, named, addressed; and taken back.

#include "cmd/psk_internal.h"

#include "cmd/tunnel_reload.h"
#include "core/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool is_initial(const char *text)
{
	return text && (strcmp(text, "fc11::1/126") == 0 || strcmp(text, "fc11::2/126") == 0);
}

static int set_addresses(struct psk *psk)
{
	const struct config *config = psk->config;
	char problem[TUN_ROUTES_PROBLEM_BYTES];
	struct tun_device_address list[] = {
		{.text = config->psk.ipv4, .peer = config->psk.peer_ipv4},
		// A machine without IPv6 keeps its tunnel when nobody has asked for that address in particular.
		{.text = config->psk.ipv6,
	     .peer = config->psk.peer_ipv6,
	     .may_fail = is_initial(config->psk.ipv6) && !config->psk.peer_ipv6[0]},
	};
	if (tun_device_set_addresses(psk->device, list, COUNT_OF(list), problem, sizeof problem) == 0)
		return 0;
	log_error("psk", "%s", problem);
	return 1;
}

// ---- its routes

_Static_assert(TUNNEL_RELOAD_PROBLEM_BYTES >= TUN_ROUTES_PROBLEM_BYTES, "a problem of routes is one of the reload");

// `host` is for the name of the server.
static struct tun_routes_settings routes_of(const struct psk *psk, const struct config *config, char host[256])
{
	struct tun_routes_settings settings = {.networks = (const char *const *)config->psk.routes,
	                                       .count = config->psk.route_count,
	                                       .kill_switch = config->psk.kill_switch};
	if (!psk->is_server && address_split(config->psk.server, host, 256, &settings.port) == 0)
		settings.server = host;
	return settings;
}

static int open_routes(struct psk *psk)
{
	char host[256], problem[TUN_ROUTES_PROBLEM_BYTES];
	struct tun_routes_settings settings = routes_of(psk, psk->config, host);
	if (tun_routes_open(psk->device, &settings, &psk->routes, problem) < 0) {
		log_error("psk", "%s", problem);
		return 1;
	}
	int result = tun_routes_follow(psk->routes, psk->loop, NULL, NULL);
	if (result < 0)
		log_error("psk", "changes of routes cannot be followed: %s", outcome_text(result));
	return result < 0;
}

int psk_routes_set(struct psk *psk, const struct config *next, char *problem)
{
	char host[256];
	struct tun_routes_settings settings = routes_of(psk, next, host);
	return tun_routes_set(psk->routes, &settings, problem);
}

// ---- its packets, a queue on each worker

static int open_queue(void *owner, unsigned index, struct loop *loop)
{
	struct psk *psk = owner;
	return index < tun_queue_count(psk->tun) ? packets_open(psk->packets, index, loop) : 0;
}

static int close_queue(void *owner, unsigned index, struct loop *loop)
{
	struct psk *psk = owner;
	(void)loop;
	if (index < tun_queue_count(psk->tun))
		packets_close(psk->packets, index);
	return 0;
}

// The networks from which packets may come through the tunnel.
static void add_source(struct cidr *sources, size_t *count, const char *text)
{
	struct netlink_address network;
	char plain[NETLINK_TEXT_BYTES];
	if (!text || !text[0] || netlink_parse(text, &network) != 0)
		return;
	netlink_normalise(&network);
	netlink_format(&network, plain);
	if (cidr_parse(plain, &sources[*count]) == 0)
		*count += 1;
}

// Negative: no memory, and the earlier list stays.
static int set_sources(struct psk *psk)
{
	const struct config *config = psk->config;
	struct cidr *sources = calloc(config->psk.route_count + 5, sizeof *sources);
	size_t count = 0;
	if (!sources)
		return -ENOMEM;
	if (config->psk.check_sources) {
		bool has_peer4 = config->psk.peer_ipv4 && config->psk.peer_ipv4[0];
		bool has_peer6 = config->psk.peer_ipv6 && config->psk.peer_ipv6[0];
		add_source(sources, &count, has_peer4 ? config->psk.peer_ipv4 : config->psk.ipv4);
		add_source(sources, &count, has_peer6 ? config->psk.peer_ipv6 : config->psk.ipv6);
		// What its kernel says for itself: neighbours, groups.
		add_source(sources, &count, "fe80::/10");
		add_source(sources, &count, "::/128");
		for (size_t i = 0; i < config->psk.route_count; i++)
			add_source(sources, &count, config->psk.routes[i]);
	}
	int result = packets_set_sources(psk->packets, sources, count);
	free(sources);
	return result;
}

void psk_device_set(struct psk *psk)
{
	if (set_sources(psk) < 0)
		log_error("psk", "no memory for the sources that may come in: the earlier ones stay");
	packets_set_clamp(psk->packets, psk->config->psk.clamp_mss ? psk->config->psk.mtu : 0);
	packets_set_renewal(psk->packets, psk->config->psk.key_rotation_interval_seconds * 1000, LIMIT_TLS_KEY_BYTES);
}

static int open_packets(struct psk *psk)
{
	int result = packets_new(psk->loop, psk->tun, psk_session_on_lost, psk, &psk->packets);
	if (result == 0)
		result = workers_each(psk->workers, open_queue, psk);
	if (result < 0) {
		log_error("psk", "%s: no memory for its packets: %s", tun_name(psk->tun), outcome_text(result));
		return 1;
	}
	psk_device_set(psk);
	return 0;
}

int psk_device_open(struct psk *psk)
{
	struct tun_device_settings settings = {.name = psk->config->psk.device,
	                                       .offload = psk->config->psk.offload,
	                                       .queues = workers_count(psk->workers),
	                                       .mtu = psk->config->psk.mtu,
	                                       .gso_bytes = TUN_PACKET_BYTES - 1};
	if (tun_device_open(&settings, &psk->device) != 0)
		return 1;
	psk->tun = tun_device_tun(psk->device);
	if (set_addresses(psk) != 0 || open_routes(psk) != 0)
		return 1;
	return open_packets(psk);
}

void psk_device_stop(struct psk *psk)
{
	if (psk->packets)
		(void)!workers_each(psk->workers, close_queue, psk);
}

void psk_device_close(struct psk *psk)
{
	packets_free(&psk->packets);
	tun_routes_close(&psk->routes);
	tun_device_close(&psk->device);
}
