// Byte flows: a local socket joined to a stream of a link, on one worker, until both directions have ended. Half-close
// travels as half-close, a reset as a reset, and a slow reader on one side stops the reading on the other.

#pragma once

#include "core/loop.h"
#include "flow/account.h"
#include "flow/reply.h"
#include "flow/service.h"
#include "link/pool.h"
#include "link/stream.h"
#include "net/address.h"
#include "policy/quota.h"

#include <stdatomic.h>

// All flows of one worker.
struct flows;

struct flows_settings {
	struct loop *loop;
	const char *congestion; // of local and target sockets
	uint32_t keepalive_ms;
	uint32_t wait_ms;               // source: for a link and dest's answer
	uint32_t target_ms;             // dest: to connect to a target, one that is just coming up included
	bool is_impatient;              // agent: a target that refuses is not tried again
	uint32_t idle_ms;               // a flow that moves nothing either way for so long is reset, 0: never
	unsigned dials_max;             // source: data connections dialled at once; 0: LIMIT_DIALS
	uint64_t age_ms;                // a flow that has lived so long is reset, whatever it does, 0: never
	struct pool *pool;              // source, NULL on dest
	struct service_table *services; // dest, NULL on source; a reference is taken
	uint32_t client_max;            // flows at once of one client's address or one peer's certificate, 0: no limit
	struct quota *clients;          // where they are counted, one for all workers; may be NULL without such a limit
	struct identity_text own;       // dest: our certificate, for the targets that are told of it
};

// A local connection that has said what it wants, on its worker.
struct flow_arrival {
	int *fd; // taken
	const struct address *peer;
	const struct header *header;
	enum reply_kind reply; // how the client waits for an answer; REPLY_NONE: it does not
	const uint8_t *first;  // what it has said behind its request, copied
	size_t first_length;
	bool charged;            // to `clients`, under its address
	struct account *account; // hub: kept until its on_end; may be NULL
};

MUST_USE int flows_new(const struct flows_settings *settings, struct flows **flows);
// New settings for what happens from now on; the loop, the pool, dials_max and where clients are counted stay. On the
// loop's thread.
void flows_set(struct flows *flows, const struct flows_settings *settings);
// Resets what is still open.
void flows_free(struct flows **flows);
// From any thread.
uint32_t flows_open(const struct flows *flows);

// Source: a local connection (fd is taken) that wants `header`'s service. Waits for a link when there is none.
void flows_take_local(struct flows *flows, int *fd, const struct address *peer, const struct header *header);
void flows_take(struct flows *flows, const struct flow_arrival *arrival);
// Hub: a local connection and the parked stream (link/reverse) that is to carry it. An origin in the header is kept; no
// client is charged here. The stream is taken in any case. 0: the descriptor is as well. FLOW_UNSENT: the stream was
// broken and nothing has left, so another one may have it. Negative: it broke, or no memory.
enum { FLOW_UNSENT = 1 };
MUST_USE int flows_take_joined(struct flows *flows, const struct flow_arrival *arrival, struct stream **stream);
// Source: a link has come up; flows that waited for one go on.
void flows_link_is_up(struct flows *flows);
// Source: nothing new is to begin: flows that still wait for a link are turned away.
void flows_drain(struct flows *flows);
// Dest: a stream whose header has come (stream_header_fn). The target is dialled, then both are joined.
void flows_take_stream(void *flows, struct stream *stream, const struct header *header);
