#include "crypto/renewal_message.h"

#include "core/codec.h"

#include <stdbool.h>
#include <string.h>

static const char magic[4] = {'Q', 'R', 'N', '1'};

void renewal_message_request_head(size_t length, uint8_t head[RENEWAL_REQUEST_HEAD_BYTES])
{
	struct writer writer;

	writer_init(&writer, head, RENEWAL_REQUEST_HEAD_BYTES);
	writer_bytes(&writer, magic, sizeof magic);
	writer_u32(&writer, (uint32_t)length);
}

void renewal_message_answer_head(enum renewal_outcome outcome, size_t length, uint8_t head[RENEWAL_ANSWER_HEAD_BYTES])
{
	struct writer writer;

	writer_init(&writer, head, RENEWAL_ANSWER_HEAD_BYTES);
	writer_bytes(&writer, magic, sizeof magic);
	writer_u8(&writer, (uint8_t)outcome);
	writer_u32(&writer, (uint32_t)length);
}

static int decode(const uint8_t *bytes, size_t length, bool is_answer, struct renewal_body *body)
{
	size_t head = is_answer ? RENEWAL_ANSWER_HEAD_BYTES : RENEWAL_REQUEST_HEAD_BYTES;
	struct reader reader;

	// Hostile: what does not begin as ours is known by its first bytes.
	if (memcmp(bytes, magic, length < sizeof magic ? length : sizeof magic) != 0)
		return RENEWAL_MESSAGE_BAD;
	if (length < head)
		return RENEWAL_MESSAGE_MORE;
	reader_init(&reader, bytes + sizeof magic, head - sizeof magic);
	unsigned outcome = is_answer ? reader_u8(&reader) : RENEWAL_OUTCOME_SIGNED;
	uint32_t announced = reader_u32(&reader);
	if (outcome > RENEWAL_OUTCOME_REFUSED || announced == 0 || announced > LIMIT_RENEWAL_BYTES ||
	    length - head > announced)
		return RENEWAL_MESSAGE_BAD;
	if (length - head < announced)
		return RENEWAL_MESSAGE_MORE;
	*body = (struct renewal_body){(enum renewal_outcome)outcome, bytes + head, announced};
	return 0;
}

int renewal_message_request(const uint8_t *bytes, size_t length, struct renewal_body *body)
{
	return decode(bytes, length, false, body);
}

int renewal_message_answer(const uint8_t *bytes, size_t length, struct renewal_body *body)
{
	return decode(bytes, length, true, body);
}
