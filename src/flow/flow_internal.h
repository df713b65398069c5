// Shared by flow.c (joined flows) and flow_open.c (how they come about).

#pragma once

#include "flow/flow.h"
#include "net/dial.h"

struct flow {
	struct flows *flows;
	struct flow *newer, *older;
	enum {
		FLOW_WAITING, // source: for a link
		FLOW_ASKING,  // source: for dest's answer; bytes may go outward already
		FLOW_DIALING, // dest: the target; the timer runs between two tries
		FLOW_JOINED,
	} phase;
	int fd;
	struct loop_io *io;
	struct stream *stream;
	struct dial *dial;
	struct loop_timer *timer; // WAITING, ASKING, DIALING
	struct header header;
	struct service_table *table; // dest: what `service` lies in
	struct service *service;     // dest: a place is taken
	uint64_t dial_until_ms;      // dest: when to give the target up
	bool probing;                // dest: it is the one that tries a target that was down
	struct address peer;         // source: the local client
	bool closed;
	bool moved;           // since the last look at idle flows
	uint64_t moved_at_ms; // as that look saw it
	bool local_end;       // the local side has no more to say
	bool local_shut;      // the local side was told that the peer has no more to say
	bool out_end;         // the peer was told that the local side has no more to say
	bool in_end;          // the peer has no more to say
	uint8_t *held;        // inward bytes that the local socket did not take: one block
	size_t held_at, held_length;
	struct loop_task release;
};

struct flows {
	struct flows_settings settings;
	struct flow *newest;
	unsigned waiting;
	_Atomic uint32_t open;
	struct loop_timer *trim;
	uint8_t *unit; // the buffer everything on this worker moves through
};

struct flow *flow_make(struct flows *flows);
// Ends both sides: in order when both directions have ended, with resets otherwise. The memory goes at the turn's end.
void flow_close(struct flow *flow);
// Moves what can be moved, sets what to wait for, closes when all is done.
void flow_step(struct flow *flow);
void flow_on_stream(void *owner, int events);
void flow_on_refused(void *owner, const struct header_answer *answer);
MUST_USE int flow_watch(struct flow *flow);
// Turns away the flows that wait for a link and whose clients have gone.
void flow_look_at_waiting(struct flows *flows);
extern const struct stream_ops flow_stream_ops;
