// Shared by flow.c (joined flows) and flow_open.c (how they come about).

#pragma once

#include "core/brake.h"
#include "core/counter.h"
#include "flow/farewell.h"
#include "flow/flow.h"
#include "flow/joint.h"
#include "net/dial.h"

struct flow {
	struct flows *flows;
	uint64_t id; // in this process, for the log
	struct flow *newer, *older;
	enum {
		FLOW_WAITING, // source: for a link, or until fewer dials are under way
		FLOW_RESTING, // source: its data connection failed before anything had left; waits again from the next look on
		FLOW_ASKING,  // source: for dest's answer; bytes may go outward already
		FLOW_DIALING, // dest: the target; the timer runs between two tries
		FLOW_JOINED,
	} phase;
	struct joint joint; // the local socket and the stream
	struct loop_io *io; // of the local socket
	struct stream *stream;
	struct dial *dial;
	struct loop_timer *timer; // WAITING, ASKING, DIALING
	struct header header;
	struct service_table *table; // dest: what `service` lies in
	struct service *service;     // dest: a place is taken
	uint64_t dial_until_ms;      // dest: when to give the target up
	bool probing;                // dest: it is the one that tries a target that was down
	struct address peer;         // source: the local client
	// Source, WAITING: whom this one stands before, whom it stands behind.
	struct flow *waits_before, *waits_behind;
	bool dialling;     // source, ASKING: its data connection is not there yet
	uint64_t begun_ms; // when it was made
	bool closed;
	uint64_t moved_at_ms;  // as the last look at idle flows saw it
	enum reply_kind reply; // source: the client waits for this kind of answer
	uint8_t *first;        // source: what the client has said before the stream could take it
	size_t first_length;
	struct quota_key charge; // who has been charged for it, when `charged`
	bool charged;
	struct account *account; // hub, may be NULL
	struct loop_timer *pace; // hub: while it rests
	bool resting;            // it has been faster than its account may be
	struct loop_task release;
};

struct flows {
	struct flows_settings settings;
	struct flow *newest;
	struct flow *first_waiting, *last_waiting;
	unsigned waiting, resting, dialling;
	bool serving, stopping;
	_Atomic uint32_t open;
	struct loop_timer *trim;
	struct brake refusals; // lines about them
	struct farewells *farewells;
	uint8_t *unit; // the buffer everything on this worker moves through
};

// "flow 12", or "link a1b2c3d4: flow 12" once it has a stream.
#define FLOW_NAME_BYTES 64
const char *flow_name(const struct flow *flow, char text[FLOW_NAME_BYTES]);

struct flow *flow_make(struct flows *flows);
// Ends both sides: in order when both directions have ended, with resets otherwise. The memory goes at the turn's end.
void flow_close(struct flow *flow);
// Moves what can be moved, sets what to wait for, closes when all is done.
void flow_step(struct flow *flow);
void flow_on_stream(void *owner, int events);
// flow_pace.c: what has moved since the last call is counted, and paid for: the flow may have to rest.
void flow_pay(struct flow *flow, uint64_t sent, uint64_t received);
// The first reason stays.
void flow_ended(struct flow *flow, const char *how);
void flow_settle_account(struct flow *flow);
// Counts it and tells who is joined with whom.
void flow_opened(const struct flow *flow);
void flow_on_refused(void *owner, const struct header_answer *answer);
// The first bytes that the local socket hears, ours and not payload. False: it broke, and the flow is gone.
MUST_USE bool flow_say(struct flow *flow, const uint8_t *bytes, size_t length);
// Takes a place for a client of this address, where clients have a limit (*charged); and gives it back. False: it has
// as many as it may.
MUST_USE bool flows_charge(struct flows *flows, const struct address *client, bool *charged);
void flows_discharge(struct flows *flows, const struct address *client);
// Takes a place for the flow under this key. False: it has none.
MUST_USE bool flow_charge(struct flow *flow, const struct quota_key *key);
// Whether a line about a refused connection may be written now.
bool flow_may_log(struct flows *flows);
// Source: ends a flow that has not begun. A client that waits for an answer hears why; the others see a reset.
void flow_refuse(struct flow *flow, enum counter counter, enum reply_verdict verdict, const char *reason);
// Dest: finds the service the header asks for, judges whether this peer may have it now, and takes the places. False:
// it has been refused, and the flow is gone.
MUST_USE bool flow_admit(struct flow *flow);
// Dest: tells the target whose connection this is, where it is to be told. False: it broke, and the flow is gone.
MUST_USE bool flow_introduce(struct flow *flow, const struct address *target);
// Dest: refuses the stream and ends the flow; `reason` is for our log, `told` for the peer.
void flow_answer_no(struct flow *flow, enum header_status status, enum counter counter, const char *reason,
                    const char *told);
const char *flow_wanted(const struct header *header, char text[LIMIT_SERVICE_NAME_BYTES + 16]);
MUST_USE int flow_watch(struct flow *flow);
// Source (flow_open.c): asks for the stream; what the client has said already goes along. The flow no longer waits
// afterwards.
void flow_ask(struct flow *flow);

// flow_wait.c: the queue of those that wait. Ends are harmless for a flow that is not in that state.
void flow_wait(struct flow *flow);
void flow_wait_end(struct flow *flow);
void flow_wait_serve(struct flows *flows);
// Not asked for again at once: what failed a moment ago would fail again. Those that rest wait again at the next look,
// and when a link comes up.
void flow_rest(struct flow *flow);
void flow_rest_end(struct flow *flow);
void flow_wait_wake(struct flows *flows);
void flow_dial_begins(struct flow *flow);
void flow_dial_ends(struct flow *flow);
// Turns away the flows that wait and whose clients have gone.
void flow_look_at_waiting(struct flows *flows);
extern const struct stream_ops flow_stream_ops;
