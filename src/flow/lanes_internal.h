// Shared by lanes.c (life of lanes and workers), lanes_dial.c, lanes_outward.c and lanes_inward.c.

#pragma once

#include "flow/lanes.h"

#include "core/counter.h"
#include "limits.h"
#include "packet/coalesce.h"
#include "packet/packet.h"
#include "packet/parcel.h"
#include "packet/segment.h"
#include "policy/rate.h"
#include "wire/tls_profile.h"

#include <pthread.h>
#include <stdatomic.h>

#define LANES_NOWHERE 0xffff
// A unit of what the worker has read itself, whose queue of the device then waits, and one of what others pass on, for
// whom nobody waits.
#define LANES_TX_BYTES (2 * LIMIT_UNIT_BYTES)

// A data connection. It sends while it is its number's `current`, and is read until the peer has ended it.
struct lane {
	struct lanes_worker *worker;
	struct lanes_share *share;
	struct lanes_peer *peer;  // a reference
	struct lane *next;        // all of the worker
	struct lane *next_unsent; // within one turn: parcels wait in it
	bool is_unsent;
	struct stream *stream;
	struct loop_task release;
	unsigned number;            // from 0
	uint32_t dialling_serial;   // of the worker, when it was dialled
	bool is_super;              // parcels with offload
	bool is_dialled;            // by us
	bool is_open;               // the peer has taken it
	bool is_retired;            // nothing new goes out
	bool is_finished, is_ended; // our direction, the peer's
	bool is_gone;               // only the memory is left
	size_t tx_used, rx_used;
	uint64_t outward_until_us, inward_until_us; // rests, for its peer's limit; 0: it does not
	uint8_t *tx;                                // parcels that wait: LANES_TX_BYTES
	uint8_t *rx;                                // LIMIT_FRAMES_BYTES
};

// Packets that other workers pass on. Two buffers change places under the lock.
struct lanes_inbox {
	pthread_mutex_t lock;
	struct loop_task wake;
	bool is_woken;
	size_t used;
	uint8_t *filling, *emptying;
};

// What a worker has of a peer. Touched by that worker alone.
struct lanes_share {
	struct lanes_worker *worker;
	struct lanes_peer *peer;
	struct lane *current[LIMIT_LANES];
	unsigned turn; // for packets without ports
};

// The far end of lanes. It lives until its last lane, the last table that names it and its owner have let go of it.
struct lanes_peer {
	_Atomic uint32_t references;
	struct lanes *lanes;
	uint32_t slot, serial;              // where it is in a table; a serial is never used twice
	_Atomic uint16_t home[LIMIT_LANES]; // the worker that sends for this lane, or LANES_NOWHERE
	atomic_bool is_super[LIMIT_LANES];  // its kind of parcels
	_Atomic uint16_t made[LIMIT_LANES]; // its connections of this number
	atomic_bool is_limited;
	struct rate outward, inward;
	_Atomic uint64_t dropped[LANES_DROP_COUNT];
	struct lanes_share share[]; // of each worker
};

struct lanes_worker {
	struct lanes *lanes;
	unsigned index;
	struct loop *loop;  // NULL: not open
	struct loop_io *io; // its queue of the device; NULL: the device has fewer
	struct lane *all;
	struct lane *unsent;      // see lanes_outward_flush_unsent; empty between turns
	struct lanes_share *only; // of the one peer of a point-to-point tunnel; NULL: the destination address decides
	struct lanes_table *table;
	struct lanes_inbox inbox;
	struct loop_timer *pace; // the first lane that rests has rested
	uint64_t rested_us;      // when that is; 0: none rests

	// Initiator.
	struct link *link;
	struct tls_profile *profile;
	struct loop_timer *care;
	struct lane *dialling[LIMIT_LANES];
	struct lanes_dialling dialling_now;
	uint32_t dialling_serial; // another one whenever that changes
	uint64_t rest_until_ms;

	struct coalesce coalesce;
	// What was read: a packet with room for its head in front. Held while its lane takes no more.
	bool is_held;
	struct lanes_share *held_to;
	unsigned held_for;
	bool is_cutting;
	struct segment cut;
	struct offload offload;
	size_t length;
	uint8_t packet[PARCEL_SUPER_HEAD_BYTES + TUN_PACKET_BYTES];
};

struct lanes {
	struct lanes_settings settings;
	struct lanes_ops ops;
	void *owner;
	_Atomic uint32_t clamp;
	atomic_bool is_gone;
	_Atomic unsigned load[TUN_QUEUES]; // connections of each worker
	_Atomic unsigned up;               // lanes that carry packets now
	struct lanes_peer *only;           // point to point
	atomic_bool joins;                 // peers may send to each other
	struct lanes_worker *workers[];
};

// ---- lanes.c

// NULL: no memory.
struct lane *lane_new(struct lanes_share *share, unsigned number, bool is_super);
void lane_close(struct lane *lane);
// The peer has taken it: it sends for its number from now on, and the one before is retired.
void lane_begin(struct lane *lane);
void lanes_lose_device(struct lanes *lanes);
extern const struct stream_ops lane_ops;

// ---- lanes_peers.c

// The share of the peer that a packet of the device is for. NULL: of none, and it has been counted.
struct lanes_share *lanes_share_for(struct lanes_worker *worker, const uint8_t *bytes, const struct packet *packet);
// Of a peer that is still there; NULL otherwise.
struct lanes_share *lanes_share_at(struct lanes_worker *worker, uint32_t slot, uint32_t serial);

// What has come from a peer with a table. False: it may not pass, and has been counted. `to`: the share of another peer
// it is for, NULL: it is for the device.
MUST_USE bool lanes_may_enter(const struct lane *lane, const uint8_t *bytes, const struct packet *packet,
                              struct lanes_share **to);
void lanes_count_drop(struct lanes_peer *peer, enum lanes_drop why, enum counter counter);

// ---- lanes_pace.c

MUST_USE int lanes_pace_open(struct lanes_worker *worker);
void lanes_pace_close(struct lanes_worker *worker);
// Of a peer with a limit: the lane may rest from now on. A new one owes what its peer does.
void lanes_pace_begin(struct lane *lane);
void lanes_pace_sent(struct lane *lane, size_t bytes);
void lanes_pace_received(struct lane *lane, size_t bytes);

// ---- lanes_dial.c

MUST_USE int lanes_dial_open(struct lanes_worker *worker);
void lanes_dial_close(struct lanes_worker *worker);
// Of a lane that was being dialled: open now (lane_begin follows), or it failed (lane_close follows).
void lanes_dial_done(struct lane *lane);
void lanes_dial_failed(struct lane *lane, const char *reason);

// ---- lanes_outward.c

MUST_USE int lanes_outward_open(struct lanes_worker *worker);
void lanes_outward_close(struct lanes_worker *worker);
// What waits in the lane goes out, as far as it takes it. A lane that is to end says so when all is out.
void lanes_outward_flush(struct lane *lane);
// The same of all lanes that were given something in this turn.
void lanes_outward_flush_unsent(struct lanes_worker *worker);
// The lane has room again, or a lane has come or gone: the device is read again.
void lanes_outward_resume(struct lanes_worker *worker);
// From one peer to another: what is said beside the packet has been found to fit it (`cut`).
void lanes_outward_cross(struct lanes_share *to, const uint8_t *bytes, const struct packet *packet,
                         struct segment *cut);

// ---- lanes_inward.c

void lanes_inward_init(struct lanes_worker *worker);
// Reads what there is. Sets is_ended at the peer's end; false: what came is no parcel, and the lane is of no more use.
MUST_USE bool lanes_inward_read(struct lane *lane);
