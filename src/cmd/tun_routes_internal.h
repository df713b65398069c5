// What the tun_routes*.c files share.

#pragma once

#include "cmd/tun_routes.h"

#include "net/dial.h"

// What there is, or will be. "0.0.0.0/0" and "::/0" are two halves each, which come before a default route there may be
// without replacing it.
struct tun_routes_plan {
	struct netlink_address *networks;
	size_t count;
	size_t guard_count; // behind the networks are those of the other version of IP, without routes
	bool has_default, kill_switch, takes_more;
	char server[256]; // "": none
	uint16_t port;
	struct address known[DIAL_ADDRESSES];
	size_t known_count;
	bool is_pinned;
};

struct tun_routes {
	struct tun_device *device;
	struct netlink *netlink;
	struct tun_routes_plan plan;
	struct netlink_address *more; // halves too, without order
	size_t more_count, more_room;
	bool has_left; // guards of killed processes

	struct loop *loop; // NULL: not followed yet
	bool is_up;        // the link
	bool is_settling;  // changes are waited for; later ones do not put that off
	struct netlink_news *news;
	struct loop_timer *settled, *ask; // after changes; for the name of the server
	struct loop_lookup *lookup;
	tun_routes_fn on_moved;
	void *owner;
};

// Whether a network is routed or guarded here, by the settings or added.
bool tun_routes_has(const struct tun_routes *routes, const struct netlink_address *network);

// ---- tun_routes_server.c: the server's own way

// At the start: may wait for a name service.
void tun_routes_find_server(struct netlink *netlink, struct tun_routes_plan *plan);
// After a reload: what is known without a question.
void tun_routes_keep_server(const struct tun_routes_plan *old, struct tun_routes_plan *next);
// Negative, as `problem` says: the networks of `plan` would catch the way to the server.
MUST_USE int tun_routes_pin(struct tun_routes *routes, struct tun_routes_plan *plan, char *problem);
// Those of `old` that `next` does not need go.
void tun_routes_unpin_others(struct tun_routes *routes, const struct tun_routes_plan *old,
                             const struct tun_routes_plan *next);
// Negative: this network would catch it.
MUST_USE int tun_routes_pin_from(struct tun_routes *routes, const struct netlink_address *network);
void tun_routes_unfollow(struct tun_routes *routes);
