// Shared by the stream*.c files only.

#pragma once

#include "link/stream.h"
#include "net/dial.h"

enum stream_phase {
	STREAM_DIALING,   // opener: TCP
	STREAM_HANDSHAKE, // opener: TLS; header and first bytes may have left as early data
	STREAM_PARKED,    // opener: finished, unused; any byte or end drops it. Reverse links: kept by the responder
	STREAM_ASKING,    // opener: header sent, the answer is awaited; sending is allowed
	STREAM_HEADER,    // acceptor: the header is awaited (parked on the opener's side, perhaps for long)
	STREAM_DECIDING,  // acceptor: the owner has not answered yet
	STREAM_OPEN,      // bytes flow
	STREAM_LEAVING,   // acceptor: refused; lingers until the opener has seen why
	STREAM_BROKEN,
};

struct stream {
	struct loop *loop;
	struct link *link;
	struct tls_conn *tls;
	struct loop_io *io;
	struct dial *dial;
	struct loop_timer *deadline;
	struct loop_task release;
	enum stream_phase phase;
	bool closed;  // by its owner: only the memory is left
	bool entered; // charged to the link (acceptor)
	bool counted; // as a stream of the link
	bool want_read;
	bool had_room; // what the owner was told last
	bool is_opener;
	bool is_lent; // initiator of a reverse link: parked with an owner, until the responder's header comes
	bool lacks_descriptor;
	uint32_t epoch;     // whose PSK
	uint32_t key_epoch; // of the last TLS key update
	const struct stream_ops *ops;
	void *owner;
	char problem[TLS_EXPLANATION_BYTES];

	struct stream_dial dialling; // opener
	stream_parked_fn on_parked;
	stream_header_fn on_header; // acceptor

	uint8_t
		*opening; // opener: header and first bytes until they are known to have arrived; acceptor: the answer to send
	size_t opening_length, header_length;
	uint8_t *prefix; // what was read while looking for header or answer; bytes behind it belong to the owner
	size_t prefix_at, prefix_length;

	struct stream *newer, *older; // all streams of this thread
	bool touched, trimmed;        // since stream_trim_idle; record buffers given back
	bool unanswered;              // something is on its way that the peer's kernel has not acknowledged
	uint64_t unanswered_since_ms;
};

// A null stream on this thread's list. NULL without memory.
struct stream *stream_make(struct loop *loop, struct link *link);
// It is a stream from now on, for people who look at the link.
void stream_count(struct stream *stream);
// Marks it broken and tells nobody; the first problem stays. Returns STREAM_FAILED.
int stream_break(struct stream *stream, const char *problem);
// Registers the connection with the loop and starts its handshake or its phase.
MUST_USE int stream_watch(struct stream *stream);
// Readiness of the connection (stream.c), and what each role does with it.
void stream_on_io(void *owner, int events);
void stream_on_opener(struct stream *stream);
void stream_on_acceptor(struct stream *stream);
void stream_set_wants(struct stream *stream);
// The owner hears of bytes, of room that came back, and of the break.
void stream_tell(struct stream *stream, int events);
// Reads towards `prefix`: 0 something came, STREAM_BLOCKED, STREAM_END, STREAM_FAILED.
MUST_USE int stream_read_prefix(struct stream *stream);
void stream_drop_prefix(struct stream *stream, size_t used);
// The bytes in `opening` go out now. 0 or STREAM_FAILED.
MUST_USE int stream_send_opening(struct stream *stream);
// Text of a TLS failure.
void stream_take_problem(struct stream *stream);
