#include "crypto/digest.h"

// cmocka.h uses these and includes none of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

static int start_secrets(void **state)
{
	(void)state;
	return secret_start();
}

static void expect_hex(const uint8_t *bytes, size_t length, const char *hex)
{
	assert_int_equal(strlen(hex), 2 * length);
	for (size_t i = 0; i < length; i++) {
		static const char digits[] = "0123456789abcdef";
		char pair[3] = {digits[bytes[i] >> 4], digits[bytes[i] & 15], 0};
		assert_memory_equal(pair, hex + 2 * i, 2);
	}
}

static void fill(uint8_t *bytes, size_t length, uint8_t first)
{
	for (size_t i = 0; i < length; i++)
		bytes[i] = (uint8_t)(first + i);
}

// Spec: FIPS 180-4, the examples NIST publishes with it.
static void sha384_gives_the_known_answers(void **state)
{
	static const char message[] = "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn"
								  "hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu";
	const struct digest_part abc = {"abc", 3};
	const struct digest_part one_part = {message, strlen(message)};
	const struct digest_part parts[] = {{message, 1}, {message, 0}, {message + 1, 110}, {message + 111, 1}};
	uint8_t out[DIGEST_BYTES];

	(void)state;
	digest_sha384(NULL, 0, out);
	expect_hex(out, sizeof out,
	           "38b060a751ac96384cd9327eb1b1e36a21fdb71114be07434c0cc7bf63f6e1da"
	           "274edebfe76f65fbd51ad2f14898b95b");
	digest_sha384(&abc, 1, out);
	expect_hex(out, sizeof out,
	           "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed"
	           "8086072ba1e7cc2358baeca134c825a7");
	digest_sha384(&one_part, 1, out);
	expect_hex(out, sizeof out,
	           "09330c33f71147e83d192fc782cd1b4753111b173b3b05d22fa08086e3b0f712"
	           "fcc7c71a557e2db966c3e9fa91746039");
	digest_sha384(parts, COUNT_OF(parts), out);
	expect_hex(out, sizeof out,
	           "09330c33f71147e83d192fc782cd1b4753111b173b3b05d22fa08086e3b0f712"
	           "fcc7c71a557e2db966c3e9fa91746039");
}

static void blake2s_gives_the_known_answer(void **state)
{
	(void)state;
	// RFC 7693, appendix B.
	static const uint8_t wanted[32] = {0x50, 0x8c, 0x5e, 0x8c, 0x32, 0x7c, 0x14, 0xe2, 0xe1, 0xa7, 0x2b,
	                                   0xa3, 0x4e, 0xeb, 0x45, 0x2f, 0x37, 0x45, 0x8b, 0x20, 0x9e, 0xd6,
	                                   0x3a, 0x29, 0x4d, 0x99, 0x9b, 0x4c, 0x86, 0x67, 0x59, 0x82};
	const struct digest_part parts[] = {{"a", 1}, {"", 0}, {"bc", 2}};
	struct secret out = {0};
	assert_int_equal(digest_blake2s(parts, 3, &out), 0);
	assert_int_equal(out.length, 32);
	assert_memory_equal(out.bytes, wanted, 32);
	secret_fini(&out);
}

static void sha256_gives_the_known_answer(void **state)
{
	uint8_t out[32];

	(void)state;
	digest_sha256("abc", 3, out);
	expect_hex(out, sizeof out, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

// The inputs of RFC 5869 A.1 to A.3 with SHA-384; the answers come from Python's hmac and from `openssl kdf`.
static void hkdf_gives_the_known_answers(void **state)
{
	uint8_t ikm[80], salt[80], info[80];
	struct secret prk = {0}, out = {0};

	(void)state;
	memset(ikm, 0x0b, 22);
	fill(salt, 13, 0);
	fill(info, 10, 0xf0);
	const struct digest_part short_ikm = {ikm, 22};
	assert_int_equal(hkdf_extract(salt, 13, &short_ikm, 1, &prk), 0);
	expect_hex(prk.bytes, prk.length,
	           "704b39990779ce1dc548052c7dc39f303570dd13fb39f7acc564680bef80e8de"
	           "c70ee9a7e1f3e293ef68eceb072a5ade");
	assert_int_equal(hkdf_expand(&prk, info, 10, 42, &out), 0);
	expect_hex(out.bytes, out.length,
	           "9b5097a86038b805309076a44b3a9f38063e25b516dcbf369f394cfab43685f748b6457763e4f0204fc5");

	assert_int_equal(hkdf_extract(NULL, 0, &short_ikm, 1, &prk), 0);
	expect_hex(prk.bytes, prk.length,
	           "10e40cf072a4c5626e43dd22c1cf727d4bb140975c9ad0cbc8e45b40068f8f0b"
	           "a57cdb598af9dfa6963a96899af047e5");
	assert_int_equal(hkdf_expand(&prk, NULL, 0, 49, &out), 0);
	expect_hex(out.bytes, out.length,
	           "c8c96e710f89b0d7990bca68bcdec8cf854062e54c73a7abc743fade9b242daa"
	           "cc1cea5670415b52849c97c4e787c1f213");

	fill(ikm, 80, 0);
	fill(salt, 80, 0x60);
	fill(info, 80, 0xb0);
	const struct digest_part parts[] = {{ikm, 32}, {ikm + 32, 0}, {ikm + 32, 48}};
	assert_int_equal(hkdf_extract(salt, 80, parts, COUNT_OF(parts), &prk), 0);
	expect_hex(prk.bytes, prk.length,
	           "b319f6831dff9314efb643baa29263b30e4a8d779fe31e9c901efd7de737c85b"
	           "62e676d4dc87b0895c6a7dc97b52cebb");
	assert_int_equal(hkdf_expand(&prk, info, 80, 64, &out), 0);
	expect_hex(out.bytes, out.length,
	           "484ca052b8cc724fd1c4ec64d57b4e818c7e25a8e0f4569ed72a6a05fe0649ee"
	           "bf69f8d5c832856bf4e4fbc17967d54975324a94987f7f41835817d8994fdbd6");
	secret_fini(&prk);
	secret_fini(&out);
}

static void expanding_a_secret_into_itself_is_allowed(void **state)
{
	struct secret key = {0}, copy = {0}, expected = {0};
	uint8_t bytes[DIGEST_BYTES];

	(void)state;
	fill(bytes, sizeof bytes, 7);
	assert_int_equal(secret_set(&key, bytes, sizeof bytes), 0);
	assert_int_equal(secret_set(&copy, bytes, sizeof bytes), 0);
	assert_int_equal(hkdf_expand(&copy, "label", 5, 48, &expected), 0);
	assert_int_equal(hkdf_expand(&key, "label", 5, 48, &key), 0);
	assert_true(secret_is_equal(key.bytes, expected.bytes, 48));
	secret_fini(&key);
	secret_fini(&copy);
	secret_fini(&expected);
}

// Every bit of every input counts: with one flipped, the result is another one.
static void one_flipped_bit_anywhere_changes_the_derived_key(void **state)
{
	uint8_t input[3][20];
	struct secret prk = {0}, out = {0}, original = {0};

	(void)state;
	for (size_t i = 0; i < 3; i++)
		fill(input[i], sizeof input[i], (uint8_t)(40 * i));
	for (size_t bit = 0; bit <= 8 * sizeof input; bit++) {
		uint8_t changed[3][20];
		memcpy(changed, input, sizeof changed);
		if (bit > 0)
			changed[(bit - 1) / 160][(bit - 1) % 160 / 8] ^= (uint8_t)(1u << ((bit - 1) % 8));
		const struct digest_part ikm = {changed[1], sizeof changed[1]};
		assert_int_equal(hkdf_extract(changed[0], sizeof changed[0], &ikm, 1, &prk), 0);
		assert_int_equal(hkdf_expand(&prk, changed[2], sizeof changed[2], 48, &out), 0);
		if (bit == 0)
			secret_move(&original, &out);
		else
			assert_false(secret_is_equal(out.bytes, original.bytes, 48));
	}
	secret_fini(&prk);
	secret_fini(&out);
	secret_fini(&original);
}

static void random_bytes_differ_from_call_to_call(void **state)
{
	uint8_t a[32] = {0}, b[32] = {0};

	(void)state;
	random_bytes(a, sizeof a);
	random_bytes(b, sizeof b);
	assert_memory_not_equal(a, b, sizeof a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sha384_gives_the_known_answers),
		cmocka_unit_test(blake2s_gives_the_known_answer),
		cmocka_unit_test(sha256_gives_the_known_answer),
		cmocka_unit_test(hkdf_gives_the_known_answers),
		cmocka_unit_test(expanding_a_secret_into_itself_is_allowed),
		cmocka_unit_test(one_flipped_bit_anywhere_changes_the_derived_key),
		cmocka_unit_test(random_bytes_differ_from_call_to_call),
	};

	return cmocka_run_group_tests(tests, start_secrets, NULL);
}
