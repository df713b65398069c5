// Frames of a control connection: u32 length of the body | u8 type | body. The framer collects them from any split of
// bytes. It knows no message: after each header it stops and its owner says whether the body is taken or skipped, so
// nothing is held, or allocated, that the owner's state does not allow. Pure. Spec: docs/protocol.md, "Frames".

#pragma once

#include "core/outcome.h"
#include "limits.h"

#include <stddef.h>
#include <stdint.h>

#define FRAME_HEADER_BYTES 5

// A whole frame, lent.
struct frame {
	uint8_t type;
	const uint8_t *bytes; // header included, as it is hashed
	size_t length;
	const uint8_t *body;
	size_t body_length;
};

// Writes the header of a frame whose body has body_length bytes.
void frame_encode_header(uint8_t out[FRAME_HEADER_BYTES], uint8_t type, size_t body_length);

enum framer_stage { FRAMER_AT_HEADER, FRAMER_UNDECIDED, FRAMER_IN_BODY, FRAMER_SKIPPING, FRAMER_AT_END };

// What most control connections say most of the time, PING and PONG, fits; a body that is longer gets memory of its own
// when its owner takes it. A hub has thousands of framers that say nothing.
#define FRAMER_SMALL_BYTES 64

// The null value {0} is a framer at the beginning of a frame.
struct framer {
	enum framer_stage stage;
	uint8_t type;         // valid from FRAMER_HEADER on
	uint32_t body_length; // likewise
	size_t have;          // bytes collected, of the header or of the whole frame; while skipping: bytes still to skip
	uint8_t *large;       // a frame that `small` cannot hold, while it comes and is read
	uint8_t small[FRAME_HEADER_BYTES + FRAMER_SMALL_BYTES];
};

enum {
	FRAMER_MORE = 1,   // all bytes are used up, the frame is not complete
	FRAMER_HEADER = 2, // type and body_length are known: call framer_take, framer_skip or framer_fini, then feed again
};
// Advances *bytes and *length over what was used. 0: a frame is complete; read it with framer_frame, then framer_next.
MUST_USE int framer_feed(struct framer *framer, const uint8_t **bytes, size_t *length);
// A body longer than FRAMER_SMALL_BYTES is allocated here, so the owner has checked the length. -ENOMEM.
MUST_USE int framer_take(struct framer *framer);
void framer_skip(struct framer *framer);
// The complete frame, lent until framer_next.
struct frame framer_frame(const struct framer *framer);
void framer_next(struct framer *framer);
void framer_fini(struct framer *framer);
