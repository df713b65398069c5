// SOCKS 5 UDP ASSOCIATE: a UDP port for one client of the entry. In each datagram the client says whom it is for
// (edge/socks.h), and every service it names is an association of its own; answers come back with the same header in
// front. It lives as long as the owner lets it, which is as long as the TCP connection it was asked for on.
//
// How the entry uses it: on socks_command SOCKS_ASSOCIATE call udp_relay_open with the address the control connection
// was accepted on (getsockname) and the address of its client, answer with *bound, and udp_relay_close when the control
// connection ends. Both on the worker of the control connection.

#pragma once

#include "flow/route.h"
#include "flow/udp_flow.h"

struct udp_relay;

struct udp_relay_settings {
	const struct address *local;  // its IP address is bound, with a port of the kernel's choice
	const struct address *client; // only its IP address may send; the port is that of the first datagram
	uint16_t client_port;         // where the client said that it sends from, 0: it did not say
	struct route_table *routes;   // a reference is taken
};

// Negative: the kernel refused, or no memory.
MUST_USE int udp_relay_open(struct udp_flows *flows, const struct udp_relay_settings *settings, struct address *bound,
                            struct udp_relay **relay);
// Other routes for services that it has not asked for yet.
void udp_relay_set(struct udp_relay *relay, struct route_table *routes);
// Ends its associations. Harmless on NULL.
void udp_relay_close(struct udp_relay **relay);
