// What a device of ours needs of the kernel's network configuration: MTU, up, addresses, routes. rtnetlink through
// libmnl, the only door to it. Calls wait for the kernel's answer, which comes at once.
//
// Everything added here is taken back by netlink_close, in reverse; a device that goes takes its own with it. What
// outlives a killed process, routes past the device and guards, has protocol 113 and the index of its owner's device as
// metric: netlink_sweep takes back those whose owner has gone, and no others.

#pragma once

#include "core/loop.h"
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
// Of one that was added. Harmless when it is gone. What the kernel takes with it is put back.
void netlink_remove_address(struct netlink *netlink, const struct netlink_address *address);
// Through the device; host bits do not matter. -EEXIST: there is a route to the same network that is not ours, which is
// left alone.
MUST_USE int netlink_add_route(struct netlink *netlink, const struct netlink_address *to);
// Of one that was added. Harmless when it is gone.
void netlink_remove_route(struct netlink *netlink, const struct netlink_address *to);

// Past the device, whatever routes there are through it: a host has the way that it would have without them. Harmless
// when it is on this machine. -ENETUNREACH: there is no way to it but through the device.
MUST_USE int netlink_pin(struct netlink *netlink, const struct netlink_address *host);
void netlink_unpin(struct netlink *netlink, const struct netlink_address *host); // harmless when there is no pin

// Makes a network unreachable as soon as there is no route to it through the device, and for as long as the guard is
// there. Routes through the device come before it, so netlink_guard is called before netlink_add_route.
// NETLINK_RIVAL: another route to the same network would come before the guard.
enum { NETLINK_RIVAL = 1 };
MUST_USE int netlink_guard(struct netlink *netlink, const struct netlink_address *to);
void netlink_unguard(struct netlink *netlink, const struct netlink_address *to); // harmless when there is none
// The start has succeeded. Before, what a killed process with the same device left, guards and the ways past them, is
// not taken back: a start that fails leaves the network as closed as it was.
void netlink_settle(struct netlink *netlink);
// From now on guards, and what leads past them, are not taken back.
void netlink_leave_guards(struct netlink *netlink);

// What other devices of this machine have: NETLINK_TAKEN: this address; NETLINK_OVERLAPS: a route or an address in its
// network, or a route to a wider one that is not (half of) everything.
enum { NETLINK_OVERLAPS = 1, NETLINK_TAKEN = 2 };
MUST_USE int netlink_find_others(struct netlink *netlink, const struct netlink_address *address);

// Whatever was added here and has been taken away by somebody else is added again.
void netlink_restore(struct netlink *netlink);
// After the routes have changed: hosts past the device get the way that they would have now. How many have another one.
// What was taken away is added again if it is one of those, or if there are guards.
unsigned netlink_follow(struct netlink *netlink);

// What processes left behind that have ended. Guards stay, and are counted, unless `releases` says that this network is
// its affair; NULL: all go.
typedef bool (*netlink_release_fn)(void *owner, const struct netlink_address *to);
struct netlink_swept {
	unsigned pins, guards, left;
};
MUST_USE int netlink_sweep(struct netlink *netlink, netlink_release_fn releases, void *owner,
                           struct netlink_swept *swept);
// The same for a process without a device.
MUST_USE int netlink_release(struct netlink_swept *swept);
// Hosts to which such a process gave routes past its device: `count` is at most `room`.
MUST_USE int netlink_left_hosts(struct netlink *netlink, struct netlink_address *hosts, size_t room, size_t *count);

// The network's changes, one by one. `to`: of a route of the main table; otherwise NULL. LOST: more than could be told.
struct netlink_news;
enum netlink_news_kind { NETLINK_NEWS_LINK, NETLINK_NEWS_ADDRESS, NETLINK_NEWS_ROUTE, NETLINK_NEWS_LOST };
typedef void (*netlink_news_fn)(void *owner, enum netlink_news_kind kind, const struct netlink_address *to);
MUST_USE int netlink_news_open(struct loop *loop, netlink_news_fn on_news, void *owner, struct netlink_news **news);
void netlink_news_close(struct netlink_news **news); // harmless on NULL
