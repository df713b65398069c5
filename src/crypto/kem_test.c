// The known answers need private keys of our choice, which kem.h deliberately does not offer: hence the source itself.
#include "crypto/kem.c"

// cmocka.h uses these and includes none of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <openssl/core_names.h>
#include <stdio.h>
#include <string.h>

static int start_secrets(void **state)
{
	(void)state;
	return secret_start();
}

static void from_hex(const char *hex, uint8_t *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		unsigned value;
		assert_int_equal(sscanf(hex + 2 * i, "%2x", &value), 1);
		bytes[i] = (uint8_t)value;
	}
}

static struct kem_key *adopt(EVP_PKEY *pair)
{
	assert_non_null(pair);
	struct kem_key *key = calloc(1, sizeof *key);
	assert_non_null(key);
	key->pair = pair;
	return key;
}

// ---- X25519

static struct kem_key *x25519_from(const char *hex)
{
	uint8_t private_key[32];
	from_hex(hex, private_key, sizeof private_key);
	return adopt(EVP_PKEY_new_raw_private_key_ex(NULL, "X25519", NULL, private_key, sizeof private_key));
}

static void expect_x25519(const char *private_hex, const char *peer_hex, const char *shared_hex)
{
	struct kem_key *key = x25519_from(private_hex);
	uint8_t peer[X25519_BYTES], expected[KEM_SECRET_BYTES];
	struct secret shared = {0};

	from_hex(peer_hex, peer, sizeof peer);
	from_hex(shared_hex, expected, sizeof expected);
	assert_int_equal(x25519_derive(key, peer, &shared), 0);
	assert_int_equal(shared.length, KEM_SECRET_BYTES);
	assert_memory_equal(shared.bytes, expected, sizeof expected);
	secret_fini(&shared);
	kem_key_free(&key);
	assert_null(key);
	kem_key_free(&key);
}

// Spec: RFC 7748 5.2 and 6.1
static void x25519_gives_the_known_answers(void **state)
{
	(void)state;
	expect_x25519("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
	              "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
	              "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552");
	expect_x25519("4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
	              "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
	              "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957");
	expect_x25519("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
	              "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
	              "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
	expect_x25519("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
	              "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
	              "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
}

static void x25519_agrees_between_two_fresh_keys(void **state)
{
	struct kem_key *a = NULL, *b = NULL;
	uint8_t public_a[X25519_BYTES], public_b[X25519_BYTES];
	struct secret shared_a = {0}, shared_b = {0};

	(void)state;
	assert_int_equal(x25519_generate(&a, public_a), 0);
	assert_int_equal(x25519_generate(&b, public_b), 0);
	assert_int_equal(x25519_derive(a, public_b, &shared_a), 0);
	assert_int_equal(x25519_derive(b, public_a, &shared_b), 0);
	assert_memory_equal(shared_a.bytes, shared_b.bytes, KEM_SECRET_BYTES);
	secret_fini(&shared_a);
	secret_fini(&shared_b);
	kem_key_free(&a);
	kem_key_free(&b);
}

// The points whose order divides 8, and their other encodings, all give an all-zero result with any private key.
static void x25519_refuses_every_point_of_small_order(void **state)
{
	static const char *const points[] = {
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
		"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	};
	struct kem_key *key = NULL;
	uint8_t public_key[X25519_BYTES], peer[X25519_BYTES];
	struct secret shared = {0};

	(void)state;
	assert_int_equal(x25519_generate(&key, public_key), 0);
	for (size_t i = 0; i < COUNT_OF(points); i++) {
		from_hex(points[i], peer, sizeof peer);
		assert_int_equal(x25519_derive(key, peer, &shared), KEM_BAD_INPUT);
		assert_false(secret_is_set(&shared));
		peer[31] |= 0x80; // the bit RFC 7748 5 says to ignore
		assert_int_equal(x25519_derive(key, peer, &shared), KEM_BAD_INPUT);
		assert_int_equal(ERR_peek_error(), 0);
	}
	kem_key_free(&key);
}

// ---- ML-KEM-768

static struct kem_key *mlkem768_from(uint8_t seed[64])
{
	EVP_PKEY *pair = NULL;
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_ML_KEM_SEED, seed, 64),
		OSSL_PARAM_construct_end(),
	};
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "ML-KEM-768", NULL);

	assert_int_equal(EVP_PKEY_fromdata_init(context), 1);
	assert_int_equal(EVP_PKEY_fromdata(context, &pair, EVP_PKEY_KEYPAIR, params), 1);
	EVP_PKEY_CTX_free(context);
	return adopt(pair);
}

// FIPS 203's Encaps_internal: the caller chooses the message.
static void mlkem768_encapsulate_chosen(EVP_PKEY *pair, uint8_t message[32], uint8_t *ciphertext, uint8_t *shared)
{
	size_t length = MLKEM768_CIPHERTEXT_BYTES, secret_length = KEM_SECRET_BYTES;
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(OSSL_KEM_PARAM_IKME, message, 32),
		OSSL_PARAM_construct_end(),
	};
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(NULL, pair, NULL);

	assert_int_equal(EVP_PKEY_encapsulate_init(context, params), 1);
	assert_int_equal(EVP_PKEY_encapsulate(context, ciphertext, &length, shared, &secret_length), 1);
	EVP_PKEY_CTX_free(context);
}

// The accumulated vectors of Go's crypto/mlkem (TestAccumulated, 100 rounds), which other implementations of FIPS 203
// give as well: one SHAKE128 stream supplies seeds, messages and random ciphertexts, another one swallows encapsulation
// keys, ciphertexts, shared secrets, and what decapsulation makes of the random ciphertexts (implicit rejection).
static void mlkem768_gives_the_accumulated_known_answer(void **state)
{
	static const char expected_hex[] = "1114b1b6699ed191734fa339376afa7e285c9e6acf6ff0177d346696ce564415";
	EVP_MD_CTX *source = EVP_MD_CTX_new(), *sink = EVP_MD_CTX_new();
	uint8_t seed[64], message[32], public_key[MLKEM768_KEY_BYTES], ciphertext[MLKEM768_CIPHERTEXT_BYTES];
	uint8_t sent[KEM_SECRET_BYTES], result[32], expected[32];
	struct secret shared = {0};

	(void)state;
	assert_int_equal(EVP_DigestInit_ex2(source, EVP_shake128(), NULL), 1);
	assert_int_equal(EVP_DigestInit_ex2(sink, EVP_shake128(), NULL), 1);
	for (int round = 0; round < 100; round++) {
		size_t length = sizeof public_key;
		assert_int_equal(EVP_DigestSqueeze(source, seed, sizeof seed), 1);
		struct kem_key *key = mlkem768_from(seed);
		assert_int_equal(EVP_PKEY_get_raw_public_key(key->pair, public_key, &length), 1);
		EVP_DigestUpdate(sink, public_key, sizeof public_key);
		assert_int_equal(EVP_DigestSqueeze(source, message, sizeof message), 1);
		mlkem768_encapsulate_chosen(key->pair, message, ciphertext, sent);
		EVP_DigestUpdate(sink, ciphertext, sizeof ciphertext);
		EVP_DigestUpdate(sink, sent, sizeof sent);
		assert_int_equal(mlkem768_decapsulate(key, ciphertext, &shared), 0);
		assert_memory_equal(shared.bytes, sent, sizeof sent);
		assert_int_equal(EVP_DigestSqueeze(source, ciphertext, sizeof ciphertext), 1);
		assert_int_equal(mlkem768_decapsulate(key, ciphertext, &shared), 0);
		EVP_DigestUpdate(sink, shared.bytes, KEM_SECRET_BYTES);
		kem_key_free(&key);
	}
	assert_int_equal(EVP_DigestFinalXOF(sink, result, sizeof result), 1);
	from_hex(expected_hex, expected, sizeof expected);
	assert_memory_equal(result, expected, sizeof result);
	secret_fini(&shared);
	EVP_MD_CTX_free(source);
	EVP_MD_CTX_free(sink);
}

static void mlkem768_agrees_and_a_flipped_ciphertext_bit_gives_another_secret(void **state)
{
	struct kem_key *key = NULL;
	uint8_t public_key[MLKEM768_KEY_BYTES], ciphertext[MLKEM768_CIPHERTEXT_BYTES];
	struct secret sent = {0}, received = {0};

	(void)state;
	assert_int_equal(mlkem768_generate(&key, public_key), 0);
	assert_int_equal(mlkem768_encapsulate(public_key, ciphertext, &sent), 0);
	assert_int_equal(mlkem768_decapsulate(key, ciphertext, &received), 0);
	assert_int_equal(received.length, KEM_SECRET_BYTES);
	assert_memory_equal(sent.bytes, received.bytes, KEM_SECRET_BYTES);
	for (size_t bit = 0; bit < 8 * sizeof ciphertext; bit++) {
		ciphertext[bit / 8] ^= (uint8_t)(1u << (bit % 8));
		assert_int_equal(mlkem768_decapsulate(key, ciphertext, &received), 0);
		assert_memory_not_equal(sent.bytes, received.bytes, KEM_SECRET_BYTES);
		ciphertext[bit / 8] ^= (uint8_t)(1u << (bit % 8));
	}
	secret_fini(&sent);
	secret_fini(&received);
	kem_key_free(&key);
}

// Spec: FIPS 203 7.2. Two coefficients of 12 bits share three bytes; q is 3329 = 0xd01.
static void mlkem768_refuses_a_key_with_a_coefficient_at_or_above_the_modulus(void **state)
{
	struct kem_key *key = NULL;
	uint8_t public_key[MLKEM768_KEY_BYTES], changed[MLKEM768_KEY_BYTES], ciphertext[MLKEM768_CIPHERTEXT_BYTES];
	struct secret shared = {0};

	(void)state;
	assert_int_equal(mlkem768_generate(&key, public_key), 0);
	for (size_t pair = 0; pair < (MLKEM768_KEY_BYTES - 32) / 3; pair++) {
		memcpy(changed, public_key, sizeof changed);
		uint8_t *at = changed + 3 * pair;
		at[0] = 0x01; // the even coefficient becomes 3329
		at[1] = (uint8_t)((at[1] & 0xf0) | 0x0d);
		assert_int_equal(mlkem768_encapsulate(changed, ciphertext, &shared), KEM_BAD_INPUT);
		memcpy(changed, public_key, sizeof changed);
		at[1] |= 0xf0; // the odd coefficient becomes 4095
		at[2] = 0xff;
		assert_int_equal(mlkem768_encapsulate(changed, ciphertext, &shared), KEM_BAD_INPUT);
	}
	assert_false(secret_is_set(&shared));
	assert_int_equal(ERR_peek_error(), 0);
	memcpy(changed, public_key, sizeof changed);
	changed[0] = 0x00; // 3328 is the largest one allowed
	changed[1] = (uint8_t)((changed[1] & 0xf0) | 0x0d);
	assert_int_equal(mlkem768_encapsulate(changed, ciphertext, &shared), 0);
	secret_fini(&shared);
	kem_key_free(&key);
}

// ---- Classic McEliece 460896

static void mceliece_agrees_and_a_flipped_ciphertext_bit_gives_another_secret(void **state)
{
	struct mceliece_key *key = NULL;
	uint8_t ciphertext[MCELIECE_CIPHERTEXT_BYTES], digest[DIGEST_BYTES];
	struct secret sent = {0}, received = {0};

	(void)state;
	assert_int_equal(mceliece_generate(&key), 0);
	const struct digest_part whole = {mceliece_public(key), MCELIECE_KEY_BYTES};
	digest_sha384(&whole, 1, digest);
	assert_memory_equal(digest, mceliece_digest(key), DIGEST_BYTES);

	assert_int_equal(mceliece_encapsulate(mceliece_public(key), ciphertext, &sent), 0);
	assert_int_equal(mceliece_decapsulate(key, ciphertext, &received), 0);
	assert_int_equal(received.length, KEM_SECRET_BYTES);
	assert_memory_equal(sent.bytes, received.bytes, KEM_SECRET_BYTES);
	for (size_t bit = 0; bit < 8 * sizeof ciphertext; bit++) {
		ciphertext[bit / 8] ^= (uint8_t)(1u << (bit % 8));
		assert_int_equal(mceliece_decapsulate(key, ciphertext, &received), 0);
		assert_memory_not_equal(sent.bytes, received.bytes, KEM_SECRET_BYTES);
		ciphertext[bit / 8] ^= (uint8_t)(1u << (bit % 8));
	}
	secret_fini(&sent);
	secret_fini(&received);
	mceliece_key_free(&key);
	assert_null(key);
	mceliece_key_free(&key);
}

static void mceliece_with_another_key_gives_another_secret(void **state)
{
	struct mceliece_key *key = NULL, *other = NULL;
	uint8_t ciphertext[MCELIECE_CIPHERTEXT_BYTES];
	struct secret sent = {0}, received = {0};

	(void)state;
	assert_int_equal(mceliece_generate(&key), 0);
	assert_int_equal(mceliece_generate(&other), 0);
	assert_memory_not_equal(mceliece_digest(key), mceliece_digest(other), DIGEST_BYTES);
	assert_int_equal(mceliece_encapsulate(mceliece_public(key), ciphertext, &sent), 0);
	assert_int_equal(mceliece_decapsulate(other, ciphertext, &received), 0);
	assert_memory_not_equal(sent.bytes, received.bytes, KEM_SECRET_BYTES);
	secret_fini(&sent);
	secret_fini(&received);
	mceliece_key_free(&key);
	mceliece_key_free(&other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(x25519_gives_the_known_answers),
		cmocka_unit_test(x25519_agrees_between_two_fresh_keys),
		cmocka_unit_test(x25519_refuses_every_point_of_small_order),
		cmocka_unit_test(mlkem768_gives_the_accumulated_known_answer),
		cmocka_unit_test(mlkem768_agrees_and_a_flipped_ciphertext_bit_gives_another_secret),
		cmocka_unit_test(mlkem768_refuses_a_key_with_a_coefficient_at_or_above_the_modulus),
		cmocka_unit_test(mceliece_agrees_and_a_flipped_ciphertext_bit_gives_another_secret),
		cmocka_unit_test(mceliece_with_another_key_gives_another_secret),
	};

	return cmocka_run_group_tests(tests, start_secrets, NULL);
}
