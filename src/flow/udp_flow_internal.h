// Shared by the files about associations: udp_flow.c (life and time), udp_flow_move.c (datagrams both ways),
// udp_flow_ask.c (source: who may begin one, and how), udp_door.c and udp_relay.c (source: where clients come in),
// udp_target.c (dest).

#pragma once

#include "core/brake.h"
#include "core/counter.h"
#include "edge/udp_port.h"
#include "flow/udp_flow.h"

#define UDP_TARGETS_MAX 4

struct udp_flow {
	struct udp_flows *flows;
	struct udp_flow *newer, *older;
	enum {
		UDP_FRESH,     // source: its first datagrams are being gathered
		UDP_ASKING,    // source: for dest's answer; datagrams may go outward already
		UDP_RESOLVING, // dest: the target's name
		UDP_OPEN,
		UDP_ENDING,  // our direction has ended; what still comes is delivered
		UDP_REFUSED, // source: dest said no; kept for a moment so that the client's next datagram does not ask again
	} phase;
	struct header header;
	struct stream *stream;
	uint64_t moved_ms;
	uint64_t until_ms; // in all phases but OPEN
	uint8_t *waiting;  // outward frames that the stream cannot take yet: one block
	size_t waiting_length, waiting_count;
	uint8_t *partial; // the beginning of an inward frame, or frames left for the next turn (`has_more`): one block
	size_t partial_length;
	bool closed, charged;
	bool has_more, resuming; // `resume` is queued
	struct quota_key charge;
	struct loop_task release, resume;

	// source
	struct udp_port *port;
	struct address client;
	struct datagram_local local; // of ours, that the client spoke to last
	const void *door;            // whose it is: a udp_door, which finds it in the table, or ...
	struct udp_flow *chain;      // the next in the same chain of the table
	struct udp_flow **place;     // ... a relay, which has it here
	// All that answer through the same port, also those that are ending; `listed_at` is what points here.
	struct udp_flow *listed_next, **listed_at;
	struct iovec prefix; // goes in front of each answer; iov_base NULL: nothing does
	uint16_t first_run, last_run;

	// dest
	struct datagram_socket target;
	struct loop_io *io;
	struct loop_lookup *lookup;
	struct service_table *table; // what `service` lies in
	struct service *service;     // a place is taken
	struct address targets[UDP_TARGETS_MAX];
	unsigned target_count, target_at;
	bool answered; // by the target
};

struct udp_flows {
	struct udp_flows_settings settings;
	struct udp_flow *newest;
	_Atomic uint32_t open;
	struct loop_timer *sweep;
	struct brake refusals; // lines about them
	bool draining;
	struct udp_flow **chains; // source: the table of clients
	uint64_t seed;
	uint8_t *unit; // frames gathered for one association
	size_t unit_length, unit_count;
	uint8_t *inward; // what came for one association
};

struct udp_shares {
	_Atomic uint32_t open;
	uint64_t seed;
	struct quota *clients;
	struct bucket *fresh;
};

// ---- life

// Takes a place among the node's associations. NULL: they are as many as may be, or no memory (counted).
struct udp_flow *udp_flow_make(struct udp_flows *flows);
// At once; the peer sees a reset unless both directions have ended. The memory goes at the turn's end.
void udp_flow_close(struct udp_flow *flow);
// In order: our direction ends, and what is still under way to us is delivered for a moment.
void udp_flow_end(struct udp_flow *flow);
// Whether a line about one that is refused, or breaks, may be written now.
bool udp_flow_may_log(struct udp_flows *flows);
const char *udp_flow_wanted(const struct header *header, char text[LIMIT_SERVICE_NAME_BYTES + 16]);

// ---- moving

// Counts datagrams dropped, for the process and for the link.
void udp_flow_drop(struct udp_flow *flow, enum counter reason, size_t datagrams);

// Outward: adds what came for this association to the unit, sending when that is full; and sends what is in it.
void udp_flow_gather(struct udp_flow *flow, const struct datagram_run *run);
void udp_flow_flush(struct udp_flow *flow);
// Keeps frames until the stream has room, as far as the block holds them.
void udp_flow_keep(struct udp_flow *flow, const uint8_t *frames, size_t length, size_t count);
// Whatever the stream has or takes. May close the flow.
void udp_flow_step(struct udp_flow *flow);
// A task: the step of an association that had its part of a turn.
void udp_flow_resume(struct loop_task *task);
extern const struct stream_ops udp_flow_stream_ops;

// ---- source

// Why this client has no association now, into the log.
void udp_flow_say_refused(struct udp_flows *flows, const struct address *client, const char *reason);
// A new association of this client, or NULL: it may not have one now (counted; `datagrams` are dropped).
struct udp_flow *udp_flow_admit(struct udp_flows *flows, const struct address *client, size_t datagrams);
// Opens the stream; the gathered unit goes along.
void udp_flow_ask(struct udp_flow *flow, size_t length, size_t count);
void udp_flow_on_refused(void *owner, const struct header_answer *answer);
// Takes it out of its door's table or its relay's list: no client's datagram finds it any more.
void udp_flow_hide(struct udp_flow *flow);
// It answers through this port from now on, and is in the list of its door or relay until it is closed.
void udp_flow_list(struct udp_flow *flow, struct udp_port *port, struct udp_flow **list);
void udp_flow_close_listed(struct udp_flow **list);
void udp_door_forget(struct udp_flow *flow);

// ---- dest

// Room came back: reads the target again.
void udp_target_resume(struct udp_flow *flow);
// The network said that a datagram did not reach the target. May close the flow.
void udp_target_report(struct udp_flow *flow);
void udp_target_close(struct udp_flow *flow);
