#include "link/hello.h"
#include "link/message.h"
#include "link/schedule.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

enum { HYBRID = LEG_X25519 | LEG_MLKEM768 | LEG_MCELIECE };

static struct control_hello example(void)
{
	struct control_hello hello = {
		.version = 1,
		.node_name = "north",
		.role = CONTROL_RESPONDER,
		.features = 0x11121314,
		.legs = HYBRID,
		.carriers = 1,
		.heartbeat_ms = 0x21222324,
		.streams_max = 0x31323334,
		.rotation_s = 0x41424344,
		.build_id = "0.1.0",
		.services = "ssh:22",
	};
	memset(hello.instance, 0x51, sizeof hello.instance);
	memset(hello.mceliece_digest, 0x61, sizeof hello.mceliece_digest);
	return hello;
}

// The body is copied to its exact size, so that a sanitizer sees the first byte read beyond it.
static int decode(const uint8_t *body, size_t length, struct control_hello *hello)
{
	uint8_t *copy = malloc(FRAME_HEADER_BYTES + length);
	assert_non_null(copy);
	frame_encode_header(copy, MESSAGE_HELLO, length);
	if (length > 0)
		memcpy(copy + FRAME_HEADER_BYTES, body, length);
	const struct frame frame = {MESSAGE_HELLO, copy, FRAME_HEADER_BYTES + length, copy + FRAME_HEADER_BYTES, length};
	int outcome = hello_decode(&frame, hello);
	free(copy);
	return outcome;
}

static void expect_equal(const struct control_hello *a, const struct control_hello *b)
{
	assert_int_equal(a->version, b->version);
	assert_string_equal(a->node_name, b->node_name);
	assert_memory_equal(a->instance, b->instance, sizeof a->instance);
	assert_int_equal(a->role, b->role);
	assert_true(a->features == b->features);
	assert_int_equal(a->legs, b->legs);
	assert_int_equal(a->carriers, b->carriers);
	assert_int_equal(a->heartbeat_ms, b->heartbeat_ms);
	assert_int_equal(a->streams_max, b->streams_max);
	assert_int_equal(a->rotation_s, b->rotation_s);
	assert_string_equal(a->build_id, b->build_id);
	assert_memory_equal(a->mceliece_digest, b->mceliece_digest, DIGEST_BYTES);
	assert_string_equal(a->services, b->services);
}

static void hello_survives_the_way_there_and_back(void **state)
{
	(void)state;
	struct control_hello hello = example(), decoded;
	uint8_t frame[HELLO_FRAME_BYTES], again[HELLO_FRAME_BYTES];
	size_t length = hello_encode(&hello, frame);
	assert_int_equal(decode(frame + FRAME_HEADER_BYTES, length - FRAME_HEADER_BYTES, &decoded), 0);
	expect_equal(&hello, &decoded);
	// The same bytes every time: they are hashed.
	assert_int_equal(hello_encode(&decoded, again), length);
	assert_memory_equal(frame, again, length);
}

static void hello_is_the_bytes_the_protocol_says(void **state)
{
	(void)state;
	static const uint8_t head[] = {0, 0, 0, 87 + 7 + 7 + 8, 1, 0, 1, 0, 1};
	static const uint8_t middle[] = {1,    0x11, 0x12, 0x13, 0x14, 7,    1,    0x21, 0x22, 0x23,
	                                 0x24, 0x31, 0x32, 0x33, 0x34, 0x41, 0x42, 0x43, 0x44};
	static const uint8_t tail[] = "\0\x05north\0\x05"
								  "0.1.0\0\x06ssh:22";
	struct control_hello hello = example();
	uint8_t frame[HELLO_FRAME_BYTES];
	assert_int_equal(hello_encode(&hello, frame), 5 + 87 + sizeof tail - 1);
	assert_memory_equal(frame, head, sizeof head);
	assert_memory_equal(frame + 5 + 4, hello.instance, 16);
	assert_memory_equal(frame + 5 + 20, middle, sizeof middle);
	assert_memory_equal(frame + 5 + 39, hello.mceliece_digest, DIGEST_BYTES);
	assert_memory_equal(frame + 5 + 87, tail, sizeof tail - 1);
}

static void hello_cut_at_any_byte_is_refused(void **state)
{
	(void)state;
	struct control_hello hello = example(), decoded = {0};
	uint8_t frame[HELLO_FRAME_BYTES];
	size_t length = hello_encode(&hello, frame) - FRAME_HEADER_BYTES;
	for (size_t cut = 0; cut < length; cut++)
		assert_int_equal(decode(frame + FRAME_HEADER_BYTES, cut, &decoded), HELLO_BAD);
	// What was not decoded was not touched.
	assert_int_equal(decoded.version, 0);
}

static void longest_texts_fit_and_longer_ones_are_refused(void **state)
{
	(void)state;
	struct control_hello hello = example(), decoded;
	memset(hello.node_name, 'n', sizeof hello.node_name - 1);
	memset(hello.build_id, 'b', sizeof hello.build_id - 1);
	memset(hello.services, 's', sizeof hello.services - 1);
	uint8_t frame[HELLO_FRAME_BYTES];
	size_t length = hello_encode(&hello, frame) - FRAME_HEADER_BYTES;
	assert_int_equal(decode(frame + FRAME_HEADER_BYTES, length, &decoded), 0);
	expect_equal(&hello, &decoded);

	const size_t sizes[] = {sizeof hello.node_name, sizeof hello.build_id, sizeof hello.services};
	for (size_t longer = 0; longer < COUNT_OF(sizes); longer++) {
		uint8_t body[LIMIT_HELLO_BYTES];
		size_t at = 87;
		memcpy(body, frame + FRAME_HEADER_BYTES, at);
		for (size_t i = 0; i < COUNT_OF(sizes); i++) {
			size_t text = sizes[i] - (i == longer ? 0 : 1);
			body[at] = (uint8_t)(text >> 8);
			body[at + 1] = (uint8_t)text;
			memset(body + at + 2, 'x', text);
			at += 2 + text;
		}
		assert_int_equal(decode(body, at, &decoded), HELLO_BAD);
	}
}

static void texts_must_be_printable(void **state)
{
	(void)state;
	for (unsigned byte = 0; byte < 256; byte++) {
		struct control_hello hello = example(), decoded;
		uint8_t frame[HELLO_FRAME_BYTES];
		size_t length = hello_encode(&hello, frame) - FRAME_HEADER_BYTES;
		const size_t places[] = {87 + 2, 87 + 7 + 2, 87 + 14 + 2};
		for (size_t i = 0; i < COUNT_OF(places); i++) {
			uint8_t *place = frame + FRAME_HEADER_BYTES + places[i];
			uint8_t kept = *place;
			*place = (uint8_t)byte;
			int expected = byte >= 0x20 && byte <= 0x7e ? 0 : HELLO_BAD;
			assert_int_equal(decode(frame + FRAME_HEADER_BYTES, length, &decoded), expected);
			*place = kept;
		}
	}
}

static void versions_are_judged_before_the_rest(void **state)
{
	(void)state;
	static const struct {
		uint8_t bytes[4];
		int outcome;
	} table[] = {
		{{0, 2, 0, 2}, HELLO_VERSION}, {{0, 2, 0xff, 0xff}, HELLO_VERSION}, {{0, 0, 0, 0}, HELLO_VERSION},
		{{0, 2, 0, 1}, HELLO_BAD},     {{0, 1, 0, 0}, HELLO_BAD},           {{0, 1, 0, 1}, HELLO_BAD},
	};
	struct control_hello decoded;
	for (size_t i = 0; i < COUNT_OF(table); i++)
		assert_int_equal(decode(table[i].bytes, 4, &decoded), table[i].outcome);
	// A later version that still speaks ours.
	struct control_hello hello = example();
	uint8_t frame[HELLO_FRAME_BYTES];
	size_t length = hello_encode(&hello, frame) - FRAME_HEADER_BYTES;
	frame[FRAME_HEADER_BYTES + 3] = 9;
	assert_int_equal(decode(frame + FRAME_HEADER_BYTES, length, &decoded), 0);
	assert_int_equal(decoded.version, 1);
}

static void extensions_are_skipped_when_they_are_whole(void **state)
{
	(void)state;
	struct control_hello hello = example(), decoded;
	uint8_t frame[HELLO_FRAME_BYTES];
	size_t length = hello_encode(&hello, frame) - FRAME_HEADER_BYTES;
	static const uint8_t extensions[] = {0, 1, 0, 3, 'a', 'b', 'c', 0xff, 0xff, 0, 0};
	memcpy(frame + FRAME_HEADER_BYTES + length, extensions, sizeof extensions);
	for (size_t more = 0; more <= sizeof extensions; more++) {
		int expected = more == 0 || more == 7 || more == 11 ? 0 : HELLO_BAD;
		assert_int_equal(decode(frame + FRAME_HEADER_BYTES, length + more, &decoded), expected);
	}
	expect_equal(&hello, &decoded);
}

static void role_that_is_none_is_refused(void **state)
{
	(void)state;
	struct control_hello hello = example(), decoded;
	uint8_t frame[HELLO_FRAME_BYTES];
	size_t length = hello_encode(&hello, frame) - FRAME_HEADER_BYTES;
	for (unsigned role = 0; role < 256; role++) {
		frame[FRAME_HEADER_BYTES + 20] = (uint8_t)role;
		assert_int_equal(decode(frame + FRAME_HEADER_BYTES, length, &decoded), role < 2 ? 0 : HELLO_BAD);
	}
}

static void only_three_sets_of_legs_are_a_kem_mode(void **state)
{
	(void)state;
	unsigned modes = 0;
	for (unsigned legs = 0; legs < 256; legs++)
		modes += hello_is_kem_mode((uint8_t)legs);
	assert_int_equal(modes, 3);
	assert_string_equal(hello_kem_mode(HYBRID), "hybrid");
	assert_string_equal(hello_kem_mode(LEG_X25519 | LEG_MLKEM768), "mlkem768");
	assert_string_equal(hello_kem_mode(LEG_X25519 | LEG_MCELIECE), "mceliece460896");
	assert_string_equal(hello_kem_mode(LEG_X25519), "an unknown kem_mode");
}

static void only_equal_legs_and_other_roles_make_a_link(void **state)
{
	(void)state;
	struct control_hello ours = example(), theirs = example();
	char text[LIMIT_REASON_BYTES + 1];
	assert_int_equal(hello_judge(&ours, &theirs, text), CONTROL_REASON_PROTOCOL);
	theirs.role = CONTROL_INITIATOR;
	for (unsigned legs = 0; legs < 256; legs++) {
		theirs.legs = (uint8_t)legs;
		enum control_reason expected = legs == HYBRID ? CONTROL_REASON_NONE : CONTROL_REASON_KEM_MODE;
		assert_int_equal(hello_judge(&ours, &theirs, text), expected);
		if (expected != CONTROL_REASON_NONE) {
			assert_non_null(strstr(text, "the responder has hybrid"));
			assert_non_null(strstr(text, hello_kem_mode((uint8_t)legs)));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hello_survives_the_way_there_and_back),
		cmocka_unit_test(hello_is_the_bytes_the_protocol_says),
		cmocka_unit_test(hello_cut_at_any_byte_is_refused),
		cmocka_unit_test(longest_texts_fit_and_longer_ones_are_refused),
		cmocka_unit_test(texts_must_be_printable),
		cmocka_unit_test(versions_are_judged_before_the_rest),
		cmocka_unit_test(extensions_are_skipped_when_they_are_whole),
		cmocka_unit_test(role_that_is_none_is_refused),
		cmocka_unit_test(only_three_sets_of_legs_are_a_kem_mode),
		cmocka_unit_test(only_equal_legs_and_other_roles_make_a_link),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
