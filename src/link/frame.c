#include "link/frame.h"

#include "core/codec.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void frame_encode_header(uint8_t out[FRAME_HEADER_BYTES], uint8_t type, size_t body_length)
{
	assert(body_length <= UINT32_MAX);
	struct writer writer;
	writer_init(&writer, out, FRAME_HEADER_BYTES);
	writer_u32(&writer, (uint32_t)body_length);
	writer_u8(&writer, type);
}

static uint8_t *framer_bytes(const struct framer *framer)
{
	return framer->large ? framer->large : (uint8_t *)framer->small;
}

// Moves input until `have` reaches `want`; true when it does.
static bool collect(struct framer *framer, size_t want, const uint8_t **bytes, size_t *length)
{
	size_t count = want - framer->have;
	if (count > *length)
		count = *length;
	if (count > 0)
		memcpy(framer_bytes(framer) + framer->have, *bytes, count);
	framer->have += count;
	*bytes += count;
	*length -= count;
	return framer->have == want;
}

static void read_header(struct framer *framer)
{
	struct reader reader;
	reader_init(&reader, framer->small, FRAME_HEADER_BYTES);
	framer->body_length = reader_u32(&reader);
	framer->type = reader_u8(&reader);
}

static bool skip(struct framer *framer, const uint8_t **bytes, size_t *length)
{
	size_t count = framer->have < *length ? framer->have : *length;
	framer->have -= count;
	*bytes += count;
	*length -= count;
	return framer->have == 0;
}

int framer_feed(struct framer *framer, const uint8_t **bytes, size_t *length)
{
	assert(framer->stage != FRAMER_UNDECIDED && framer->stage != FRAMER_AT_END);
	if (framer->stage == FRAMER_SKIPPING) {
		if (!skip(framer, bytes, length))
			return FRAMER_MORE;
		framer_next(framer);
	}
	if (framer->stage == FRAMER_AT_HEADER) {
		if (!collect(framer, FRAME_HEADER_BYTES, bytes, length))
			return FRAMER_MORE;
		read_header(framer);
		framer->stage = FRAMER_UNDECIDED;
		return FRAMER_HEADER;
	}
	if (!collect(framer, FRAME_HEADER_BYTES + (size_t)framer->body_length, bytes, length))
		return FRAMER_MORE;
	framer->stage = FRAMER_AT_END;
	return 0;
}

int framer_take(struct framer *framer)
{
	assert(framer->stage == FRAMER_UNDECIDED);
	if (framer->body_length > FRAMER_SMALL_BYTES) {
		framer->large = malloc(FRAME_HEADER_BYTES + (size_t)framer->body_length);
		if (!framer->large)
			return -ENOMEM;
		memcpy(framer->large, framer->small, FRAME_HEADER_BYTES);
	}
	framer->stage = FRAMER_IN_BODY;
	return 0;
}

void framer_skip(struct framer *framer)
{
	assert(framer->stage == FRAMER_UNDECIDED);
	framer->stage = FRAMER_SKIPPING;
	framer->have = framer->body_length;
}

struct frame framer_frame(const struct framer *framer)
{
	assert(framer->stage == FRAMER_AT_END);
	const uint8_t *bytes = framer_bytes(framer);
	return (struct frame){
		.type = framer->type,
		.bytes = bytes,
		.length = FRAME_HEADER_BYTES + (size_t)framer->body_length,
		.body = bytes + FRAME_HEADER_BYTES,
		.body_length = framer->body_length,
	};
}

void framer_next(struct framer *framer)
{
	free(framer->large);
	framer->large = NULL;
	framer->stage = FRAMER_AT_HEADER;
	framer->have = 0;
}

void framer_fini(struct framer *framer)
{
	framer_next(framer);
}
