// UDP associations: what one client and one service say to each other, on a stream of its own, so that nobody waits for
// another's lost packets. Datagrams keep their boundaries and their order as far as they arrived; where there is no
// room they are dropped and counted, nobody is held up. One set of associations on each worker.
//
// On source an association begins with a client's first datagram, on dest with a stream of kind HEADER_UDP; it ends
// when nothing has moved for a while, either way.

#pragma once

#include "core/loop.h"
#include "flow/service.h"
#include "link/pool.h"
#include "link/stream.h"
#include "net/address.h"
#include "net/datagram.h"
#include "policy/cidr.h"
#include "policy/quota.h"

// What all workers of a node count together: associations, those of each client, and how fast new ones come.
struct udp_shares;
MUST_USE int udp_shares_new(uint64_t seed, struct udp_shares **shares);
void udp_shares_free(struct udp_shares **shares);
// From any thread: associations that are open.
uint32_t udp_shares_open(const struct udp_shares *shares);

struct udp_flows;

struct udp_flows_settings {
	struct loop *loop;
	struct udp_shares *shares;
	uint32_t idle_ms;
	uint32_t associations_max;      // of the node
	uint32_t client_max;            // source: of one client's IPv4 address or IPv6 /64
	struct pool *pool;              // source, NULL on dest
	uint32_t answer_ms;             // source: how long dest may take to answer
	const struct cidr *allowed;     // source: who may come in; lent until the next udp_flows_set
	size_t allowed_count;           // 0: everybody
	struct service_table *services; // dest, NULL on source; a reference is taken
	uint32_t target_ms;             // dest: how long looking up a target may take
	struct quota *peers;            // dest: flows and associations of one certificate (dest.max_connections_per_client)
	uint32_t peer_max;              // 0: no limit
};

MUST_USE int udp_flows_new(const struct udp_flows_settings *settings, struct udp_flows **flows);
// New settings for what happens from now on; loop, pool, shares and peers stay. On the loop's thread.
void udp_flows_set(struct udp_flows *flows, const struct udp_flows_settings *settings);
// Ends what is still open. The doors must have been closed.
void udp_flows_free(struct udp_flows **flows);
// From any thread: associations of this worker.
uint32_t udp_flows_open(const struct udp_flows *flows);
// Nothing new begins; what is open goes on until udp_flows_free.
void udp_flows_drain(struct udp_flows *flows);

// ---- source --------------------------------------------------------------------------------------------------------

// A port whose clients want one service. On the loop's thread; roles as in edge/udp_port.h.
struct udp_door;
MUST_USE int udp_door_open(struct udp_flows *flows, struct address *address, enum datagram_role role,
                           const struct header *header, struct udp_door **door);
void udp_door_set(struct udp_door *door, const struct header *header); // for clients that come from now on
// As udp_port_on_broken, once, on the loop's thread.
void udp_door_on_broken(struct udp_door *door, void (*on_broken)(void *owner), void *owner);
// Its associations end. Harmless on NULL.
void udp_door_close(struct udp_door **door);

// ---- dest ----------------------------------------------------------------------------------------------------------

// A stream whose header has come and says HEADER_UDP.
void udp_flows_take_stream(struct udp_flows *flows, struct stream *stream, const struct header *header);
