// The TUN device of `vpn` and `psk`: made, named, brought up, addressed; and taken back. On worker 0. Its routes are
// in cmd/tun_routes, its packets in flow/lanes and flow/packets.

#pragma once

#include "core/outcome.h"
#include "edge/netlink.h"
#include "edge/tun.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tun_device;

struct tun_device_settings {
	const char *name; // or a pattern: tun_settings
	bool offload;
	unsigned queues;
	uint32_t mtu;
	uint32_t gso_bytes; // the largest super-packet that the kernel may give; 0: as it is
};

// Up, without addresses. Exit status; what was wrong has been logged.
MUST_USE int tun_device_open(const struct tun_device_settings *settings, struct tun_device **device);
// With everything that was added to it. Packets must have stopped. Harmless on NULL.
void tun_device_close(struct tun_device **device);

// Lent, as long as the device is open.
struct tun *tun_device_tun(const struct tun_device *device);
struct netlink *tun_device_netlink(const struct tun_device *device);

struct tun_device_address {
	const char *text; // "10.1.1.1/30"; NULL or "": none
	const char *peer; // the other end; NULL or "": the network of the address
	bool may_fail;    // a machine without that version of IP does without, which is logged
};
// These instead of those there are, all or nothing; at the start, and again at any time: what is in both is not
// touched, and routes through the device stay. Nothing of the list is kept. Negative: `problem` (empty otherwise) says
// which one is refused and why; -ENOSPC: more than LIMIT_TUN_ADDRESSES.
MUST_USE int tun_device_set_addresses(struct tun_device *device, const struct tun_device_address *list, size_t count,
                                      char *problem, size_t size);
