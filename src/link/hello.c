#include "link/hello.h"

#include "core/codec.h"
#include "link/message.h"
#include "link/schedule.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum { EXTENSION_DEVICE = 1 };

// Everything of fixed length, three texts with their lengths, and the extensions.
_Static_assert(4 + LIMIT_DEVICE_NAME_BYTES + 87 + 3 * 2 + LIMIT_NODE_NAME_BYTES + 63 + 1023 + 4 + TERMS_VALUE_BYTES +
                       4 + GRANT_VALUE_BYTES <=
                   LIMIT_HELLO_BYTES,
               "the largest HELLO we write fits");

size_t hello_encode(const struct control_hello *hello, uint8_t out[HELLO_FRAME_BYTES])
{
	struct writer writer;
	writer_init(&writer, out + FRAME_HEADER_BYTES, LIMIT_HELLO_BYTES);
	writer_u16(&writer, hello->version);
	writer_u16(&writer, hello->version);
	writer_bytes(&writer, hello->instance, sizeof hello->instance);
	writer_u8(&writer, hello->role);
	writer_u32(&writer, hello->features);
	writer_u8(&writer, hello->legs);
	writer_u8(&writer, hello->carriers);
	writer_u32(&writer, hello->heartbeat_ms);
	writer_u32(&writer, hello->streams_max);
	writer_u32(&writer, hello->rotation_s);
	writer_bytes(&writer, hello->mceliece_digest, sizeof hello->mceliece_digest);
	writer_text(&writer, hello->node_name);
	writer_text(&writer, hello->build_id);
	writer_text(&writer, hello->services);
	terms_encode(&hello->terms, &writer);
	grant_encode(&hello->grant, &writer);
	if (hello->device[0]) {
		writer_u16(&writer, EXTENSION_DEVICE);
		writer_text(&writer, hello->device);
	}
	assert(!writer.bad);
	size_t length = writer_length(&writer);
	frame_encode_header(out, MESSAGE_HELLO, length);
	return FRAME_HEADER_BYTES + length;
}

// What a later version may add: u16 type | u16 length | value, as texts are; what we do not know is skipped. False: not
// acceptable.
static bool read_extensions(struct reader *reader, struct control_hello *hello)
{
	while (!reader->bad && reader_left(reader) > 0) {
		uint16_t type = reader_u16(reader);
		if (type == EXTENSION_DEVICE && !hello->device[0]) {
			reader_text(reader, hello->device, sizeof hello->device);
			continue;
		}
		uint16_t length = reader_u16(reader);
		const uint8_t *value = reader_bytes(reader, length);
		if (type == GRANT_TYPE && value && (hello->grant.is_given || !grant_decode(value, length, &hello->grant)))
			return false;
		if (type != TERMS_TYPE || !value)
			continue;
		if (hello->terms.is_given || !terms_decode(value, length, &hello->terms))
			return false;
	}
	return true;
}

int hello_decode(const struct frame *frame, struct control_hello *hello)
{
	struct control_hello decoded = {0};
	struct reader reader;
	reader_init(&reader, frame->body, frame->body_length);
	uint16_t lowest = reader_u16(&reader);
	uint16_t highest = reader_u16(&reader);
	if (reader.bad || lowest > highest)
		return HELLO_BAD;
	if (lowest > HELLO_VERSION_SPOKEN || highest < HELLO_VERSION_SPOKEN) {
		*hello = (struct control_hello){.version = highest};
		return HELLO_VERSION;
	}
	decoded.version = HELLO_VERSION_SPOKEN;
	reader_copy(&reader, decoded.instance, sizeof decoded.instance);
	decoded.role = reader_u8(&reader);
	decoded.features = reader_u32(&reader);
	decoded.legs = reader_u8(&reader);
	decoded.carriers = reader_u8(&reader);
	decoded.heartbeat_ms = reader_u32(&reader);
	decoded.streams_max = reader_u32(&reader);
	decoded.rotation_s = reader_u32(&reader);
	reader_copy(&reader, decoded.mceliece_digest, sizeof decoded.mceliece_digest);
	reader_text(&reader, decoded.node_name, sizeof decoded.node_name);
	reader_text(&reader, decoded.build_id, sizeof decoded.build_id);
	reader_text(&reader, decoded.services, sizeof decoded.services);
	if (!read_extensions(&reader, &decoded))
		return HELLO_BAD;
	if (!reader_is_done(&reader) || decoded.role > CONTROL_RESPONDER)
		return HELLO_BAD;
	// Hostile: these reach logs, metrics and the status page.
	if (!message_text_is_printable(decoded.node_name) || !message_text_is_printable(decoded.build_id) ||
	    !message_text_is_printable(decoded.services) || !message_text_is_printable(decoded.device))
		return HELLO_BAD;
	*hello = decoded;
	return 0;
}

bool hello_is_kem_mode(uint8_t legs)
{
	return legs == (LEG_X25519 | LEG_MLKEM768 | LEG_MCELIECE) || legs == (LEG_X25519 | LEG_MLKEM768) ||
	       legs == (LEG_X25519 | LEG_MCELIECE);
}

const char *hello_kem_mode(uint8_t legs)
{
	switch (legs) {
	case LEG_X25519 | LEG_MLKEM768 | LEG_MCELIECE:
		return "hybrid";
	case LEG_X25519 | LEG_MLKEM768:
		return "mlkem768";
	case LEG_X25519 | LEG_MCELIECE:
		return "mceliece460896";
	default:
		return "an unknown kem_mode";
	}
}

enum control_reason hello_judge(const struct control_hello *ours, const struct control_hello *theirs,
                                char text[LIMIT_REASON_BYTES + 1])
{
	const char *our_role = ours->role == CONTROL_INITIATOR ? "initiator" : "responder";
	const char *their_role = theirs->role == CONTROL_INITIATOR ? "initiator" : "responder";
	// Hostile: our own HELLO, sent back to us, says our own role.
	if (theirs->role == ours->role) {
		snprintf(text, LIMIT_REASON_BYTES + 1, "HELLO: both sides say they are the %s", our_role);
		return CONTROL_REASON_PROTOCOL;
	}
	if ((ours->features ^ theirs->features) & HELLO_REVERSE) {
		bool is_ours = ours->features & HELLO_REVERSE, is_initiator = ours->role == CONTROL_INITIATOR;
		const char *initiator = is_ours == is_initiator ? "an agent" : "a source";
		snprintf(text, LIMIT_REASON_BYTES + 1,
		         "the initiator is %s, the responder a %s: an agent links with a hub, a source with a dest", initiator,
		         is_ours == is_initiator ? "dest" : "hub");
		return CONTROL_REASON_KIND;
	}
	// Never the weaker of the two: whoever runs the nodes decides which one is meant.
	if (theirs->legs != ours->legs) {
		snprintf(text, LIMIT_REASON_BYTES + 1, "the %s has %s, the %s has %s; set the same on both", our_role,
		         hello_kem_mode(ours->legs), their_role, hello_kem_mode(theirs->legs));
		return CONTROL_REASON_KEM_MODE;
	}
	const struct terms_side our_side = {our_role, &ours->terms, ours->build_id},
							their_side = {their_role, &theirs->terms, theirs->build_id};
	return terms_agree(&our_side, &their_side, text) ? CONTROL_REASON_NONE : CONTROL_REASON_TERMS;
}
