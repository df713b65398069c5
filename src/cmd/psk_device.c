// The device of `qanat psk`: made, named, addressed; and taken back.

#include "cmd/psk_internal.h"

#include "core/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail(const struct psk *psk, const char *what, int result)
{
	log_error("psk", "%s: %s: %s", psk->tun ? tun_name(psk->tun) : psk->config->psk.device, what, outcome_text(result));
	return 1;
}

static int open_tun(struct psk *psk)
{
	struct tun_settings settings = {.name = psk->config->psk.device,
	                                .offload = psk->config->psk.offload,
	                                .queues = workers_count(psk->workers)};
	int result = tun_open(&settings, &psk->tun);
	if (result == -EPERM || result == -EACCES)
		return fail(psk, "making a TUN device needs root or CAP_NET_ADMIN", result);
	if (result == -ENOENT || result == -ENODEV || result == -ENXIO)
		return fail(psk, "there is no /dev/net/tun here (modprobe tun; a container must be given the device)", result);
	if (result == -EBUSY)
		return fail(psk, "another program uses this device", result);
	return result < 0 ? fail(psk, "the TUN device cannot be made", result) : 0;
}

static int add_address(struct psk *psk, const char *text, const char *peer_text)
{
	struct netlink_address address, peer;
	bool has_peer = peer_text && peer_text[0];
	if (!text || !text[0])
		return 0;
	// Both have been checked with the configuration.
	if (netlink_parse(text, &address) != 0 || (has_peer && netlink_parse(peer_text, &peer) != 0))
		return -EINVAL;
	return netlink_add_address(psk->netlink, &address, has_peer ? &peer : NULL);
}

// A machine without IPv6 keeps its tunnel when nobody has asked for that address in particular.
static int add_ipv6(struct psk *psk)
{
	const char *text = psk->config->psk.ipv6;
	int result = add_address(psk, text, psk->config->psk.peer_ipv6);
	bool is_initial = text && (strcmp(text, "fc11::1/126") == 0 || strcmp(text, "fc11::2/126") == 0);
	if (result == 0 || !is_initial || psk->config->psk.peer_ipv6[0])
		return result;
	log_warn("psk", "%s: no IPv6 address: %s", tun_name(psk->tun), outcome_text(result));
	return 0;
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
	if (result < 0)
		return fail(psk, "no memory for its packets", result);
	psk_device_set(psk);
	return 0;
}

int psk_device_open(struct psk *psk)
{
	const struct config *config = psk->config;
	if (open_tun(psk) != 0)
		return 1;
	int result = netlink_open(tun_name(psk->tun), &psk->netlink);
	if (result < 0)
		return fail(psk, "the kernel's network configuration cannot be reached", result);
	result = netlink_bring_up(psk->netlink, config->psk.mtu, TUN_PACKET_BYTES - 1);
	if (result < 0)
		return fail(psk, "the device cannot be brought up", result);
	result = add_address(psk, config->psk.ipv4, config->psk.peer_ipv4);
	if (result < 0)
		return fail(psk, "the IPv4 address is refused", result);
	result = add_ipv6(psk);
	if (result < 0)
		return fail(psk, "the IPv6 address is refused", result);
	if (psk_routes_open(psk) != 0)
		return 1;
	if (open_packets(psk) != 0)
		return 1;
	log_info("psk", "device %s, mtu %u, addresses %s %s; the kernel joins %s", tun_name(psk->tun), config->psk.mtu,
	         config->psk.ipv4, config->psk.ipv6,
	         tun_joins_udp(psk->tun)   ? "TCP and UDP packets"
	         : tun_joins_tcp(psk->tun) ? "TCP packets"
	                                   : "no packets");
	return 0;
}

void psk_device_stop(struct psk *psk)
{
	if (psk->packets)
		(void)!workers_each(psk->workers, close_queue, psk);
}

void psk_device_close(struct psk *psk)
{
	packets_free(&psk->packets);
	netlink_close(&psk->netlink);
	tun_close(&psk->tun);
}
