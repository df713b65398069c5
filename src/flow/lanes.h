// The packets of a TUN device on the data connections of a link: lane 1 to lane N, each a stream of kind `packets`,
// spread over the workers. Every worker reads and writes a queue of the device of its own.
//
// A flow has one lane, the same at both ends and for both directions: a hash over its ports tells which (fragments:
// over their addresses; packets without ports go to each lane in turn). The kernel gives the packets of a flow to the
// queue into which its last one was written, which is that of the lane's worker; those that come out of another one, at
// the beginning of a flow, are passed on.
//
// Make before break: a lane is dialled again when its link has a new epoch or a successor; the old data connection is
// finished in order and read to its end, so that nothing is lost.
//
// Back-pressure: when a lane takes no more, its worker stops reading its queue, whose end the kernel then drops, as of
// any interface. Without any lane what the device gives is dropped.
//
// Point to point there is one peer. With a table there are many: the destination address says whose lanes a packet
// takes, and what a peer sends must come from an address of its own. Nobody waits for a peer that does not read: what
// its lane cannot keep is dropped, so that the others go on.

#pragma once

#include "core/outcome.h"
#include "edge/tun.h"
#include "link/link.h"
#include "link/stream.h"
#include "policy/cidr.h"

#include <stdbool.h>

struct lanes;

// How data connections are dialled.
struct lanes_dialling {
	uint32_t keepalive_ms, handshake_ms;
	char congestion[SOCKET_CONGESTION_BYTES];
};
struct lanes_settings {
	struct tun *tun; // lent
	unsigned workers;
	unsigned count;   // of lanes
	bool takes_super; // super-packets cross whole when the peer takes them as well
	bool has_table;   // many peers; false: one, which lanes_only gives
	uint32_t clamp;   // segment sizes that TCP announces are lowered to what fits into this; 0: left alone
	struct lanes_dialling dialling;
};
struct lanes_ops {
	// From any worker, once: somebody has deleted the device.
	void (*on_gone)(void *owner);
	// From a worker: the peer did not take a lane, or it could not be dialled. `reason` is lent.
	void (*on_refused)(void *owner, struct link *link, const char *reason);
};

// Negative: no memory.
MUST_USE int lanes_new(const struct lanes_settings *settings, const struct lanes_ops *ops, void *owner,
                       struct lanes **lanes);
// When the loops are gone, or had their turn after the last lanes_close.
void lanes_free(struct lanes **lanes);

// ---- peers

// The far end of some lanes. References are counted; from any thread.
struct lanes_peer;
struct lanes_peer *lanes_only(struct lanes *lanes);
// `slot` is its place in tables: of two peers at one time each has its own. Negative: no memory.
MUST_USE int lanes_peer_new(struct lanes *lanes, uint32_t slot, struct lanes_peer **peer);
struct lanes_peer *lanes_peer_ref(struct lanes_peer *peer);
void lanes_peer_unref(struct lanes_peer **peer);
// Bytes per second in each direction; 0: no limit.
void lanes_peer_set_limit(struct lanes_peer *peer, uint64_t bytes_per_second);
// What was dropped of it: sent from addresses of others; for another peer while that is not wanted; for it, while its
// lanes could not keep it.
enum lanes_drop { LANES_DROP_SPOOFED, LANES_DROP_CROSSED, LANES_DROP_CONGESTED, LANES_DROP_COUNT };
uint64_t lanes_peer_dropped(const struct lanes_peer *peer, enum lanes_drop why);

// Which addresses are whose: made once, never changed, and replaced as a whole.
struct lanes_table;
struct lanes_place {
	struct cidr network;
	struct lanes_peer *peer; // a reference is taken
};
// Slots are below `slots`. Negative: no memory.
MUST_USE int lanes_table_new(const struct lanes_place *places, size_t count, uint32_t slots,
                             struct lanes_table **table);
struct lanes_table *lanes_table_ref(struct lanes_table *table);
void lanes_table_unref(struct lanes_table **table);

// ---- workers

// On that worker's thread, as are the next six. Negative: no memory.
MUST_USE int lanes_open(struct lanes *lanes, unsigned worker, struct loop *loop);
void lanes_close(struct lanes *lanes, unsigned worker);

// From now on; a reference is taken. NULL: nobody has any address.
void lanes_set_table(struct lanes *lanes, unsigned worker, struct lanes_table *table);
// Initiator: the link on which this worker's share of the lanes is to be dialled; NULL: none. A reference is taken.
// Lanes of an earlier link go on until they have successors. Negative: no memory, no lanes on this worker.
MUST_USE int lanes_set_link(struct lanes *lanes, unsigned worker, struct link *link);
// Initiator: what differs from before takes effect by dialling again, make before break. Copied.
void lanes_set_dialling(struct lanes *lanes, unsigned worker, const struct lanes_dialling *dialling);
// Responder: a stream of kind `packets` whose header has come. The stream is taken; one with a number that is no lane's
// is refused.
void lanes_take(struct lanes *lanes, unsigned worker, struct lanes_peer *peer, struct stream *stream, uint16_t number);
// Ends all lanes of this peer (NULL: of all) on this worker, but those of this link (NULL: of any).
void lanes_drop(struct lanes *lanes, unsigned worker, const struct lanes_peer *peer, struct link *but);

// From any thread. Whether peers of a table may send to each other: then from lane to lane, past the kernel.
void lanes_set_joins(struct lanes *lanes, bool joins);
void lanes_set_clamp(struct lanes *lanes, uint32_t mtu);
unsigned lanes_up(const struct lanes *lanes);                  // lanes that carry packets now
unsigned lanes_of(const struct lanes *lanes, unsigned worker); // connections of this worker
