// The routes of `vpn` and `psk` through their device, and the one past it: a route that covers the server would catch
// the tunnel's own connection, so a client first gives the server a route of its own, through the gateway that leads
// there now. On worker 0.

#pragma once

#include "cmd/tun_device.h"
#include "core/outcome.h"
#include "net/address.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tun_routes;

// What is lent here is copied.
struct tun_routes_settings {
	const char *const *networks; // "10.0.0.0/8"; host bits do not matter; 0.0.0.0/0 and ::/0 are everything
	size_t count;
	const char *server; // of a client: host name or literal; NULL: nobody needs a way past the tunnel
	uint16_t port;
	bool takes_more; // a server names networks later, one of which may catch the way to it
	// Nothing for these networks ever leaves but through the device. A guard stands behind each route, and stays when
	// the process dies. When the networks are all of one version of IP, the other version is guarded as well, so far as
	// it has no routes here.
	bool kill_switch;
};

#define TUN_ROUTES_PROBLEM_BYTES 512
// At the start; may wait for a name service. Negative, as `problem` says.
MUST_USE int tun_routes_open(struct tun_device *device, const struct tun_routes_settings *settings,
                             struct tun_routes **routes, char problem[TUN_ROUTES_PROBLEM_BYTES]);
// The last of a start, once nothing of it can fail any more: what killed processes left is taken back, the ways past
// their devices and the guards of networks that are routed now. Closed before that, their guards stay.
void tun_routes_settle(struct tun_routes *routes);
// These instead of those there are, all or nothing: what is in both is not touched. Never waits. Negative, as `problem`
// says.
MUST_USE int tun_routes_set(struct tun_routes *routes, const struct tun_routes_settings *settings,
                            char problem[TUN_ROUTES_PROBLEM_BYTES]);
// Another network, guarded like those of the settings, until it is taken away. Negative: it cannot be, or would catch
// the way to a server whose address is not known.
MUST_USE int tun_routes_add(struct tun_routes *routes, const struct netlink_address *network);
void tun_routes_remove(struct tun_routes *routes, const struct netlink_address *network);
// Whether a network holds an address of the server that is known.
bool tun_routes_would_catch(const struct tun_routes *routes, const struct netlink_address *network);

// The process ends as nobody wanted: guards stay behind. Harmless on NULL.
void tun_routes_leave_guards(struct tun_routes *routes);
// Before the device. Harmless on NULL.
void tun_routes_close(struct tun_routes **routes);

// From now on the server's own way follows the routes that there are. While the link is down a server with a name is
// asked for again, and new addresses get routes of their own: then `on_moved` is called, if it is not NULL.
typedef void (*tun_routes_fn)(void *owner);
MUST_USE int tun_routes_follow(struct tun_routes *routes, struct loop *loop, tun_routes_fn on_moved, void *owner);
void tun_routes_note_link(struct tun_routes *routes, bool is_up);

// The addresses of the server that have routes of their own, with its port, which are to be dialled without asking for
// names; 0: the server is dialled by its name. Lent, until
// tun_routes_set or on_moved.
size_t tun_routes_pinned(const struct tun_routes *routes, const struct address **list);
