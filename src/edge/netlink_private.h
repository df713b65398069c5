// What the netlink*.c files share.

#pragma once

#include "edge/netlink.h"

#include <libmnl/libmnl.h>

#define NETLINK_MESSAGE_BYTES 1024

// Marks what outlives a killed process: routes past the device, and guards. Unassigned. Their metric is the index of
// the device of their owner, which lives as long as its process and is not used again: so they can be told from those
// of others that run.
#define NETLINK_PROTOCOL 113

// Through which device and gateway a host is reached.
struct netlink_way {
	uint8_t type;   // RTN_
	uint32_t index; // 0: through none
	bool is_onlink, has_source;
	uint8_t gateway_family; // 0: none; not always that of the host
	uint8_t gateway[16], source[16];
};

// A route as the kernel tells it.
struct netlink_route {
	struct netlink_address to;
	struct netlink_way way;
	uint8_t protocol;
	uint32_t table, metric;
	bool is_dead, is_clone;
};

enum netlink_kind { NETLINK_IS_ADDRESS, NETLINK_IS_ROUTE, NETLINK_IS_PIN, NETLINK_IS_GUARD };

struct netlink_change { // what is to be taken back
	struct netlink_change *next, *earlier;
	enum netlink_kind kind;
	bool has_peer, was_there; // was_there: of a killed process that had the same device
	uint32_t metric;          // of a route of any kind
	struct netlink_way way;
	struct netlink_address address, peer;
};

struct netlink {
	struct mnl_socket *socket;
	unsigned index, port, sequence; // index 0: without a device
	bool is_guarding, is_settled;
	struct netlink_change *changes; // the latest first
	struct netlink_change *oldest;
};

unsigned netlink_family_bits(int family);

struct nlmsghdr *netlink_begin(char buffer[NETLINK_MESSAGE_BYTES], uint16_t type, uint16_t flags);
// `on_answer` may be NULL; it may not ask in turn. -EINTR: a list that changed meanwhile, of which it was told all.
MUST_USE int netlink_ask(struct netlink *netlink, struct nlmsghdr *message, mnl_cb_t on_answer, void *owner);

// Without a device.
MUST_USE int netlink_open_bare(struct netlink **netlink);
MUST_USE int netlink_change_route(struct netlink *netlink, uint16_t type, uint16_t flags,
                                  const struct netlink_change *change);
// The way to a host but for our own routes.
MUST_USE int netlink_find_way(struct netlink *netlink, const struct netlink_address *host, struct netlink_way *way);
// False: the message is no route of an IP version that we know.
bool netlink_read_route(const struct nlmsghdr *message, struct netlink_route *route);
// NETLINK_RIVAL: a route of somebody else to the same network with a smaller metric. NETLINK_IS_THERE: this very guard
// is there already.
enum { NETLINK_IS_THERE = 2 };
MUST_USE int netlink_find_rival(struct netlink *netlink, const struct netlink_change *change);
