#include "cmd/tun_device.h"

#include "core/log.h"
#include "limits.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct held {
	struct netlink_address address, peer;
	bool has_peer;
};

struct tun_device {
	struct tun *tun;
	struct netlink *netlink;
	struct held held[LIMIT_TUN_ADDRESSES];
	size_t held_count;
};

static int fail(const char *name, const char *what, int result)
{
	log_error("tun_device", "%s: %s: %s", name, what, outcome_text(result));
	return 1;
}

static int open_tun(const struct tun_device_settings *settings, struct tun **tun)
{
	struct tun_settings wanted = {.name = settings->name, .offload = settings->offload, .queues = settings->queues};
	const char *name = settings->name;
	int result = tun_open(&wanted, tun);
	if (result == -EPERM || result == -EACCES)
		return fail(name, "making a TUN device needs root or CAP_NET_ADMIN", result);
	if (result == -ENOENT || result == -ENODEV || result == -ENXIO)
		return fail(name, "there is no /dev/net/tun here (modprobe tun; a container must be given the device)", result);
	if (result == -EBUSY)
		return fail(name, "another program uses this device", result);
	return result < 0 ? fail(name, "the TUN device cannot be made", result) : 0;
}

static int bring_up(struct tun_device *device, const struct tun_device_settings *settings)
{
	const char *name = tun_name(device->tun);
	int result = netlink_open(name, &device->netlink);
	if (result < 0)
		return fail(name, "the kernel's network configuration cannot be reached", result);
	result = netlink_bring_up(device->netlink, settings->mtu, settings->gso_bytes);
	return result < 0 ? fail(name, "the device cannot be brought up", result) : 0;
}

int tun_device_open(const struct tun_device_settings *settings, struct tun_device **device)
{
	struct tun_device *opened = calloc(1, sizeof *opened);
	if (!opened)
		return fail(settings->name, "the TUN device cannot be made", -ENOMEM);
	int status = open_tun(settings, &opened->tun);
	if (status == 0)
		status = bring_up(opened, settings);
	if (status != 0) {
		tun_device_close(&opened);
		return status;
	}
	log_info("tun_device", "device %s, mtu %u, %u queues; the kernel joins %s", tun_name(opened->tun), settings->mtu,
	         tun_queue_count(opened->tun),
	         tun_joins_udp(opened->tun)   ? "TCP and UDP packets"
	         : tun_joins_tcp(opened->tun) ? "TCP packets"
	                                      : "no packets");
	*device = opened;
	return 0;
}

void tun_device_close(struct tun_device **device)
{
	struct tun_device *closing = *device;
	if (!closing)
		return;
	*device = NULL;
	netlink_close(&closing->netlink);
	tun_close(&closing->tun);
	free(closing);
}

struct tun *tun_device_tun(const struct tun_device *device)
{
	return device->tun;
}

struct netlink *tun_device_netlink(const struct tun_device *device)
{
	return device->netlink;
}

// ---- addresses

static bool is_same(const struct held *a, const struct held *b)
{
	return netlink_is_same(&a->address, &b->address) && a->has_peer == b->has_peer &&
	       (!a->has_peer || netlink_is_same(&a->peer, &b->peer));
}

static bool is_among(const struct held *one, const struct held *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (is_same(one, &list[i]))
			return true;
	return false;
}

static int parse(const struct tun_device_address *given, struct held *held)
{
	*held = (struct held){.has_peer = given->peer && given->peer[0]};
	if (netlink_parse(given->text, &held->address) != 0)
		return -EINVAL;
	return held->has_peer && netlink_parse(given->peer, &held->peer) != 0 ? -EINVAL : 0;
}

static int add_one(struct tun_device *device, const struct tun_device_address *given, const struct held *wanted)
{
	if (is_among(wanted, device->held, device->held_count))
		return 0;
	int result = netlink_add_address(device->netlink, &wanted->address, wanted->has_peer ? &wanted->peer : NULL);
	if (result < 0 && given->may_fail) {
		log_warn("tun_device", "%s: without the address %s: %s", tun_name(device->tun), given->text,
		         outcome_text(result));
		return 1;
	}
	return result;
}

static void remove_others(struct tun_device *device, const struct held *list, size_t count, const struct held *but,
                          size_t but_count)
{
	for (size_t i = 0; i < count; i++)
		if (!is_among(&list[i], but, but_count))
			netlink_remove_address(device->netlink, &list[i].address);
}

static void note(const struct tun_device *device)
{
	char all[LIMIT_TUN_ADDRESSES * (NETLINK_TEXT_BYTES + 1)] = "", text[NETLINK_TEXT_BYTES];
	for (size_t i = 0, at = 0; i < device->held_count; i++) {
		netlink_format(&device->held[i].address, text);
		at += (size_t)snprintf(all + at, sizeof all - at, " %s", text);
	}
	log_info("tun_device", "%s has the addresses%s", tun_name(device->tun), all[0] ? all : " none");
}

int tun_device_set_addresses(struct tun_device *device, const struct tun_device_address *list, size_t count,
                             char *problem, size_t size)
{
	struct held next[LIMIT_TUN_ADDRESSES];
	size_t next_count = 0;
	problem[0] = '\0';
	for (size_t i = 0; i < count; i++) {
		if (!list[i].text || !list[i].text[0])
			continue;
		int result = next_count < LIMIT_TUN_ADDRESSES ? parse(&list[i], &next[next_count]) : -ENOSPC;
		if (result == 0)
			result = add_one(device, &list[i], &next[next_count]);
		if (result == 0)
			next_count++;
		if (result >= 0)
			continue;
		remove_others(device, next, next_count, device->held, device->held_count);
		snprintf(problem, size, "%s: the address %s is refused: %s", tun_name(device->tun), list[i].text,
		         outcome_text(result));
		return result;
	}
	remove_others(device, device->held, device->held_count, next, next_count);
	memcpy(device->held, next, next_count * sizeof *next);
	device->held_count = next_count;
	// With an address the kernel may have taken others of its network, and routes.
	netlink_restore(device->netlink);
	note(device);
	return 0;
}
