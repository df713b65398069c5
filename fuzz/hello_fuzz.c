// The body of HELLO, the first message of a peer that has shown a certificate: what decodes is printable, is encoded
// again to something that decodes to the same, and is judged with a text that fits.

#include "link/hello.h"
#include "link/message.h"
#include "link/schedule.h"

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct frame frame_around(uint8_t *bytes, const uint8_t *body, size_t length)
{
	frame_encode_header(bytes, MESSAGE_HELLO, length);
	memcpy(bytes + FRAME_HEADER_BYTES, body, length);
	return (struct frame){MESSAGE_HELLO, bytes, FRAME_HEADER_BYTES + length, bytes + FRAME_HEADER_BYTES, length};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t bytes[HELLO_FRAME_BYTES], encoded[HELLO_FRAME_BYTES];
	struct control_hello hello, again,
		ours = {.version = 1, .role = CONTROL_RESPONDER, .legs = LEG_X25519 | LEG_MLKEM768};
	char text[LIMIT_REASON_BYTES + 1];
	if (size > LIMIT_HELLO_BYTES)
		return 0;
	struct frame frame = frame_around(bytes, data, size);
	if (hello_decode(&frame, &hello) != 0)
		return 0;
	assert(message_text_is_printable(hello.node_name) && strlen(hello.node_name) <= LIMIT_NODE_NAME_BYTES);
	assert(message_text_is_printable(hello.build_id) && strlen(hello.build_id) < sizeof hello.build_id);
	assert(message_text_is_printable(hello.services) && strlen(hello.services) < sizeof hello.services);

	size_t length = hello_encode(&hello, encoded);
	struct frame second = {MESSAGE_HELLO, encoded, length, encoded + FRAME_HEADER_BYTES, length - FRAME_HEADER_BYTES};
	assert(hello_decode(&second, &again) == 0);
	assert(memcmp(hello.instance, again.instance, sizeof hello.instance) == 0);
	assert(hello.terms.is_given == again.terms.is_given && hello.terms.streams == again.terms.streams);
	assert(hello.terms.mtu == again.terms.mtu && hello.terms.takes_super == again.terms.takes_super);
	assert(grant_is_same(&hello.grant, &again.grant));
	assert(strcmp(hello.services, again.services) == 0 && hello.legs == again.legs && hello.role == again.role);

	// To a dest, and to a hub.
	for (ours.features = 0; ours.features <= HELLO_REVERSE; ours.features += HELLO_REVERSE) {
		enum control_reason reason = hello_judge(&ours, &hello, text);
		bool is_of_kind = ((hello.features ^ ours.features) & HELLO_REVERSE) == 0;
		assert(message_text_is_printable(text) && strlen(text) <= LIMIT_REASON_BYTES);
		assert((reason == CONTROL_REASON_NONE) ==
		       (hello.role == CONTROL_INITIATOR && is_of_kind && hello.legs == ours.legs && !hello.terms.is_given));
	}
	return 0;
}
