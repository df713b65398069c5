// The first bytes of a data connection: stream header, its answer, and the PSK identity of the ClientHello before them.
// What decodes is encoded again and decodes to the same; what is cut is never judged differently than "more" or "bad".

#include "link/header.h"
#include "link/schedule.h"

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_word(const char *text, size_t room)
{
	size_t length = strnlen(text, room);
	assert(length < room);
	for (size_t i = 0; i < length; i++)
		assert(text[i] > 0x20 && text[i] < 0x7f);
}

static void try_header(const uint8_t *data, size_t size)
{
	uint8_t bytes[LIMIT_STREAM_HEADER_BYTES];
	struct header header, again;
	size_t used = 0, used_again = 0;
	int outcome = header_decode(data, size, &header, &used);
	if (outcome == HEADER_MORE)
		assert(size < LIMIT_STREAM_HEADER_BYTES);
	if (outcome != 0)
		return;
	assert(used <= size && used <= LIMIT_STREAM_HEADER_BYTES);
	bool is_offer = header.kind == HEADER_CLAIM || header.kind == HEADER_PARK;
	assert(header.kind >= HEADER_TCP && header.kind <= HEADER_PARK);
	assert(is_offer == (header.service[0] == '\0' && header.port == 0));
	check_word(header.service, sizeof header.service);
	check_word(header.origin, sizeof header.origin);
	for (size_t cut = 0; cut < used; cut++)
		assert(header_decode(data, cut, &again, &used_again) == HEADER_MORE);
	size_t length = header_encode(&header, bytes);
	assert(header_decode(bytes, length, &again, &used_again) == 0 && used_again == length);
	assert(strcmp(header.service, again.service) == 0 && strcmp(header.origin, again.origin) == 0);
	assert(header.port == again.port && header.kind == again.kind);
}

static void try_answer(const uint8_t *data, size_t size)
{
	uint8_t bytes[LIMIT_STREAM_HEADER_BYTES];
	struct header_answer answer;
	size_t used = 0;
	int outcome = header_answer_decode(data, size, &answer, &used);
	if (outcome == HEADER_MORE)
		assert(size < 3 + LIMIT_REASON_BYTES);
	if (outcome != 0)
		return;
	assert(used <= size && header_status_name(answer.status) != NULL);
	// An answer has one encoding.
	assert(header_answer_encode(&answer, bytes) == used && memcmp(bytes, data, used) == 0);
}

static void try_identity(const uint8_t *data, size_t size)
{
	uint8_t bytes[PSK_IDENTITY_BYTES];
	struct psk_identity identity;
	if (psk_identity_decode(data, size, &identity) != 0)
		return;
	assert(size == PSK_IDENTITY_BYTES);
	psk_identity_encode(&identity, bytes);
	assert(memcmp(bytes, data, size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	try_header(data, size);
	try_answer(data, size);
	try_identity(data, size);
	return 0;
}
