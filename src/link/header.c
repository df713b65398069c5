#include "link/header.h"

#include "core/codec.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

enum {
	HEAD_BYTES = 3, // u8 kind or status, u16 length
	TLV_SERVICE = 1,
	TLV_PORT = 2,
	TLV_ORIGIN = 3,
	TLV_TOKEN = 4,
	TLV_OFFLOAD = 5,
	TLV_OPTIONAL = 0x80,
};
_Static_assert(HEAD_BYTES + (3 + LIMIT_SERVICE_NAME_BYTES) + (3 + 2) + (3 + 63) <= LIMIT_STREAM_HEADER_BYTES,
               "the largest header we write fits");
_Static_assert(HEAD_BYTES + LIMIT_REASON_BYTES <= LIMIT_STREAM_HEADER_BYTES, "the largest answer fits");

static const char *const STATUS_NAMES[] = {
	[HEADER_OK] = "ok",
	[HEADER_NO_SERVICE] = "no such service",
	[HEADER_REFUSED_TARGET] = "target refused",
	[HEADER_TIMED_OUT] = "timed out",
	[HEADER_LIMIT] = "limit reached",
	[HEADER_DRAINING] = "draining",
	[HEADER_INTERNAL] = "internal error",
};
_Static_assert(COUNT_OF(STATUS_NAMES) == HEADER_INTERNAL + 1, "one name for each status");

const char *header_status_name(enum header_status status)
{
	if ((unsigned)status >= COUNT_OF(STATUS_NAMES))
		return "unknown";
	return STATUS_NAMES[status];
}

bool header_is_word(const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text < 0x21 || *text > 0x7e)
			return false;
	}
	return true;
}

static void encode_text(struct writer *writer, uint8_t type, const char *text)
{
	if (*text == '\0')
		return;
	assert(header_is_word(text));
	writer_u8(writer, type);
	writer_text(writer, text);
}

// The length field is known when everything else has been written.
static size_t encode_end(struct writer *writer, uint8_t *out)
{
	assert(!writer->bad);
	size_t length = writer_length(writer);
	size_t rest = length - HEAD_BYTES;
	out[1] = (uint8_t)(rest >> 8);
	out[2] = (uint8_t)rest;
	return length;
}

// The two with which the side that dials offers a data connection to the other one.
static bool is_offer(enum header_kind kind)
{
	return kind == HEADER_CLAIM || kind == HEADER_PARK;
}

size_t header_encode(const struct header *header, uint8_t out[LIMIT_STREAM_HEADER_BYTES])
{
	assert(header->kind == HEADER_TCP || header->kind == HEADER_UDP || header->kind == HEADER_PACKETS ||
	       is_offer(header->kind));
	assert(is_offer(header->kind) || header->service[0] != '\0' || header->port != 0);
	struct writer writer;
	writer_init(&writer, out, LIMIT_STREAM_HEADER_BYTES);
	writer_u8(&writer, (uint8_t)header->kind);
	writer_u16(&writer, 0);
	if (header->kind == HEADER_CLAIM) {
		writer_u8(&writer, TLV_TOKEN);
		writer_u16(&writer, STREAM_TOKEN_BYTES);
		writer_bytes(&writer, header->token, STREAM_TOKEN_BYTES);
	}
	if (is_offer(header->kind))
		return encode_end(&writer, out);
	encode_text(&writer, TLV_SERVICE, header->service);
	if (header->port != 0) {
		writer_u8(&writer, TLV_PORT);
		writer_u16(&writer, 2);
		writer_u16(&writer, header->port);
	}
	encode_text(&writer, TLV_ORIGIN, header->origin);
	return encode_end(&writer, out);
}

// A TLV's value, whose length has been read already, as text with a final NUL.
static bool decode_text(struct reader *reader, uint16_t length, char *out, size_t size)
{
	if (length == 0 || length >= size)
		return false;
	const uint8_t *bytes = reader_bytes(reader, length);
	if (!bytes || memchr(bytes, 0, length))
		return false;
	memcpy(out, bytes, length);
	out[length] = '\0';
	return header_is_word(out);
}

// False: not acceptable.
static bool decode_tlv(struct reader *reader, struct header *header, unsigned *seen)
{
	uint8_t type = reader_u8(reader);
	uint16_t length = reader_u16(reader);
	if (type & TLV_OPTIONAL) {
		reader_bytes(reader, length);
		return !reader->bad;
	}
	if (type > TLV_OFFLOAD || (*seen & (1u << type)))
		return false;
	*seen |= 1u << type;
	// An offer says nothing but its token.
	if (is_offer(header->kind) != (type == TLV_TOKEN))
		return false;
	switch (type) {
	case TLV_SERVICE:
		return decode_text(reader, length, header->service, sizeof header->service);
	case TLV_PORT:
		if (length != 2)
			return false;
		header->port = reader_u16(reader);
		return !reader->bad && header->port != 0;
	case TLV_ORIGIN:
		return decode_text(reader, length, header->origin, sizeof header->origin);
	case TLV_TOKEN:
		if (header->kind != HEADER_CLAIM || length != STREAM_TOKEN_BYTES)
			return false;
		reader_copy(reader, header->token, STREAM_TOKEN_BYTES);
		return !reader->bad;
	case TLV_OFFLOAD:
	default:
		// Known to the protocol, but only for kinds that are not built yet.
		return false;
	}
}

// The three bytes every header and answer begins with. Hostile: the length is judged as soon as it is there, so nobody
// waits for (or keeps) bytes that could never be accepted.
static int decode_head(const uint8_t *bytes, size_t length, size_t limit, size_t *whole)
{
	if (length < HEAD_BYTES)
		return HEADER_MORE;
	*whole = HEAD_BYTES + ((size_t)bytes[1] << 8 | bytes[2]);
	if (*whole > limit)
		return HEADER_BAD;
	return length < *whole ? HEADER_MORE : 0;
}

static bool is_complete(const struct header *header, unsigned seen)
{
	if (header->kind == HEADER_PARK)
		return true;
	if (header->kind == HEADER_CLAIM)
		return seen & (1u << TLV_TOKEN);
	return header->service[0] != '\0' || header->port != 0;
}

int header_decode(const uint8_t *bytes, size_t length, struct header *header, size_t *used)
{
	if (length > 0 && (bytes[0] < HEADER_TCP || bytes[0] > HEADER_PACKETS) && !is_offer((enum header_kind)bytes[0]))
		return HEADER_BAD;
	size_t whole;
	int outcome = decode_head(bytes, length, LIMIT_STREAM_HEADER_BYTES, &whole);
	if (outcome != 0)
		return outcome;
	struct header decoded = {.kind = (enum header_kind)bytes[0]};
	unsigned seen = 0;
	struct reader reader;
	reader_init(&reader, bytes + HEAD_BYTES, whole - HEAD_BYTES);
	while (reader_left(&reader) > 0) {
		if (!decode_tlv(&reader, &decoded, &seen))
			return HEADER_BAD;
	}
	if (!is_complete(&decoded, seen))
		return HEADER_BAD;
	*header = decoded;
	*used = whole;
	return 0;
}

size_t header_answer_encode(const struct header_answer *answer, uint8_t out[LIMIT_STREAM_HEADER_BYTES])
{
	assert(answer->status <= HEADER_INTERNAL);
	struct writer writer;
	writer_init(&writer, out, LIMIT_STREAM_HEADER_BYTES);
	writer_u8(&writer, (uint8_t)answer->status);
	writer_u16(&writer, 0);
	writer_bytes(&writer, answer->reason, strnlen(answer->reason, LIMIT_REASON_BYTES));
	return encode_end(&writer, out);
}

int header_answer_decode(const uint8_t *bytes, size_t length, struct header_answer *answer, size_t *used)
{
	if (length > 0 && bytes[0] > HEADER_INTERNAL)
		return HEADER_BAD;
	size_t whole;
	int outcome = decode_head(bytes, length, HEAD_BYTES + LIMIT_REASON_BYTES, &whole);
	if (outcome != 0)
		return outcome;
	size_t reason_length = whole - HEAD_BYTES;
	if (memchr(bytes + HEAD_BYTES, 0, reason_length))
		return HEADER_BAD;
	struct header_answer decoded = {.status = (enum header_status)bytes[0]};
	memcpy(decoded.reason, bytes + HEAD_BYTES, reason_length);
	*answer = decoded;
	*used = whole;
	return 0;
}
