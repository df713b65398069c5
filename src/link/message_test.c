#include "link/message.h"
#include "link/schedule.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HYBRID = LEG_X25519 | LEG_MLKEM768 | LEG_MCELIECE };

// A frame around the body, which is copied to its exact size so that a sanitizer sees the first byte read beyond it.
struct held {
	uint8_t *bytes;
	struct frame frame;
};

static struct held hold(uint8_t type, const void *body, size_t length)
{
	struct held held = {.bytes = malloc(FRAME_HEADER_BYTES + length)};
	assert_non_null(held.bytes);
	frame_encode_header(held.bytes, type, length);
	if (length > 0)
		memcpy(held.bytes + FRAME_HEADER_BYTES, body, length);
	held.frame = (struct frame){type, held.bytes, FRAME_HEADER_BYTES + length, held.bytes + FRAME_HEADER_BYTES, length};
	return held;
}

static void expect_header(const uint8_t *frame, size_t length, uint8_t type)
{
	uint8_t expected[FRAME_HEADER_BYTES];
	frame_encode_header(expected, type, length - FRAME_HEADER_BYTES);
	assert_memory_equal(frame, expected, sizeof expected);
}

// ---- names and lengths

static void every_message_has_a_name_and_a_length_it_can_have(void **state)
{
	(void)state;
	static const uint8_t modes[] = {HYBRID, LEG_X25519 | LEG_MLKEM768, LEG_X25519 | LEG_MCELIECE};
	for (unsigned type = 0; type < 256; type++) {
		bool known = type >= 1 && type <= 14;
		assert_int_equal(message_is_known((uint8_t)type), known);
		assert_int_equal(strcmp(message_name((uint8_t)type), "unknown message") != 0, known);
		for (size_t i = 0; known && i < COUNT_OF(modes); i++) {
			struct message_length length = message_length((enum message_type)type, modes[i]);
			assert_true(length.least <= length.most);
			uint32_t most = type == MESSAGE_HELLO ? LIMIT_HELLO_BYTES
			                : type == MESSAGE_KEY ? LIMIT_KEY_BYTES
			                                      : LIMIT_CONTROL_BYTES;
			assert_true(length.most <= most);
		}
	}
}

static void lengths_are_those_of_the_protocol(void **state)
{
	(void)state;
	static const struct {
		enum message_type type;
		uint8_t legs;
		uint32_t least, most;
	} table[] = {
		{MESSAGE_KEY_WANT, HYBRID, 0, 0},
		{MESSAGE_KEY, HYBRID, 524160, 524160},
		{MESSAGE_EPOCH_OFFER, HYBRID, 1425, 1425},
		{MESSAGE_EPOCH_OFFER, LEG_X25519 | LEG_MLKEM768, 1221, 1221},
		{MESSAGE_EPOCH_OFFER, LEG_X25519 | LEG_MCELIECE, 241, 241},
		{MESSAGE_EPOCH_ACCEPT, HYBRID, 1172, 1172},
		{MESSAGE_EPOCH_ACCEPT, LEG_X25519 | LEG_MCELIECE, 84, 84},
		{MESSAGE_EPOCH_DONE, HYBRID, 48, 48},
		{MESSAGE_PING, HYBRID, 8, 8},
		{MESSAGE_PONG, HYBRID, 8, 8},
		{MESSAGE_GOAWAY, HYBRID, 6, 6},
		{MESSAGE_CLOSE, HYBRID, 4, 259},
		{MESSAGE_EPOCH_WANT, HYBRID, 0, 0},
		{MESSAGE_EPOCH_RETRY, HYBRID, 48, 48},
	};
	for (size_t i = 0; i < COUNT_OF(table); i++) {
		struct message_length length = message_length(table[i].type, table[i].legs);
		assert_int_equal(length.least, table[i].least);
		assert_int_equal(length.most, table[i].most);
	}
}

// ---- the small ones

static void small_messages_are_the_bytes_the_protocol_says(void **state)
{
	(void)state;
	uint8_t out[MESSAGE_SMALL_FRAME_BYTES], digest[DIGEST_BYTES];
	memset(digest, 0xd1, sizeof digest);
	assert_int_equal(message_encode_empty(MESSAGE_KEY_WANT, out), 5);
	assert_memory_equal(out, "\0\0\0\0\x02", 5);
	assert_int_equal(message_encode_empty(MESSAGE_EPOCH_WANT, out), 5);
	assert_memory_equal(out, "\0\0\0\0\x0d", 5);
	assert_int_equal(message_encode_ping(MESSAGE_PONG, (const uint8_t *)"abcdefgh", out), 13);
	assert_memory_equal(out,
	                    "\0\0\0\x08\x0a"
	                    "abcdefgh",
	                    13);
	assert_int_equal(message_encode_retry(digest, out), 53);
	assert_memory_equal(out, "\0\0\0\x30\x0e", 5);
	assert_memory_equal(out + 5, digest, sizeof digest);
	assert_int_equal(message_encode_done(digest, out), 53);
	assert_memory_equal(out, "\0\0\0\x30\x06", 5);
	assert_int_equal(message_encode_goaway(CONTROL_REASON_SHUTDOWN, 30000, out), 11);
	assert_memory_equal(out, "\0\0\0\x06\x0b\0\x01\0\0\x75\x30", 11);
	assert_int_equal(message_encode_close(CONTROL_REASON_EPOCH, "no", out), 11);
	assert_memory_equal(out, "\0\0\0\x06\x0c\0\x07\0\x02no", 11);
}

static void goaway_survives_and_refuses_every_other_length(void **state)
{
	(void)state;
	uint8_t out[MESSAGE_SMALL_FRAME_BYTES] = {0};
	enum control_reason reason = CONTROL_REASON_NONE;
	uint32_t deadline_ms = 0;
	message_encode_goaway(CONTROL_REASON_EXPIRED, 0xfffefdfc, out);
	for (size_t length = 0; length < 12; length++) {
		struct held held = hold(MESSAGE_GOAWAY, out + FRAME_HEADER_BYTES, length);
		assert_int_equal(message_decode_goaway(&held.frame, &reason, &deadline_ms), length == 6 ? 0 : MESSAGE_BAD);
		free(held.bytes);
	}
	assert_int_equal(reason, CONTROL_REASON_EXPIRED);
	assert_true(deadline_ms == 0xfffefdfc);
}

static void close_survives_and_is_cut_at_the_limit(void **state)
{
	(void)state;
	char text[LIMIT_REASON_BYTES + 100], decoded[LIMIT_REASON_BYTES + 1];
	memset(text, 't', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	for (size_t length = 0; length < sizeof text; length++) {
		text[length] = '\0';
		uint8_t out[MESSAGE_SMALL_FRAME_BYTES];
		enum control_reason reason;
		size_t size = message_encode_close(CONTROL_REASON_LIMIT, text, out);
		expect_header(out, size, MESSAGE_CLOSE);
		struct held held = hold(MESSAGE_CLOSE, out + FRAME_HEADER_BYTES, size - FRAME_HEADER_BYTES);
		assert_int_equal(message_decode_close(&held.frame, &reason, decoded), 0);
		assert_int_equal(reason, CONTROL_REASON_LIMIT);
		assert_int_equal(strlen(decoded), length < LIMIT_REASON_BYTES ? length : LIMIT_REASON_BYTES);
		assert_memory_equal(decoded, text, strlen(decoded));
		free(held.bytes);
		text[length] = 't';
	}
}

static void close_that_is_cut_or_too_long_or_has_a_nul_is_refused(void **state)
{
	(void)state;
	static const uint8_t good[] = {0, 1, 0, 3, 'b', 'y', 'e', 0};
	static const uint8_t with_nul[] = {0, 1, 0, 3, 'b', 0, 'e'};
	uint8_t longer[4 + LIMIT_REASON_BYTES + 1] = {0, 1, 1, 0};
	enum control_reason reason;
	char text[LIMIT_REASON_BYTES + 1];
	memset(longer + 4, 'x', sizeof longer - 4);
	for (size_t length = 0; length <= sizeof good; length++) {
		struct held held = hold(MESSAGE_CLOSE, good, length);
		assert_int_equal(message_decode_close(&held.frame, &reason, text), length == 7 ? 0 : MESSAGE_BAD);
		free(held.bytes);
	}
	struct held held = hold(MESSAGE_CLOSE, with_nul, sizeof with_nul);
	assert_int_equal(message_decode_close(&held.frame, &reason, text), MESSAGE_BAD);
	free(held.bytes);
	held = hold(MESSAGE_CLOSE, longer, sizeof longer);
	assert_int_equal(message_decode_close(&held.frame, &reason, text), MESSAGE_BAD);
	free(held.bytes);
}

static void reason_nobody_knows_arrives_as_internal_with_its_number(void **state)
{
	(void)state;
	static const uint16_t codes[] = {0, CONTROL_REASON_TAKEN + 1, 999, UINT16_MAX};
	uint8_t body[4 + LIMIT_REASON_BYTES] = {0, 0, 0, LIMIT_REASON_BYTES};
	memset(body + 4, 'r', LIMIT_REASON_BYTES);
	for (size_t i = 0; i < COUNT_OF(codes); i++) {
		enum control_reason reason;
		char text[LIMIT_REASON_BYTES + 1], expected[32];
		body[0] = (uint8_t)(codes[i] >> 8);
		body[1] = (uint8_t)codes[i];
		struct held held = hold(MESSAGE_CLOSE, body, sizeof body);
		assert_int_equal(message_decode_close(&held.frame, &reason, text), 0);
		assert_int_equal(reason, CONTROL_REASON_INTERNAL);
		assert_int_equal(strlen(text), LIMIT_REASON_BYTES);
		snprintf(expected, sizeof expected, "(unknown reason %u) rrr", codes[i]);
		assert_memory_equal(text, expected, strlen(expected));
		free(held.bytes);
	}
}

static void texts_are_made_printable(void **state)
{
	(void)state;
	char text[257];
	for (unsigned i = 0; i < 255; i++)
		text[i] = (char)(i + 1);
	text[255] = '\0';
	assert_false(message_text_is_printable(text));
	message_text_clean(text);
	assert_true(message_text_is_printable(text));
	assert_int_equal(strlen(text), 255);
	assert_int_equal(text[' ' - 1], ' ');
	assert_int_equal(text['~' - 1], '~');
	assert_int_equal(text[0x7f - 1], '?');
	assert_int_equal(text[0x1b - 1], '?');
	assert_int_equal(text[0xff - 1], '?');
}

// ---- EPOCH_OFFER and EPOCH_ACCEPT

static uint8_t x25519[X25519_BYTES], mlkem_key[MLKEM768_KEY_BYTES], mlkem_ciphertext[MLKEM768_CIPHERTEXT_BYTES];
static uint8_t mceliece_key_digest[DIGEST_BYTES], mceliece_ciphertext[MCELIECE_CIPHERTEXT_BYTES];
static uint8_t confirm[MESSAGE_CONFIRM_BYTES];

static int fill_fields(void **state)
{
	(void)state;
	memset(x25519, 0xa1, sizeof x25519);
	memset(mlkem_key, 0xa2, sizeof mlkem_key);
	memset(mlkem_ciphertext, 0xa3, sizeof mlkem_ciphertext);
	memset(mceliece_key_digest, 0xa4, sizeof mceliece_key_digest);
	memset(mceliece_ciphertext, 0xa5, sizeof mceliece_ciphertext);
	memset(confirm, 0xa6, sizeof confirm);
	return 0;
}

static void offer_survives_and_refuses_every_other_length(void **state)
{
	(void)state;
	static const uint8_t modes[] = {HYBRID, LEG_X25519 | LEG_MLKEM768, LEG_X25519 | LEG_MCELIECE};
	for (size_t i = 0; i < COUNT_OF(modes); i++) {
		const struct message_offer offer = {0x01020304,          modes[i],           x25519, mlkem_key,
		                                    mceliece_key_digest, mceliece_ciphertext};
		uint8_t out[MESSAGE_OFFER_FRAME_BYTES + 1] = {0};
		size_t length = message_encode_offer(&offer, out);
		expect_header(out, length, MESSAGE_EPOCH_OFFER);
		assert_int_equal(length - FRAME_HEADER_BYTES, message_length(MESSAGE_EPOCH_OFFER, modes[i]).most);
		assert_memory_equal(out + FRAME_HEADER_BYTES, "\x01\x02\x03\x04", 4);
		for (size_t cut = 0; cut <= length - FRAME_HEADER_BYTES + 1; cut++) {
			struct message_offer decoded;
			struct held held = hold(MESSAGE_EPOCH_OFFER, out + FRAME_HEADER_BYTES, cut);
			int expected = cut == length - FRAME_HEADER_BYTES ? 0 : MESSAGE_BAD;
			assert_int_equal(message_decode_offer(&held.frame, &decoded), expected);
			if (expected == 0) {
				assert_int_equal(decoded.epoch, 0x01020304);
				assert_int_equal(decoded.legs, modes[i]);
				assert_memory_equal(decoded.x25519, x25519, sizeof x25519);
				assert_int_equal(decoded.mlkem768 != NULL, (modes[i] & LEG_MLKEM768) != 0);
				if (decoded.mlkem768)
					assert_memory_equal(decoded.mlkem768, mlkem_key, sizeof mlkem_key);
				assert_int_equal(decoded.mceliece_digest != NULL, (modes[i] & LEG_MCELIECE) != 0);
				if (decoded.mceliece_digest) {
					assert_memory_equal(decoded.mceliece_digest, mceliece_key_digest, DIGEST_BYTES);
					assert_memory_equal(decoded.mceliece_ciphertext, mceliece_ciphertext, sizeof mceliece_ciphertext);
				}
			}
			free(held.bytes);
		}
	}
}

static void accept_survives_and_refuses_every_other_length(void **state)
{
	(void)state;
	static const uint8_t modes[] = {HYBRID, LEG_X25519 | LEG_MCELIECE};
	for (size_t i = 0; i < COUNT_OF(modes); i++) {
		bool mlkem = modes[i] & LEG_MLKEM768;
		const struct message_accept accept = {0x0a0b0c0d, x25519, mlkem ? mlkem_ciphertext : NULL, confirm};
		uint8_t out[MESSAGE_ACCEPT_FRAME_BYTES + 1] = {0};
		size_t length = message_encode_accept(&accept, out);
		expect_header(out, length, MESSAGE_EPOCH_ACCEPT);
		assert_int_equal(length - FRAME_HEADER_BYTES, message_length(MESSAGE_EPOCH_ACCEPT, modes[i]).most);
		assert_memory_equal(out + length - MESSAGE_CONFIRM_BYTES, confirm, sizeof confirm);
		for (size_t cut = 0; cut <= length - FRAME_HEADER_BYTES + 1; cut++) {
			struct message_accept decoded;
			struct held held = hold(MESSAGE_EPOCH_ACCEPT, out + FRAME_HEADER_BYTES, cut);
			int expected = cut == length - FRAME_HEADER_BYTES ? 0 : MESSAGE_BAD;
			assert_int_equal(message_decode_accept(&held.frame, modes[i], &decoded), expected);
			if (expected == 0) {
				assert_int_equal(decoded.epoch, 0x0a0b0c0d);
				assert_memory_equal(decoded.x25519, x25519, sizeof x25519);
				if (mlkem)
					assert_memory_equal(decoded.mlkem768, mlkem_ciphertext, sizeof mlkem_ciphertext);
				assert_memory_equal(decoded.confirm, confirm, sizeof confirm);
			}
			free(held.bytes);
		}
	}
}

static void open_survives_and_names_a_service(void **state)
{
	(void)state;
	uint8_t out[MESSAGE_SMALL_FRAME_BYTES];
	struct control_open decoded, open = {.deadline_ms = 10000, .service = "ssh"};
	memset(open.token, 0x5a, sizeof open.token);
	size_t length = message_encode_open(&open, out);
	assert_int_equal(length, FRAME_HEADER_BYTES + 16 + 4 + 2 + 3);
	struct frame frame = {MESSAGE_OPEN, out, length, out + FRAME_HEADER_BYTES, length - FRAME_HEADER_BYTES};
	assert_int_equal(message_decode_open(&frame, &decoded), 0);
	assert_memory_equal(decoded.token, open.token, sizeof open.token);
	assert_int_equal(decoded.deadline_ms, 10000);
	assert_string_equal(decoded.service, "ssh");
	for (size_t i = 0; i < frame.body_length; i++) {
		struct held held = hold(MESSAGE_OPEN, out + FRAME_HEADER_BYTES, i);
		assert_int_equal(message_decode_open(&held.frame, &decoded), MESSAGE_BAD);
		free(held.bytes);
	}
	out[length - 1] = ' ';
	assert_int_equal(message_decode_open(&frame, &decoded), MESSAGE_BAD);
}

static void open_failed_survives_and_is_never_ok(void **state)
{
	(void)state;
	uint8_t out[MESSAGE_SMALL_FRAME_BYTES], token[STREAM_TOKEN_BYTES], again[STREAM_TOKEN_BYTES];
	struct header_answer decoded, answer = {.status = HEADER_NO_SERVICE, .reason = "not here"};
	memset(token, 0x5a, sizeof token);
	size_t length = message_encode_open_failed(token, &answer, out);
	struct frame frame = {MESSAGE_OPEN_FAILED, out, length, out + FRAME_HEADER_BYTES, length - FRAME_HEADER_BYTES};
	assert_int_equal(message_decode_open_failed(&frame, again, &decoded), 0);
	assert_memory_equal(again, token, sizeof token);
	assert_int_equal(decoded.status, HEADER_NO_SERVICE);
	assert_string_equal(decoded.reason, "not here");
	for (size_t i = 0; i < frame.body_length; i++) {
		struct held held = hold(MESSAGE_OPEN_FAILED, out + FRAME_HEADER_BYTES, i);
		assert_int_equal(message_decode_open_failed(&held.frame, again, &decoded), MESSAGE_BAD);
		free(held.bytes);
	}
	out[FRAME_HEADER_BYTES + STREAM_TOKEN_BYTES] = 200;
	assert_int_equal(message_decode_open_failed(&frame, again, &decoded), 0);
	assert_int_equal(decoded.status, HEADER_INTERNAL);
	out[FRAME_HEADER_BYTES + STREAM_TOKEN_BYTES] = HEADER_OK;
	assert_int_equal(message_decode_open_failed(&frame, again, &decoded), MESSAGE_BAD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(open_survives_and_names_a_service),
		cmocka_unit_test(open_failed_survives_and_is_never_ok),
		cmocka_unit_test(every_message_has_a_name_and_a_length_it_can_have),
		cmocka_unit_test(lengths_are_those_of_the_protocol),
		cmocka_unit_test(small_messages_are_the_bytes_the_protocol_says),
		cmocka_unit_test(goaway_survives_and_refuses_every_other_length),
		cmocka_unit_test(close_survives_and_is_cut_at_the_limit),
		cmocka_unit_test(close_that_is_cut_or_too_long_or_has_a_nul_is_refused),
		cmocka_unit_test(reason_nobody_knows_arrives_as_internal_with_its_number),
		cmocka_unit_test(texts_are_made_printable),
		cmocka_unit_test(offer_survives_and_refuses_every_other_length),
		cmocka_unit_test(accept_survives_and_refuses_every_other_length),
	};
	return cmocka_run_group_tests(tests, fill_fields, NULL);
}
