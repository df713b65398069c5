// The responder's side of reverse links: links on which the responder opens the streams and the initiator, which alone
// can dial, keeps data connections parked for them (`qanat hub` towards its agents). Spec: docs/protocol.md, "Reverse
// links".
//
// Whoever wants a stream states a wish, on any worker. It is granted on the worker where a data connection is: this one
// when one is parked here (no round trip), another one when one is parked there, or wherever the connection comes in
// that the agent dials when it has got OPEN with a one-time token. Whatever the wish is for (an accepted descriptor,
// say) travels along as its owner; the stream itself never moves.
//
// One struct reverse for all workers of a hub, one struct reverse_worker for each. The responder of a worker feeds it
// (responder_settings.reverse); such a responder takes reverse links only.

#pragma once

#include "core/loop.h"
#include "core/outcome.h"
#include "link/header.h"
#include "link/link.h"
#include "link/stream.h"

#include <stdint.h>

struct reverse;
struct reverse_worker;
struct session;

MUST_USE int reverse_new(unsigned worker_count, struct reverse **reverse);
// After the loops of all workers have been freed: wishes may still be on their way to one.
void reverse_free(struct reverse **reverse);

MUST_USE int reverse_worker_new(struct reverse *reverse, unsigned index, struct loop *loop,
                                struct reverse_worker **worker);
// On its loop's thread, after its responder has been freed: what is parked here is closed, and wishes on their way here
// will be refused (HEADER_DRAINING).
void reverse_worker_free(struct reverse_worker **worker);

// ---- wishes --------------------------------------------------------------------------------------------------------

struct reverse_ops {
	// A parked stream, on the thread of worker `index`: the owner's to use with stream_open_parked, or to close. It may
	// turn out to be broken (STREAM_UNSENT): then the wish may be stated again from there, once or twice.
	void (*on_stream)(void *owner, unsigned index, struct stream *stream);
	// There will be none, and why; on the thread of worker `index`, whichever that is.
	void (*on_refused)(void *owner, unsigned index, const struct header_answer *answer);
};

struct reverse_wish {
	char service[LIMIT_SERVICE_NAME_BYTES + 1]; // for the agent's early verdict; the header of the stream says it again
	uint32_t deadline_ms;                       // from now
	uint64_t id;                                // for reverse_withdraw; 0: it will not be
	const struct reverse_ops *ops;
	void *owner;
};

// From the thread of worker `here`. 0: exactly one of the two callbacks follows, never from within this call. Anything
// else: none does.
enum {
	REVERSE_NO_LINK = 1, // the link is down, or is no reverse link
	REVERSE_BUSY = 2,    // as many wishes wait for this agent, or in all, as may (limits.h)
};
MUST_USE int reverse_open(struct reverse_worker *here, struct link *link, const struct reverse_wish *wish);
// From any thread: whoever wanted the stream has gone. True: the wish is no more, and neither callback follows; a data
// connection that the agent dials for it is ended when it comes. False: it is on its way to a worker at this moment, or
// has been granted or refused: ask again a little later, or hear of it.
bool reverse_withdraw(struct reverse *reverse, struct link *link, uint64_t id);

// ---- links ---------------------------------------------------------------------------------------------------------

// From any thread: ends the link as if its session had found the reason itself, so that responder_ops.on_down follows.
// CONTROL_REASON_SHUTDOWN lets its streams go on; any other reason cuts them. Harmless when it is over.
void reverse_end_link(struct reverse *reverse, struct link *link, enum control_reason reason, const char *text);

struct reverse_state {
	unsigned parked;  // data connections that wait for a stream, on all workers
	unsigned waiting; // wishes without one
};
// From any thread, for people. All 0 for a link that is over.
void reverse_read(struct reverse *reverse, struct link *link, struct reverse_state *state);

// ---- for link/responder --------------------------------------------------------------------------------------------

// The link's control connection is on this worker. Negative: no memory.
MUST_USE int reverse_link_up(struct reverse_worker *worker, struct link *link, struct session *session);
// Its wishes are refused; parked connections are dropped by stream_drop_parked or stream_cut_all, as others are.
void reverse_link_down(struct reverse_worker *worker, struct link *link);
// OPEN_FAILED has come.
void reverse_on_failed(struct reverse_worker *worker, struct link *link, const uint8_t token[STREAM_TOKEN_BYTES],
                       const struct header_answer *answer);
// stream_header_fn of data connections (owner: struct reverse_worker *): `park` and `claim`.
void reverse_on_header(void *owner, struct stream *stream, const struct header *header);
