// What a device of ours needs of the kernel's network configuration: MTU, up, addresses, routes. rtnetlink through
// libmnl, the only door to it. Calls wait for the kernel's answer, which comes at once.
//
// Everything added here is taken back by netlink_close, in reverse; a device that goes takes its own with it. What a
// killed process left on a device that outlives its users is replaced, not complained about.

#pragma once

#include "core/outcome.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct netlink;

struct netlink_address {
	int family; // AF_INET, AF_INET6
	uint8_t bytes[16];
	uint8_t bits; // of the network
};

// "10.1.1.1/30", "fc11::1/126"; without "/", one host. NETLINK_BAD when it is neither.
enum { NETLINK_BAD = 1 };
MUST_USE int netlink_parse(const char *text, struct netlink_address *address);
// The network that an address lies in: "10.1.1.1/30" becomes 10.1.1.0/30.
void netlink_normalise(struct netlink_address *address);
bool netlink_is_same(const struct netlink_address *a, const struct netlink_address *b);
// Both host and network; false for different families.
bool netlink_covers(const struct netlink_address *network, const struct netlink_address *address);
#define NETLINK_TEXT_BYTES 64
void netlink_format(const struct netlink_address *address, char text[NETLINK_TEXT_BYTES]);

// For one device. Negative: no such device, or no rtnetlink.
MUST_USE int netlink_open(const char *device, struct netlink **netlink);
void netlink_close(struct netlink **netlink);

// Sets the MTU, limits what the kernel joins to gso_bytes (0: as it is; a kernel that does not know how is forgiven),
// and brings the device up.
MUST_USE int netlink_bring_up(struct netlink *netlink, uint32_t mtu, uint32_t gso_bytes);
// peer NULL: the device reaches the network of the address. Else the address is for the device alone, and the other end
// is that one.
MUST_USE int netlink_add_address(struct netlink *netlink, const struct netlink_address *address,
                                 const struct netlink_address *peer);
// Of one that was added. Harmless when it is gone. What the kernel takes away with it is put back.
void netlink_remove_address(struct netlink *netlink, const struct netlink_address *address);
// Through the device; host bits do not matter. -EEXIST: there is a route to the same network that is not ours, which is
// left alone.
MUST_USE int netlink_add_route(struct netlink *netlink, const struct netlink_address *to);
// Of one that was added. Harmless when it is gone.
void netlink_remove_route(struct netlink *netlink, const struct netlink_address *to);
// Past the device, whatever routes are added later: a host keeps the way that it has now. Harmless when it is on this
// machine, or somebody gave it a route of its own. What a killed process left is replaced. -ENETUNREACH: there is no
// way to it but through the device.
MUST_USE int netlink_pin(struct netlink *netlink, const struct netlink_address *host);
