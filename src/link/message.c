#include "link/message.h"

#include "core/codec.h"
#include "link/schedule.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static const char *const NAMES[] = {
	[MESSAGE_HELLO] = "HELLO",
	[MESSAGE_KEY_WANT] = "KEY_WANT",
	[MESSAGE_KEY] = "KEY",
	[MESSAGE_EPOCH_OFFER] = "EPOCH_OFFER",
	[MESSAGE_EPOCH_ACCEPT] = "EPOCH_ACCEPT",
	[MESSAGE_EPOCH_DONE] = "EPOCH_DONE",
	[MESSAGE_OPEN] = "OPEN",
	[MESSAGE_OPEN_FAILED] = "OPEN_FAILED",
	[MESSAGE_PING] = "PING",
	[MESSAGE_PONG] = "PONG",
	[MESSAGE_GOAWAY] = "GOAWAY",
	[MESSAGE_CLOSE] = "CLOSE",
	[MESSAGE_EPOCH_WANT] = "EPOCH_WANT",
	[MESSAGE_EPOCH_RETRY] = "EPOCH_RETRY",
};
_Static_assert(COUNT_OF(NAMES) == MESSAGE_EPOCH_RETRY + 1, "one name for each message");

bool message_is_known(uint8_t type)
{
	return type >= MESSAGE_HELLO && type <= MESSAGE_EPOCH_RETRY;
}

const char *message_name(uint8_t type)
{
	return message_is_known(type) ? NAMES[type] : "unknown message";
}

static struct message_length exactly(size_t length)
{
	return (struct message_length){(uint32_t)length, (uint32_t)length};
}

static size_t offer_length(uint8_t legs)
{
	size_t length = 4 + 1 + X25519_BYTES;
	if (legs & LEG_MLKEM768)
		length += MLKEM768_KEY_BYTES;
	if (legs & LEG_MCELIECE)
		length += DIGEST_BYTES + MCELIECE_CIPHERTEXT_BYTES;
	return length;
}

static size_t accept_length(uint8_t legs)
{
	size_t length = 4 + X25519_BYTES + MESSAGE_CONFIRM_BYTES;
	if (legs & LEG_MLKEM768)
		length += MLKEM768_CIPHERTEXT_BYTES;
	return length;
}

struct message_length message_length(enum message_type type, uint8_t legs)
{
	switch (type) {
	case MESSAGE_HELLO:
		return (struct message_length){0, LIMIT_HELLO_BYTES};
	case MESSAGE_KEY_WANT:
	case MESSAGE_EPOCH_WANT:
		return exactly(0);
	case MESSAGE_KEY:
		return exactly(LIMIT_KEY_BYTES);
	case MESSAGE_EPOCH_OFFER:
		return exactly(offer_length(legs));
	case MESSAGE_EPOCH_ACCEPT:
		return exactly(accept_length(legs));
	case MESSAGE_EPOCH_DONE:
		return exactly(MESSAGE_CONFIRM_BYTES);
	case MESSAGE_OPEN:
		return (struct message_length){MESSAGE_OPEN_MAX_BYTES - LIMIT_SERVICE_NAME_BYTES + 1, MESSAGE_OPEN_MAX_BYTES};
	case MESSAGE_OPEN_FAILED:
		return (struct message_length){STREAM_TOKEN_BYTES + 1 + 2, MESSAGE_OPEN_FAILED_MAX_BYTES};
	case MESSAGE_PING:
	case MESSAGE_PONG:
		return exactly(MESSAGE_PING_BYTES);
	case MESSAGE_GOAWAY:
		return exactly(2 + 4);
	case MESSAGE_CLOSE:
		return (struct message_length){2 + 2, MESSAGE_CLOSE_MAX_BYTES};
	case MESSAGE_EPOCH_RETRY:
		return exactly(DIGEST_BYTES);
	}
	return exactly(0);
}

static bool is_printable(char c)
{
	return c >= 0x20 && c <= 0x7e;
}

bool message_text_is_printable(const char *text)
{
	for (; *text != '\0'; text++) {
		if (!is_printable(*text))
			return false;
	}
	return true;
}

void message_text_clean(char *text)
{
	for (; *text != '\0'; text++) {
		if (!is_printable(*text))
			*text = '?';
	}
}

// ---- writing: the header's length is filled in at the end

static void begin(struct writer *writer, uint8_t *out, size_t size)
{
	writer_init(writer, out, size);
	writer_u32(writer, 0);
	writer_u8(writer, 0);
}

static size_t finish(struct writer *writer, enum message_type type)
{
	assert(!writer->bad);
	size_t length = writer_length(writer);
	frame_encode_header(writer->start, (uint8_t)type, length - FRAME_HEADER_BYTES);
	return length;
}

static size_t encode_bytes(enum message_type type, const void *bytes, size_t length, uint8_t *out)
{
	struct writer writer;
	begin(&writer, out, MESSAGE_SMALL_FRAME_BYTES);
	if (length > 0)
		writer_bytes(&writer, bytes, length);
	return finish(&writer, type);
}

size_t message_encode_empty(enum message_type type, uint8_t out[MESSAGE_SMALL_FRAME_BYTES])
{
	return encode_bytes(type, NULL, 0, out);
}

size_t message_encode_ping(enum message_type type, const uint8_t opaque[MESSAGE_PING_BYTES],
                           uint8_t out[MESSAGE_SMALL_FRAME_BYTES])
{
	return encode_bytes(type, opaque, MESSAGE_PING_BYTES, out);
}

size_t message_encode_retry(const uint8_t digest[DIGEST_BYTES], uint8_t out[MESSAGE_SMALL_FRAME_BYTES])
{
	return encode_bytes(MESSAGE_EPOCH_RETRY, digest, DIGEST_BYTES, out);
}

size_t message_encode_done(const uint8_t confirm[MESSAGE_CONFIRM_BYTES], uint8_t out[MESSAGE_SMALL_FRAME_BYTES])
{
	return encode_bytes(MESSAGE_EPOCH_DONE, confirm, MESSAGE_CONFIRM_BYTES, out);
}

// ---- GOAWAY and CLOSE

static bool is_reason(uint16_t code)
{
	return code > CONTROL_REASON_NONE && code <= CONTROL_REASON_TAKEN;
}

size_t message_encode_goaway(enum control_reason reason, uint32_t deadline_ms, uint8_t out[MESSAGE_SMALL_FRAME_BYTES])
{
	struct writer writer;
	begin(&writer, out, MESSAGE_SMALL_FRAME_BYTES);
	writer_u16(&writer, (uint16_t)reason);
	writer_u32(&writer, deadline_ms);
	return finish(&writer, MESSAGE_GOAWAY);
}

int message_decode_goaway(const struct frame *frame, enum control_reason *reason, uint32_t *deadline_ms)
{
	struct reader reader;
	reader_init(&reader, frame->body, frame->body_length);
	uint16_t code = reader_u16(&reader);
	uint32_t deadline = reader_u32(&reader);
	if (!reader_is_done(&reader))
		return MESSAGE_BAD;
	*reason = is_reason(code) ? (enum control_reason)code : CONTROL_REASON_INTERNAL;
	*deadline_ms = deadline;
	return 0;
}

size_t message_encode_close(enum control_reason reason, const char *text, uint8_t out[MESSAGE_SMALL_FRAME_BYTES])
{
	char clean[LIMIT_REASON_BYTES + 1];
	snprintf(clean, sizeof clean, "%s", text);
	message_text_clean(clean);
	struct writer writer;
	begin(&writer, out, MESSAGE_SMALL_FRAME_BYTES);
	writer_u16(&writer, (uint16_t)reason);
	writer_text(&writer, clean);
	return finish(&writer, MESSAGE_CLOSE);
}

int message_decode_close(const struct frame *frame, enum control_reason *reason, char text[LIMIT_REASON_BYTES + 1])
{
	char received[LIMIT_REASON_BYTES + 1] = "";
	struct reader reader;
	reader_init(&reader, frame->body, frame->body_length);
	uint16_t code = reader_u16(&reader);
	reader_text(&reader, received, sizeof received);
	if (!reader_is_done(&reader))
		return MESSAGE_BAD;
	message_text_clean(received);
	if (is_reason(code)) {
		*reason = (enum control_reason)code;
		memcpy(text, received, sizeof received);
		return 0;
	}
	*reason = CONTROL_REASON_INTERNAL;
	// A text of full length loses its end to the number.
	int length = snprintf(text, LIMIT_REASON_BYTES + 1, "(unknown reason %u) ", code);
	strncat(text, received, (size_t)(LIMIT_REASON_BYTES - length));
	return 0;
}

// ---- OPEN and OPEN_FAILED

size_t message_encode_open(const struct control_open *open, uint8_t out[MESSAGE_SMALL_FRAME_BYTES])
{
	struct writer writer;
	begin(&writer, out, MESSAGE_SMALL_FRAME_BYTES);
	writer_bytes(&writer, open->token, sizeof open->token);
	writer_u32(&writer, open->deadline_ms);
	writer_text(&writer, open->service);
	return finish(&writer, MESSAGE_OPEN);
}

int message_decode_open(const struct frame *frame, struct control_open *open)
{
	struct control_open decoded = {0};
	struct reader reader;
	reader_init(&reader, frame->body, frame->body_length);
	reader_copy(&reader, decoded.token, sizeof decoded.token);
	decoded.deadline_ms = reader_u32(&reader);
	reader_text(&reader, decoded.service, sizeof decoded.service);
	if (!reader_is_done(&reader) || decoded.service[0] == '\0' || !header_is_word(decoded.service))
		return MESSAGE_BAD;
	*open = decoded;
	return 0;
}

size_t message_encode_open_failed(const uint8_t token[STREAM_TOKEN_BYTES], const struct header_answer *answer,
                                  uint8_t out[MESSAGE_SMALL_FRAME_BYTES])
{
	char clean[LIMIT_REASON_BYTES + 1];
	snprintf(clean, sizeof clean, "%s", answer->reason);
	message_text_clean(clean);
	struct writer writer;
	begin(&writer, out, MESSAGE_SMALL_FRAME_BYTES);
	writer_bytes(&writer, token, STREAM_TOKEN_BYTES);
	writer_u8(&writer, (uint8_t)answer->status);
	writer_text(&writer, clean);
	return finish(&writer, MESSAGE_OPEN_FAILED);
}

int message_decode_open_failed(const struct frame *frame, uint8_t token[STREAM_TOKEN_BYTES],
                               struct header_answer *answer)
{
	struct header_answer decoded = {0};
	struct reader reader;
	reader_init(&reader, frame->body, frame->body_length);
	const uint8_t *bytes = reader_bytes(&reader, STREAM_TOKEN_BYTES);
	uint8_t status = reader_u8(&reader);
	reader_text(&reader, decoded.reason, sizeof decoded.reason);
	// Hostile: a failure that says it is none.
	if (!reader_is_done(&reader) || status == HEADER_OK)
		return MESSAGE_BAD;
	decoded.status = status > HEADER_INTERNAL ? HEADER_INTERNAL : (enum header_status)status;
	message_text_clean(decoded.reason);
	memcpy(token, bytes, STREAM_TOKEN_BYTES);
	*answer = decoded;
	return 0;
}

// ---- EPOCH_OFFER and EPOCH_ACCEPT

size_t message_encode_offer(const struct message_offer *offer, uint8_t out[MESSAGE_OFFER_FRAME_BYTES])
{
	struct writer writer;
	begin(&writer, out, MESSAGE_OFFER_FRAME_BYTES);
	writer_u32(&writer, offer->epoch);
	writer_u8(&writer, offer->legs);
	writer_bytes(&writer, offer->x25519, X25519_BYTES);
	if (offer->legs & LEG_MLKEM768)
		writer_bytes(&writer, offer->mlkem768, MLKEM768_KEY_BYTES);
	if (offer->legs & LEG_MCELIECE) {
		writer_bytes(&writer, offer->mceliece_digest, DIGEST_BYTES);
		writer_bytes(&writer, offer->mceliece_ciphertext, MCELIECE_CIPHERTEXT_BYTES);
	}
	return finish(&writer, MESSAGE_EPOCH_OFFER);
}

int message_decode_offer(const struct frame *frame, struct message_offer *offer)
{
	struct message_offer decoded = {0};
	struct reader reader;
	reader_init(&reader, frame->body, frame->body_length);
	decoded.epoch = reader_u32(&reader);
	decoded.legs = reader_u8(&reader);
	decoded.x25519 = reader_bytes(&reader, X25519_BYTES);
	if (decoded.legs & LEG_MLKEM768)
		decoded.mlkem768 = reader_bytes(&reader, MLKEM768_KEY_BYTES);
	if (decoded.legs & LEG_MCELIECE) {
		decoded.mceliece_digest = reader_bytes(&reader, DIGEST_BYTES);
		decoded.mceliece_ciphertext = reader_bytes(&reader, MCELIECE_CIPHERTEXT_BYTES);
	}
	if (!reader_is_done(&reader))
		return MESSAGE_BAD;
	*offer = decoded;
	return 0;
}

size_t message_encode_accept(const struct message_accept *accept, uint8_t out[MESSAGE_ACCEPT_FRAME_BYTES])
{
	static const uint8_t zeros[MESSAGE_CONFIRM_BYTES];
	struct writer writer;
	begin(&writer, out, MESSAGE_ACCEPT_FRAME_BYTES);
	writer_u32(&writer, accept->epoch);
	writer_bytes(&writer, accept->x25519, X25519_BYTES);
	if (accept->mlkem768)
		writer_bytes(&writer, accept->mlkem768, MLKEM768_CIPHERTEXT_BYTES);
	writer_bytes(&writer, accept->confirm ? accept->confirm : zeros, MESSAGE_CONFIRM_BYTES);
	return finish(&writer, MESSAGE_EPOCH_ACCEPT);
}

int message_decode_accept(const struct frame *frame, uint8_t legs, struct message_accept *accept)
{
	struct message_accept decoded = {0};
	struct reader reader;
	reader_init(&reader, frame->body, frame->body_length);
	decoded.epoch = reader_u32(&reader);
	decoded.x25519 = reader_bytes(&reader, X25519_BYTES);
	if (legs & LEG_MLKEM768)
		decoded.mlkem768 = reader_bytes(&reader, MLKEM768_CIPHERTEXT_BYTES);
	decoded.confirm = reader_bytes(&reader, MESSAGE_CONFIRM_BYTES);
	if (!reader_is_done(&reader))
		return MESSAGE_BAD;
	*accept = decoded;
	return 0;
}
