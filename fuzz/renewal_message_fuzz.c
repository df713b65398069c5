// A renewal's request or answer on a connection, as it arrives: the body lies within the input, every part of a whole
// message wants more, and one more byte is refused.

#include "crypto/renewal_message.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int (*decode)(const uint8_t *bytes, size_t length, struct renewal_body *body), const uint8_t *data,
                  size_t size)
{
	static uint8_t longer[RENEWAL_MESSAGE_BYTES + 1];
	struct renewal_body body = {0}, ignored;

	if (decode(data, size, &body) != 0)
		return;
	assert(size <= RENEWAL_MESSAGE_BYTES && body.length > 0 && body.length <= LIMIT_RENEWAL_BYTES);
	assert(body.bytes + body.length == data + size && body.outcome <= RENEWAL_OUTCOME_REFUSED);
	for (size_t cut = size < 64 ? size : 64; cut > 0; cut--)
		assert(decode(data, size - cut, &ignored) == RENEWAL_MESSAGE_MORE);
	memcpy(longer, data, size);
	longer[size] = 0;
	assert(decode(longer, size + 1, &ignored) == RENEWAL_MESSAGE_BAD);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t nothing[1];

	check(renewal_message_request, size > 0 ? data : nothing, size);
	check(renewal_message_answer, size > 0 ? data : nothing, size);
	return 0;
}
