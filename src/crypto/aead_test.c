#include "crypto/aead.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const enum aead_cipher ciphers[] = {AEAD_CHACHA20_POLY1305, AEAD_AES_256_GCM};

static void make_pair(enum aead_cipher cipher, const uint8_t key[32], struct aead **seals, struct aead **opens)
{
	struct secret secret = {0};
	assert_int_equal(secret_start(), 0);
	assert_int_equal(secret_set(&secret, key, 32), 0);
	assert_int_equal(aead_new(cipher, AEAD_SEALS, &secret, seals), 0);
	assert_int_equal(aead_new(cipher, AEAD_OPENS, &secret, opens), 0);
	secret_fini(&secret);
}

static void free_pair(struct aead **seals, struct aead **opens)
{
	aead_free(seals);
	aead_free(opens);
	assert_null(*seals);
	aead_free(seals);
}

static void known_answers(void **state)
{
	(void)state;
	// AES-256-GCM: test cases 13 and 14 of the GCM specification (McGrew, Viega), key and nonce all zero.
	static const uint8_t zero[32], tag13[] = "\x53\x0f\x8a\xfb\xc7\x45\x36\xb9\xa9\x63\xb4\xf1\xc4\xcb\x73\x8b";
	static const uint8_t text14[] = "\xce\xa7\x40\x3d\x4d\x60\x6b\x6e\x07\x4e\xc5\xd3\xba\xf3\x9d\x18";
	static const uint8_t tag14[] = "\xd0\xd1\xc8\xa7\x99\x99\x6b\xf0\x26\x5b\x98\xb5\xd4\x8a\xb9\x19";
	struct aead *seals, *opens;
	uint8_t bytes[16] = {0}, tag[16];
	make_pair(AEAD_AES_256_GCM, zero, &seals, &opens);
	aead_seal(seals, zero, bytes, 0, tag);
	assert_memory_equal(tag, tag13, 16);
	aead_seal(seals, zero, bytes, 16, tag);
	assert_memory_equal(bytes, text14, 16);
	assert_memory_equal(tag, tag14, 16);
	assert_int_equal(aead_open(opens, zero, bytes, 16, tag), 0);
	assert_memory_equal(bytes, zero, 16);
	free_pair(&seals, &opens);
}

static void what_was_sealed_opens_again_whatever_its_length(void **state)
{
	(void)state;
	for (unsigned c = 0; c < COUNT_OF(ciphers); c++) {
		static uint8_t bytes[2000], before[2000];
		uint8_t key[32] = {1, 2, 3}, nonce[12] = {0}, tag[16];
		struct aead *seals, *opens;
		make_pair(ciphers[c], key, &seals, &opens);
		for (size_t length = 0; length <= sizeof bytes; length += 1 + length / 9) {
			nonce[11]++;
			for (size_t i = 0; i < length; i++)
				bytes[i] = before[i] = (uint8_t)(i * 7 + length);
			aead_seal(seals, nonce, bytes, length, tag);
			if (length > 15)
				assert_memory_not_equal(bytes, before, length);
			assert_int_equal(aead_open(opens, nonce, bytes, length, tag), 0);
			if (length > 0)
				assert_memory_equal(bytes, before, length);
		}
		free_pair(&seals, &opens);
	}
}

static void one_flipped_bit_anywhere_is_a_forgery_and_the_next_packet_still_opens(void **state)
{
	(void)state;
	for (unsigned c = 0; c < COUNT_OF(ciphers); c++) {
		uint8_t key[32] = {9}, all[12 + 20 + 16];
		struct aead *seals, *opens;
		make_pair(ciphers[c], key, &seals, &opens);
		for (size_t bit = 0; bit <= sizeof all * 8; bit++) {
			memset(all, 5, sizeof all);
			aead_seal(seals, all, all + 12, 20, all + 32);
			bool is_flipped = bit < sizeof all * 8;
			if (is_flipped)
				all[bit / 8] ^= (uint8_t)(1 << bit % 8);
			assert_int_equal(aead_open(opens, all, all + 12, 20, all + 32), is_flipped ? AEAD_FORGED : 0);
		}
		free_pair(&seals, &opens);
	}
}

static void another_key_opens_nothing(void **state)
{
	(void)state;
	for (unsigned c = 0; c < COUNT_OF(ciphers); c++) {
		uint8_t key[32] = {1}, other[32] = {2}, nonce[12] = {0}, bytes[8] = {0}, tag[16];
		struct aead *seals, *opens, *seals_other, *opens_other;
		make_pair(ciphers[c], key, &seals, &opens);
		make_pair(ciphers[c], other, &seals_other, &opens_other);
		aead_seal(seals, nonce, bytes, 8, tag);
		assert_int_equal(aead_open(opens_other, nonce, bytes, 8, tag), AEAD_FORGED);
		free_pair(&seals, &opens);
		free_pair(&seals_other, &opens_other);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_answers),
		cmocka_unit_test(what_was_sealed_opens_again_whatever_its_length),
		cmocka_unit_test(one_flipped_bit_anywhere_is_a_forgery_and_the_next_packet_still_opens),
		cmocka_unit_test(another_key_opens_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
