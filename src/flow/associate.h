// SOCKS 5 UDP ASSOCIATE: the control connection it was asked for on, and the relay (flow/udp_relay) that lives as long
// as that. One set on each worker. Spec: RFC 1928 6, 7.

#pragma once

#include "flow/flow.h"
#include "flow/route.h"

struct associates;
struct udp_flows;

MUST_USE int associates_new(struct loop *loop, struct flows *flows, struct udp_flows *udp,
                            struct associates **associates);
// What relays may ask for from now on (references are taken).
void associates_set(struct associates *associates, struct route_table *routes);
// Ends all of them.
void associates_free(struct associates **associates);
// From any thread.
uint32_t associates_open(const struct associates *associates);

struct associate_request {
	int *fd;                    // the control connection, not registered with the loop
	const struct address *peer; // who is at its other end
	uint16_t client_port;       // where the client said that it sends from, 0: it did not say
	struct route_table *routes; // what it may ask for; a reference is taken
	bool charged;               // a place of its client is held (flow_limit)
};

// 0: fd and the client's place are taken, and the client has been told where to send. ASSOCIATE_FULL: there are as many
// as may be (LIMIT_ASSOCIATES_PER_WORKER). Negative: the kernel refused, or no memory. Nothing is taken then.
enum { ASSOCIATE_FULL = 1 };
MUST_USE int associate_begin(struct associates *associates, const struct associate_request *request);
