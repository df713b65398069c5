// The entry of source: local connections whose clients say what they want, in SOCKS 5 or by HTTP CONNECT, which the
// first byte tells apart. Here they are until they have said it, then they are flows (flow/flow) that answer them when
// dest has answered. One per worker.
//
// Hostile: a client holds one bounded buffer and one deadline, from accept to the end of its request; when too many
// negotiate at once the oldest goes.

#pragma once

#include "flow/flow.h"
#include "flow/route.h"

struct entries;
struct udp_flows;

// `udp` is where the associations of UDP ASSOCIATE live; NULL: there are none, and it is answered with 7.
MUST_USE int entries_new(struct loop *loop, struct flows *flows, struct udp_flows *udp, struct entries **entries);
// What may be asked for from now on (a reference is taken); NULL: nothing, whoever comes is reset. On the loop's
// thread.
void entries_set(struct entries *entries, struct route_table *routes);
// Ends the negotiations that are going on. What they have led to goes on.
void entries_drain(struct entries *entries);
void entries_free(struct entries **entries);
// From any thread: negotiations that are going on, and control connections of UDP ASSOCIATE.
uint32_t entries_open(const struct entries *entries);

// A connection that was accepted at the entry; fd is taken.
void entries_take(struct entries *entries, int *fd, const struct address *peer);
