#include "wire/ttun.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const enum aead_cipher ciphers[] = {AEAD_CHACHA20_POLY1305, AEAD_AES_256_GCM};
static const uint8_t nonce_c[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
static const uint8_t nonce_s[16] = {16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31};

static void assert_hex(const uint8_t *bytes, size_t length, const char *wanted)
{
	char text[200];
	for (size_t i = 0; i < length; i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	assert_string_equal(text, wanted);
}

static struct ttun *make(enum ttun_role role, enum aead_cipher cipher, const char *psk)
{
	struct secret key = {0};
	struct ttun *ttun = NULL;
	assert_int_equal(secret_start(), 0);
	assert_int_equal(ttun_key(psk, strlen(psk), &key), 0);
	assert_int_equal(ttun_new(role, cipher, &key, role == TTUN_CLIENT ? nonce_c : nonce_s, &ttun), 0);
	secret_fini(&key);
	return ttun;
}

static void pass(struct ttun *from, struct ttun *to, size_t wanted)
{
	uint8_t bytes[TTUN_SPEAK_BYTES];
	size_t used = 0, length = ttun_speak(from, bytes);
	assert_int_equal(length, wanted);
	assert_int_equal(ttun_hear(to, bytes, length, &used), 0);
	assert_int_equal(used, wanted);
}

static void shake_hands(struct ttun *client, struct ttun *server)
{
	pass(client, server, 16);
	pass(server, client, 16);
	pass(client, server, 26);
	assert_true(ttun_is_up(server) && !ttun_is_up(client));
	pass(server, client, 26);
	assert_true(ttun_is_up(client));
}

// The vectors come from a run of the program whose wire this is.
static void the_bytes_of_the_original(void **state)
{
	(void)state;
	static const char *const proofs[][2] = {
		{"001809357b18eb48af13f30636767380eeab4e22c7f148a3b038",
	     "0018958cc1b94634c7076dcf7216a34016e720b61776e8171bab"},
		{"00180cd581baae672f6122ed16cb8341d1796a38ca52c1952bf5",
	     "001896ad1f2f61d8b47697385818567b0501234eb3e303cae6d0"},
	};
	struct secret key = {0};
	assert_int_equal(secret_start(), 0);
	assert_int_equal(ttun_key("sekret", 6, &key), 0);
	assert_hex(key.bytes, key.length, "2725ab92aae7eed6a6c67dc9d0953fb8238c242fa97cd8217d7c9cf7059575c7");
	secret_fini(&key);
	for (unsigned c = 0; c < COUNT_OF(ciphers); c++) {
		struct ttun *client = make(TTUN_CLIENT, ciphers[c], "sekret"),
					*server = make(TTUN_SERVER, ciphers[c], "sekret");
		uint8_t bytes[TTUN_SPEAK_BYTES];
		size_t used;
		assert_int_equal(ttun_speak(server, bytes), 0); // nothing before the client's nonce
		pass(client, server, 16);
		pass(server, client, 16);
		assert_int_equal(ttun_speak(client, bytes), 26);
		assert_hex(bytes, 26, proofs[c][0]);
		assert_int_equal(ttun_hear(server, bytes, 26, &used), 0);
		assert_int_equal(ttun_speak(server, bytes), 26);
		assert_hex(bytes, 26, proofs[c][1]);
		assert_int_equal(ttun_hear(client, bytes, 26, &used), 0);
		assert_int_equal(ttun_speak(server, bytes) + ttun_speak(client, bytes), 0);
		ttun_free(&client);
		ttun_free(&server);
	}
}

static void bytes_may_come_one_by_one(void **state)
{
	(void)state;
	struct ttun *client = make(TTUN_CLIENT, ciphers[0], "k"), *server = make(TTUN_SERVER, ciphers[0], "k");
	uint8_t bytes[TTUN_SPEAK_BYTES];
	size_t used = 1, length = ttun_speak(client, bytes);
	for (size_t i = 0; i < length; i++) {
		assert_int_equal(ttun_hear(server, bytes, i, &used), TTUN_MORE);
		assert_int_equal(used, 0);
	}
	assert_int_equal(ttun_hear(server, bytes, length, &used), 0);
	pass(server, client, 16);
	length = ttun_speak(client, bytes);
	for (size_t i = 0; i < length; i++)
		assert_int_equal(ttun_hear(server, bytes, i, &used), TTUN_MORE);
	assert_int_equal(ttun_hear(server, bytes, length, &used), 0);
	ttun_free(&client);
	ttun_free(&server);
}

static void packets_of_every_size_cross_both_ways(void **state)
{
	(void)state;
	static uint8_t frame[TTUN_FRAME_BYTES], copy[TTUN_FRAME_BYTES];
	for (unsigned c = 0; c < COUNT_OF(ciphers); c++) {
		struct ttun *ends[] = {make(TTUN_CLIENT, ciphers[c], "k"), make(TTUN_SERVER, ciphers[c], "k")};
		shake_hands(ends[0], ends[1]);
		size_t sizes[] = {1, 20, 1280, 9000, TTUN_PACKET_BYTES};
		for (size_t i = 0; i < 2 * COUNT_OF(sizes); i++) {
			size_t size = sizes[i / 2];
			struct ttun_packet packet;
			for (size_t k = 0; k < size; k++)
				frame[2 + k] = copy[k] = (uint8_t)(k * 31 + i);
			ttun_seal(ends[i % 2], frame, size);
			assert_int_equal(ttun_open(ends[1 - i % 2], frame, size + TTUN_OVERHEAD_BYTES - 1, &packet), TTUN_MORE);
			assert_int_equal(ttun_open(ends[1 - i % 2], frame, sizeof frame, &packet), 0);
			assert_int_equal(packet.used, size + TTUN_OVERHEAD_BYTES);
			assert_int_equal(packet.length, size);
			assert_memory_equal(packet.bytes, copy, size);
		}
		ttun_free(&ends[0]);
		ttun_free(&ends[1]);
	}
}

static void another_key_or_cipher_is_refused_by_the_server_first(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct ttun *client = make(TTUN_CLIENT, ciphers[0], "right");
		struct ttun *server = make(TTUN_SERVER, ciphers[i], i == 0 ? "wrong" : "right");
		uint8_t bytes[TTUN_SPEAK_BYTES];
		size_t used;
		pass(client, server, 16);
		pass(server, client, 16);
		assert_int_equal(ttun_speak(client, bytes), 26);
		assert_int_equal(ttun_hear(server, bytes, 26, &used), TTUN_REFUSED);
		assert_false(ttun_is_up(server));
		assert_int_equal(ttun_speak(server, bytes), 0); // it proves nothing to a stranger
		ttun_free(&client);
		ttun_free(&server);
	}
}

static void one_flipped_bit_of_the_handshake_ends_it(void **state)
{
	(void)state;
	for (unsigned bit = 0; bit < (16 + 26) * 8; bit++) {
		struct ttun *client = make(TTUN_CLIENT, ciphers[1], "k"), *server = make(TTUN_SERVER, ciphers[1], "k");
		uint8_t bytes[TTUN_SPEAK_BYTES];
		size_t used, length = ttun_speak(client, bytes);
		if (bit < 16 * 8)
			bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(ttun_hear(server, bytes, length, &used), 0);
		pass(server, client, 16);
		length = ttun_speak(client, bytes);
		if (bit >= 16 * 8)
			bytes[bit / 8 - 16] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(ttun_hear(server, bytes, length, &used), TTUN_REFUSED);
		ttun_free(&client);
		ttun_free(&server);
	}
}

static void a_reflection_is_not_a_proof(void **state)
{
	(void)state;
	struct ttun *client = make(TTUN_CLIENT, ciphers[0], "k");
	uint8_t bytes[TTUN_SPEAK_BYTES];
	size_t used;
	assert_int_equal(ttun_speak(client, bytes), 16);
	assert_int_equal(ttun_hear(client, bytes, 16, &used), 0);
	assert_int_equal(ttun_speak(client, bytes), 26);
	assert_int_equal(ttun_hear(client, bytes, 26, &used), TTUN_REFUSED);
	ttun_free(&client);
}

static void a_proof_of_another_length_is_not_waited_for(void **state)
{
	(void)state;
	struct ttun *server = make(TTUN_SERVER, ciphers[0], "k");
	uint8_t bytes[TTUN_SPEAK_BYTES] = {0};
	size_t used;
	assert_int_equal(ttun_hear(server, bytes, 16, &used), 0);
	assert_int_equal(ttun_speak(server, bytes), 16);
	bytes[0] = 0xff;
	bytes[1] = 0xff;
	assert_int_equal(ttun_hear(server, bytes, 2, &used), TTUN_REFUSED);
	ttun_free(&server);
}

static void frames_out_of_order_repeated_or_damaged_are_refused(void **state)
{
	(void)state;
	for (unsigned fault = 0; fault < 4; fault++) {
		struct ttun *client = make(TTUN_CLIENT, ciphers[0], "k"), *server = make(TTUN_SERVER, ciphers[0], "k");
		uint8_t first[100] = {0}, copy[100], second[100] = {0};
		struct ttun_packet packet;
		shake_hands(client, server);
		ttun_seal(client, first, 40);
		ttun_seal(client, second, 40);
		memcpy(copy, first, sizeof copy);
		if (fault == 0) { // the second one first
			assert_int_equal(ttun_open(server, second, 58, &packet), TTUN_REFUSED);
		} else if (fault == 1) { // the first one twice
			assert_int_equal(ttun_open(server, first, 58, &packet), 0);
			assert_int_equal(ttun_open(server, copy, 58, &packet), TTUN_REFUSED);
		} else if (fault == 2) { // sent back
			assert_int_equal(ttun_open(client, first, 58, &packet), TTUN_REFUSED);
		} else { // a shorter length
			first[1]--;
			assert_int_equal(ttun_open(server, first, 58, &packet), TTUN_REFUSED);
		}
		ttun_free(&client);
		ttun_free(&server);
	}
}

static void lengths_at_the_edge(void **state)
{
	(void)state;
	struct ttun *client = make(TTUN_CLIENT, ciphers[0], "k"), *server = make(TTUN_SERVER, ciphers[0], "k");
	uint8_t bytes[100] = {0, 15};
	struct ttun_packet packet;
	shake_hands(client, server);
	assert_int_equal(ttun_open(server, bytes, 1, &packet), TTUN_MORE);
	assert_int_equal(ttun_open(server, bytes, 2, &packet), TTUN_REFUSED);
	bytes[1] = 16;
	assert_int_equal(ttun_open(server, bytes, 17, &packet), TTUN_MORE);
	ttun_free(&client);
	ttun_free(&server);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_bytes_of_the_original),
		cmocka_unit_test(bytes_may_come_one_by_one),
		cmocka_unit_test(packets_of_every_size_cross_both_ways),
		cmocka_unit_test(another_key_or_cipher_is_refused_by_the_server_first),
		cmocka_unit_test(one_flipped_bit_of_the_handshake_ends_it),
		cmocka_unit_test(a_reflection_is_not_a_proof),
		cmocka_unit_test(a_proof_of_another_length_is_not_waited_for),
		cmocka_unit_test(frames_out_of_order_repeated_or_damaged_are_refused),
		cmocka_unit_test(lengths_at_the_edge),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
