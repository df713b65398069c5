// A stream: one ordered byte channel on a link, here on a data connection of its own (carrier TLS). The opener sends a
// stream header, the acceptor answers it; then both move raw bytes, each direction with its own end. Spec:
// protocol.md 3.
//
// Back-pressure is silence: while stream_has_room is false nothing is sent, while the owner does not want to read
// nothing is read. A stream lives on one loop. Callbacks come from that loop, never from within a call of the owner.

#pragma once

#include "core/loop.h"
#include "core/outcome.h"
#include "link/header.h"
#include "link/link.h"
#include "net/socket.h"

#include <stdbool.h>
#include <stdint.h>

struct stream;

enum { STREAM_BLOCKED = 1, STREAM_END = 2, STREAM_FAILED = 3 };

struct stream_ops {
	// The stream may have bytes (LOOP_READ), room (LOOP_WRITE), or has failed. The owner may close the stream.
	void (*on_ready)(void *owner, int events);
	// Opener: dest's answer was not HEADER_OK (status and reason are lent), or the stream broke before it came
	// (HEADER_INTERNAL, text says why). The stream is of no more use; the owner closes it.
	void (*on_refused)(void *owner, const struct header_answer *answer);
};

// ---- opener (the link's initiator) ---------------------------------------------------------------------------------

// What a new stream is for: its header, the first bytes (together at most LIMIT_EARLY_DATA_BYTES), and whose it is.
struct stream_opening {
	const struct header *header;
	const uint8_t *first;
	size_t first_length;
	const struct stream_ops *ops;
	void *owner;
};

struct stream_dial {
	struct loop *loop;
	struct tls_profile *profile;              // data, of the link's group
	char congestion[SOCKET_CONGESTION_BYTES]; // copied: a dial may outlive the settings it was started with
	uint32_t keepalive_ms, timeout_ms;
	const struct header *offer; // reverse links, stream_dial_parked: `park` or `claim`, lent; else NULL
};

// A finished data connection for the pool: `on_done` is called once with the stream, parked, or NULL and the reason.
// Opened with a header it is the stream of a flow from the beginning: header and `first` bytes (together at most
// LIMIT_EARLY_DATA_BYTES) leave as early data, and on_done is not called but ops are.
typedef void (*stream_parked_fn)(void *owner, struct stream *stream, const char *problem);
MUST_USE int stream_dial_parked(const struct stream_dial *dial, struct link *link, stream_parked_fn on_done,
                                void *owner, struct stream **stream);
MUST_USE int stream_dial_open(const struct stream_dial *dial, struct link *link, const struct stream_opening *opening,
                              struct stream **stream);
// Puts a parked stream into use. STREAM_UNSENT: it is broken, and nothing of the opening has left: another stream may
// have it.
enum { STREAM_UNSENT = 4 };
MUST_USE int stream_open_parked(struct stream *stream, const struct stream_opening *opening);
// Of a dialled stream that was refused: whether any of it has left. When nothing has, the opening may be sent on
// another stream; its first bytes are lent.
bool stream_has_left(const struct stream *stream);
void stream_unsent(const struct stream *stream, const uint8_t **first, size_t *length);
uint32_t stream_epoch(const struct stream *stream); // the epoch whose PSK it was dialled with

// ---- acceptor (the link's responder) -------------------------------------------------------------------------------

// A data connection whose PSK was burnt; `tls` is taken, its handshake may still be going on. on_header is called once,
// when the opener's header is there, and hands the stream over: the new owner calls stream_own, and accepts or refuses
// it now or later. A connection that ends before that (a parked one usually does) disappears by itself.
typedef void (*stream_header_fn)(void *owner, struct stream *stream, const struct header *header);
MUST_USE int stream_accept(struct loop *loop, struct tls_conn **tls, struct link *link, stream_header_fn on_header,
                           void *owner);
void stream_own(struct stream *stream, const struct stream_ops *ops, void *owner);
// Answers HEADER_OK: bytes may flow. 0 or STREAM_FAILED.
MUST_USE int stream_confirm(struct stream *stream);
// Answers anything else, ends in order and disappears by itself; leaves NULL.
void stream_refuse(struct stream **stream, enum header_status status, const char *reason);

// ---- reverse links (protocol.md, "Reverse links")
// --------------------------------------------------------------------

// The initiator offers a data connection: stream_dial_parked with an offer, then stream_lend. `ops` tell its owner when
// it is lost (on_ready; the owner closes it). Once the responder's header is there on_header is called instead, and the
// stream is an acceptor's: stream_own, then stream_confirm or stream_refuse.
void stream_lend(struct stream *stream, stream_header_fn on_header, const struct stream_ops *ops, void *owner);
// The responder got the offer as a header, its handshake done: from now on the stream is a parked one, for
// stream_open_parked. `ops` (both) tell its owner when it is lost; the owner closes it.
void stream_keep(struct stream *stream, const struct stream_ops *ops, void *owner);

// ---- both ----------------------------------------------------------------------------------------------------------

// Fills at most size bytes: 0 with *got > 0, STREAM_BLOCKED, STREAM_END, STREAM_FAILED.
MUST_USE int stream_recv(struct stream *stream, uint8_t *out, size_t size, size_t *got);
// All of it goes or is kept. Only while stream_has_room, at most LIMIT_UNIT_BYTES. 0 or STREAM_FAILED.
MUST_USE int stream_send(struct stream *stream, const uint8_t *bytes, size_t length);
bool stream_has_room(const struct stream *stream);
// Ends the outward direction. 0 or STREAM_FAILED. Only while stream_has_room.
MUST_USE int stream_finish(struct stream *stream);
// The answer has come (opener) or been given (acceptor).
bool stream_is_open(const struct stream *stream);
// Nothing goes any more, in either direction.
bool stream_is_broken(const struct stream *stream);
// True when nothing sent is still kept here.
bool stream_is_flushed(const struct stream *stream);
// Whether the owner wants LOOP_READ calls (room is always told when it comes back).
void stream_want_read(struct stream *stream, bool wanted);
const char *stream_problem(const struct stream *stream);
// Why it broke: there is no descriptor left for its data connection.
bool stream_lacks_descriptor(const struct stream *stream);
struct link *stream_link(const struct stream *stream);
// Ends it: in order when both directions have ended, otherwise with a reset that the peer will notice.
void stream_close(struct stream **stream);

// Fails all streams of a link on this thread (revocation, expiry, CLOSE). Parked ones too.
void stream_cut_all(struct link *link);
// Closes the acceptor's streams of this thread that have no owner: before their header has come, or refused. For when
// whoever waits for their headers goes.
void stream_drop_unowned(void);
// The same for those of one link whose header has not come, and for those that are kept: parked connections of a link
// that is over.
void stream_drop_parked(struct link *link);
// Gives back record buffers of streams of this thread that were idle since the last call, and breaks those whose peer
// acknowledges nothing for too long (link_silence_ms).
void stream_trim_idle(void);
