// An initiator worker's store of finished data connections: a new stream takes a parked one and starts at once, or
// dials with early data when none is left. The store grows with misses and shrinks when it is not used. One per worker
// and link peer; lives on its worker's loop.

#pragma once

#include "link/stream.h"

struct pool;

typedef void (*pool_lost_fn)(void *owner, struct link *link, const uint8_t token[STREAM_TOKEN_BYTES],
                             const struct header_answer *answer);

struct pool_settings {
	struct loop *loop;
	unsigned size;          // parked connections to keep, at least; grows up to eight times that
	const char *congestion; // lent until pool_set names another
	uint32_t keepalive_ms, handshake_ms;
	// Reverse links: what is parked is offered to the responder, whose headers come to on_header (as to an acceptor's);
	// nothing is opened from here. NULL: a link of the usual kind.
	stream_header_fn on_header;
	// Reverse links: nothing will come of a claim, and why, while the responder still waits for it; for OPEN_FAILED.
	// May come from within a call. NULL: the responder is left to its deadline.
	pool_lost_fn on_claim_lost;
	void *owner;
};

MUST_USE int pool_new(const struct pool_settings *settings, struct pool **pool);
// New settings for what is dialled from now on; the loop stays.
void pool_set(struct pool *pool, const struct pool_settings *settings);
void pool_free(struct pool **pool);
// The link whose connections to keep; NULL: none. A reference is taken. Parked connections of another link are dropped.
// Negative: the data profile could not be made (logged by the caller).
MUST_USE int pool_set_link(struct pool *pool, struct link *link);
// Opens a stream with its header and the first bytes the local side has sent. POOL_NO_LINK: there is no link now; ask
// again when pool_set_link has been called. Negative: no memory, or the parked connection broke.
enum { POOL_NO_LINK = 1 };
MUST_USE int pool_open(struct pool *pool, const struct stream_opening *opening, struct stream **stream);
// Reverse links: dials a data connection that claims the token of an OPEN, as long as its deadline allows; what comes
// of it is a header, or nothing. POOL_NO_LINK; POOL_FULL: as many are under way as may. Negative: no memory.
enum { POOL_FULL = 2 };
MUST_USE int pool_claim(struct pool *pool, struct link *link, const struct control_open *open);
// Whether pool_open would find a link.
bool pool_is_ready(const struct pool *pool);
