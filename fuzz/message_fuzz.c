// Frames and the bodies of all messages but HELLO. The first byte says where the stream is cut for its second reading:
// however the bytes arrive, the same frames come out, and each decodes to something its encoder turns back into it.

#include "link/message.h"
#include "link/schedule.h"

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FUZZ_MAX_BYTES = 64 * 1024, FUZZ_MODES = 3 };
static const uint8_t MODES[FUZZ_MODES] = {LEG_X25519 | LEG_MLKEM768 | LEG_MCELIECE, LEG_X25519 | LEG_MLKEM768,
                                          LEG_X25519 | LEG_MCELIECE};

static void try_offer(const struct frame *frame)
{
	uint8_t out[MESSAGE_OFFER_FRAME_BYTES];
	struct message_offer offer;
	if (message_decode_offer(frame, &offer) != 0)
		return;
	assert(frame->body_length == message_length(MESSAGE_EPOCH_OFFER, offer.legs).most);
	assert(message_encode_offer(&offer, out) == frame->length);
	assert(memcmp(out + FRAME_HEADER_BYTES, frame->body, frame->body_length) == 0);
}

static void try_accept(const struct frame *frame)
{
	uint8_t out[MESSAGE_ACCEPT_FRAME_BYTES];
	struct message_accept accept;
	for (size_t i = 0; i < FUZZ_MODES; i++) {
		if (message_decode_accept(frame, MODES[i], &accept) != 0)
			continue;
		assert(frame->body_length == message_length(MESSAGE_EPOCH_ACCEPT, MODES[i]).most);
		assert(message_encode_accept(&accept, out) == frame->length);
		assert(memcmp(out + FRAME_HEADER_BYTES, frame->body, frame->body_length) == 0);
	}
}

static void try_close(const struct frame *frame)
{
	char text[LIMIT_REASON_BYTES + 1], again[LIMIT_REASON_BYTES + 1];
	uint8_t out[MESSAGE_SMALL_FRAME_BYTES];
	enum control_reason reason, reason_again;
	if (message_decode_close(frame, &reason, text) != 0)
		return;
	assert(reason > CONTROL_REASON_NONE && reason <= CONTROL_REASON_TAKEN);
	assert(strlen(text) <= LIMIT_REASON_BYTES && message_text_is_printable(text));
	size_t length = message_encode_close(reason, text, out);
	struct frame second = {MESSAGE_CLOSE, out, length, out + FRAME_HEADER_BYTES, length - FRAME_HEADER_BYTES};
	assert(message_decode_close(&second, &reason_again, again) == 0);
	assert(reason == reason_again && strcmp(text, again) == 0);
}

static void try_open(const struct frame *frame)
{
	uint8_t out[MESSAGE_SMALL_FRAME_BYTES];
	struct control_open open;
	if (message_decode_open(frame, &open) != 0)
		return;
	assert(open.service[0] != '\0' && header_is_word(open.service));
	assert(message_encode_open(&open, out) == frame->length);
	assert(memcmp(out + FRAME_HEADER_BYTES, frame->body, frame->body_length) == 0);
}

static void try_open_failed(const struct frame *frame)
{
	uint8_t token[STREAM_TOKEN_BYTES], out[MESSAGE_SMALL_FRAME_BYTES];
	struct header_answer answer;
	if (message_decode_open_failed(frame, token, &answer) != 0)
		return;
	assert(answer.status > HEADER_OK && answer.status <= HEADER_INTERNAL);
	assert(message_text_is_printable(answer.reason));
	assert(message_encode_open_failed(token, &answer, out) == frame->length);
}

static void try_goaway(const struct frame *frame)
{
	enum control_reason reason;
	uint32_t deadline_ms;
	if (message_decode_goaway(frame, &reason, &deadline_ms) == 0)
		assert(frame->body_length == 6 && reason > CONTROL_REASON_NONE && reason <= CONTROL_REASON_KIND);
}

// Reads the stream as the engine does: what is too long for its type ends it, what is unknown is skipped.
static unsigned read_stream(const uint8_t *data, size_t size, size_t cut, uint8_t types[256])
{
	struct framer framer = {0};
	unsigned frames = 0;
	const uint8_t *next = data;
	size_t left = cut;
	for (;;) {
		int outcome = framer_feed(&framer, &next, &left);
		if (outcome == FRAMER_MORE && next == data + size)
			break;
		if (outcome == FRAMER_MORE) {
			left = (size_t)(data + size - next);
		} else if (outcome == FRAMER_HEADER) {
			if (framer.body_length > FUZZ_MAX_BYTES)
				break;
			if (framer.type & MESSAGE_OPTIONAL)
				framer_skip(&framer);
			else if (framer_take(&framer) != 0)
				abort();
		} else {
			struct frame frame = framer_frame(&framer);
			assert(frame.length == FRAME_HEADER_BYTES + frame.body_length && frame.type == frame.bytes[4]);
			types[frames++ % 256] = frame.type;
			try_offer(&frame);
			try_accept(&frame);
			try_close(&frame);
			try_goaway(&frame);
			try_open(&frame);
			try_open_failed(&frame);
			framer_next(&framer);
		}
	}
	framer_fini(&framer);
	return frames;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1 || size > FUZZ_MAX_BYTES)
		return 0;
	uint8_t whole[256] = {0}, cut[256] = {0};
	size_t at = (size - 1) * data[0] / 256;
	unsigned frames = read_stream(data + 1, size - 1, size - 1, whole);
	assert(read_stream(data + 1, size - 1, at, cut) == frames);
	assert(memcmp(whole, cut, sizeof whole) == 0);
	return 0;
}
