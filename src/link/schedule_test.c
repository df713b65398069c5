#include "link/schedule.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

// The known answers were computed from docs/protocol.md with another implementation of SHA-384 and HMAC.

static void from_hex(const char *hex, uint8_t *bytes, size_t length)
{
	assert_int_equal(strlen(hex), 2 * length);
	for (size_t i = 0; i < length; i++) {
		unsigned value;
		assert_int_equal(sscanf(hex + 2 * i, "%2x", &value), 1);
		bytes[i] = (uint8_t)value;
	}
}

static void expect_bytes(const uint8_t *bytes, size_t length, const char *hex)
{
	uint8_t expected[64];
	assert_true(length <= sizeof expected);
	from_hex(hex, expected, length);
	assert_memory_equal(bytes, expected, length);
}

static void expect_secret(const struct secret *secret, const char *hex)
{
	assert_true(secret_is_set(secret));
	expect_bytes(secret->bytes, secret->length, hex);
}

static void digest_text(const char *text, uint8_t digest[DIGEST_BYTES])
{
	const struct digest_part part = {text, strlen(text)};
	digest_sha384(&part, 1, digest);
}

// ---- what every test of an epoch starts from

struct fixture {
	struct secret chain, x25519, mlkem768, mceliece;
	struct schedule_input input;
};

static void fill(struct secret *secret, uint8_t byte, size_t length)
{
	assert_int_equal(secret_init(secret, length), 0);
	memset(secret->bytes, byte, length);
}

static void fixture_init(struct fixture *fixture, uint32_t epoch, uint8_t legs)
{
	*fixture = (struct fixture){0};
	assert_int_equal(secret_init(&fixture->chain, DIGEST_BYTES), 0);
	for (uint8_t i = 0; i < DIGEST_BYTES; i++)
		fixture->chain.bytes[i] = i;
	fill(&fixture->x25519, 0x11, 32);
	fill(&fixture->mlkem768, 0x22, 32);
	fill(&fixture->mceliece, 0x33, 32);
	fixture->input.epoch = epoch;
	fixture->input.legs = legs;
	fixture->input.chain = &fixture->chain;
	fixture->input.x25519 = &fixture->x25519;
	fixture->input.mlkem768 = legs & LEG_MLKEM768 ? &fixture->mlkem768 : NULL;
	fixture->input.mceliece = legs & LEG_MCELIECE ? &fixture->mceliece : NULL;
	digest_text("offer", fixture->input.offer_digest);
	digest_text("accept", fixture->input.accept_digest);
	digest_text(legs & LEG_MCELIECE ? "key" : "", fixture->input.mceliece_digest);
}

static void fixture_fini(struct fixture *fixture)
{
	secret_fini(&fixture->chain);
	secret_fini(&fixture->x25519);
	secret_fini(&fixture->mlkem768);
	secret_fini(&fixture->mceliece);
}

static void expect_epoch(uint32_t epoch, uint8_t legs, const char *chain, const char *data, const char *confirm_r,
                         const char *confirm_i)
{
	struct fixture fixture;
	struct schedule_epoch keys = {0};
	fixture_init(&fixture, epoch, legs);
	assert_int_equal(schedule_epoch_derive(&fixture.input, &keys), 0);
	expect_secret(&keys.chain, chain);
	expect_secret(&keys.data, data);
	expect_secret(&keys.confirm_r, confirm_r);
	expect_secret(&keys.confirm_i, confirm_i);
	schedule_epoch_fini(&keys);
	fixture_fini(&fixture);
}

// ---- tests

static void hello_context_matches_the_known_answer(void **state)
{
	(void)state;
	static const uint8_t frame_i[] = {0, 0, 0, 3, 1, 'a', 'b', 'c'};
	static const uint8_t frame_r[] = {0, 0, 0, 4, 1, 'w', 'x', 'y', 'z'};
	const struct digest_part part_i = {frame_i, sizeof frame_i}, part_r = {frame_r, sizeof frame_r};
	uint8_t cert_i[DIGEST_BYTES], cert_r[DIGEST_BYTES], context[DIGEST_BYTES];
	digest_text("certificate of the initiator", cert_i);
	digest_text("certificate of the responder", cert_r);
	schedule_hello_context(cert_i, cert_r, &part_i, &part_r, context);
	expect_bytes(context, sizeof context,
	             "5254d0a3f9fe34d1c58deb8776d7c3ff8ed260255cf0cd99263d507182c0aaf158c7073566573083dbd16e0b68bb561a");
}

static void link_id_matches_the_known_answer(void **state)
{
	(void)state;
	struct fixture fixture;
	uint8_t link_id[LINK_ID_BYTES];
	fixture_init(&fixture, 1, 7);
	assert_int_equal(schedule_link_id(&fixture.chain, link_id), 0);
	expect_bytes(link_id, sizeof link_id, "4538aacba8734fbe4582f9a930b4f33e");
	fixture_fini(&fixture);
}

static void hybrid_epoch_matches_the_known_answer(void **state)
{
	(void)state;
	expect_epoch(1, LEG_X25519 | LEG_MLKEM768 | LEG_MCELIECE,
	             "d4746cedf7dc18821638c712fc9a7b1b17b61e89862a996bdc38ccdd5441ceb3297a92a689529291f4cf05650475e4b8",
	             "3a3f5eceec4e822cba5566ff518732d37c4a41f8003a995d09cc2fb71d193c2c6ee68ecc3fd16e9edb0447361e007dbb",
	             "ebc2bf3e97932a5030c7e37cfad17f808fae83a287ecd6344257ef56f841e7e2a38b8fedc6ca23a80fc445e732666f95",
	             "eb04ecf26dab4b72354fea4c1f2cc43c5ae9a1844d6ff24d7fcad8a2fe83316a38d12a55acd67c7c9f0e34f61ffbebc3");
}

static void mlkem_epoch_matches_the_known_answer(void **state)
{
	(void)state;
	expect_epoch(2, LEG_X25519 | LEG_MLKEM768,
	             "2454424666d1c47addcd6684520822b781ad42885053ce9cc0bfaced92a6345c108e30252d4572bf4011b4811f2fc529",
	             "27f295fd29e1c00fb069d392f324c18e66180f9bf1f56e09b3200a0243f27939d34b7d1ea10a088f951d40a8b65246a7",
	             "7cce97bb99480fff992f29e1b79be20d13c018193fa024bc2b5fbccf9aab3486c51c349566846bb46febb2876ea1b722",
	             "4e369ac31a600f10cec8dcee3089dd30dae095ad5c24215fcf8cea8b2a19560700520b1217cab1779bb67d2a7e4023aa");
}

static void mceliece_epoch_matches_the_known_answer(void **state)
{
	(void)state;
	expect_epoch(0x01020304, LEG_X25519 | LEG_MCELIECE,
	             "5fe52f5ab90b05b5f7655d95b9d17b02f40aec9bc8a889bafa7e799c42b0480e606408f893c599bbebb1a61e322c3e63",
	             "41a6cbd64a3ed4a72181783aa309dd958b5b9432117cc33405aa8e11675ae360a03fe69dbb1cdd5be676eb8c94730356",
	             "2a48127f44cc031afb3be1ea5f3db5dcf0ebc7c1436789d01e70d84522826879b5d3c4ac8d3f6685842ed108fdfd866d",
	             "759fa276722b667a536b9b219be019c509ad655485f2ab33a71c11211ea75f0af6442a1fd272d9cbe178758b3039c165");
}

static void stream_psk_matches_the_known_answer(void **state)
{
	(void)state;
	struct secret data = {0}, psk = {0};
	struct psk_identity identity = {.epoch = 1, .index = 5};
	uint8_t bytes[DIGEST_BYTES];
	from_hex("3a3f5eceec4e822cba5566ff518732d37c4a41f8003a995d09cc2fb71d193c2c6ee68ecc3fd16e9edb0447361e007dbb", bytes,
	         sizeof bytes);
	assert_int_equal(secret_set(&data, bytes, sizeof bytes), 0);
	from_hex("4538aacba8734fbe4582f9a930b4f33e", identity.link_id, sizeof identity.link_id);
	assert_int_equal(schedule_psk(&data, &identity, 0x1302, &psk), 0);
	assert_int_equal(psk.length, PSK_BYTES);
	expect_secret(&psk,
	              "f59f94338b9b65fc213b03da5c4254a1a0d9e31c4a5a29394a9506e4e70754afa2c19176e5e0eecdca86cdb9fc66a808");
	secret_fini(&data);
	secret_fini(&psk);
}

// Derives with one byte of the input changed by `bit` and expects other keys everywhere.
static void expect_other_keys(struct fixture *fixture, const struct schedule_epoch *reference, uint8_t *byte,
                              uint8_t bit)
{
	struct schedule_epoch keys = {0};
	*byte ^= bit;
	assert_int_equal(schedule_epoch_derive(&fixture->input, &keys), 0);
	*byte ^= bit;
	assert_memory_not_equal(keys.chain.bytes, reference->chain.bytes, DIGEST_BYTES);
	assert_memory_not_equal(keys.data.bytes, reference->data.bytes, DIGEST_BYTES);
	assert_memory_not_equal(keys.confirm_r.bytes, reference->confirm_r.bytes, DIGEST_BYTES);
	assert_memory_not_equal(keys.confirm_i.bytes, reference->confirm_i.bytes, DIGEST_BYTES);
	schedule_epoch_fini(&keys);
}

static void one_flipped_bit_of_any_input_changes_every_key(void **state)
{
	(void)state;
	struct fixture fixture;
	struct schedule_epoch reference = {0};
	fixture_init(&fixture, 1, 7);
	assert_int_equal(schedule_epoch_derive(&fixture.input, &reference), 0);
	struct {
		uint8_t *bytes;
		size_t length;
	} inputs[] = {
		{fixture.chain.bytes, DIGEST_BYTES},
		{fixture.x25519.bytes, 32},
		{fixture.mlkem768.bytes, 32},
		{fixture.mceliece.bytes, 32},
		{fixture.input.offer_digest, DIGEST_BYTES},
		{fixture.input.accept_digest, DIGEST_BYTES},
		{fixture.input.mceliece_digest, DIGEST_BYTES},
		{(uint8_t *)&fixture.input.epoch, 4},
	};
	for (size_t i = 0; i < COUNT_OF(inputs); i++) {
		for (size_t bit = 0; bit < 8 * inputs[i].length; bit++)
			expect_other_keys(&fixture, &reference, &inputs[i].bytes[bit / 8], (uint8_t)(1 << bit % 8));
	}
	schedule_epoch_fini(&reference);
	fixture_fini(&fixture);
}

static void keys_of_one_epoch_differ_from_each_other(void **state)
{
	(void)state;
	struct fixture fixture;
	struct schedule_epoch keys = {0};
	fixture_init(&fixture, 1, 7);
	assert_int_equal(schedule_epoch_derive(&fixture.input, &keys), 0);
	const struct secret *all[] = {&keys.chain, &keys.data, &keys.confirm_r, &keys.confirm_i};
	for (size_t i = 0; i < COUNT_OF(all); i++) {
		for (size_t j = i + 1; j < COUNT_OF(all); j++)
			assert_memory_not_equal(all[i]->bytes, all[j]->bytes, DIGEST_BYTES);
	}
	schedule_epoch_fini(&keys);
	assert_false(secret_is_set(&keys.chain));
	schedule_epoch_fini(&keys);
	fixture_fini(&fixture);
}

static void psk_differs_by_link_epoch_index_and_suite(void **state)
{
	(void)state;
	struct secret data = {0}, first = {0}, other = {0};
	fill(&data, 0x42, DIGEST_BYTES);
	const struct psk_identity identity = {.epoch = 1, .index = 5};
	assert_int_equal(schedule_psk(&data, &identity, 0x1302, &first), 0);
	struct psk_identity others[] = {identity, identity, identity, identity};
	others[0].link_id[15] ^= 1;
	others[1].epoch++;
	others[2].index++;
	for (size_t i = 0; i < COUNT_OF(others); i++) {
		assert_int_equal(schedule_psk(&data, &others[i], i == 3 ? 0x1304 : 0x1302, &other), 0);
		assert_memory_not_equal(first.bytes, other.bytes, PSK_BYTES);
	}
	secret_fini(&data);
	secret_fini(&first);
	secret_fini(&other);
}

static void identity_survives_the_way_there_and_back(void **state)
{
	(void)state;
	struct psk_identity identity = {.epoch = 0xfffefdfc, .index = 0xf1f2f3f4f5f6f7f8}, decoded = {0};
	uint8_t bytes[PSK_IDENTITY_BYTES];
	memset(identity.link_id, 0xab, sizeof identity.link_id);
	psk_identity_encode(&identity, bytes);
	expect_bytes(bytes, sizeof bytes,
	             "7131abababababababababababababababab"
	             "fffefdfcf1f2f3f4f5f6f7f8");
	assert_int_equal(psk_identity_decode(bytes, sizeof bytes, &decoded), 0);
	assert_memory_equal(&decoded.link_id, &identity.link_id, LINK_ID_BYTES);
	assert_int_equal(decoded.epoch, identity.epoch);
	assert_true(decoded.index == identity.index);
}

static void identity_of_another_length_or_kind_is_refused(void **state)
{
	(void)state;
	struct psk_identity identity = {0};
	uint8_t bytes[PSK_IDENTITY_BYTES + 1] = {0};
	psk_identity_encode(&identity, bytes);
	for (size_t length = 0; length <= sizeof bytes; length++) {
		int expected = length == PSK_IDENTITY_BYTES ? 0 : PSK_IDENTITY_BAD;
		assert_int_equal(psk_identity_decode(bytes, length, &identity), expected);
	}
	for (size_t i = 0; i < 2; i++) {
		bytes[i] ^= 0x20;
		assert_int_equal(psk_identity_decode(bytes, PSK_IDENTITY_BYTES, &identity), PSK_IDENTITY_BAD);
		bytes[i] ^= 0x20;
	}
}

static int start_secrets(void **state)
{
	(void)state;
	return secret_start();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hello_context_matches_the_known_answer),
		cmocka_unit_test(link_id_matches_the_known_answer),
		cmocka_unit_test(hybrid_epoch_matches_the_known_answer),
		cmocka_unit_test(mlkem_epoch_matches_the_known_answer),
		cmocka_unit_test(mceliece_epoch_matches_the_known_answer),
		cmocka_unit_test(stream_psk_matches_the_known_answer),
		cmocka_unit_test(one_flipped_bit_of_any_input_changes_every_key),
		cmocka_unit_test(keys_of_one_epoch_differ_from_each_other),
		cmocka_unit_test(psk_differs_by_link_epoch_index_and_suite),
		cmocka_unit_test(identity_survives_the_way_there_and_back),
		cmocka_unit_test(identity_of_another_length_or_kind_is_refused),
	};
	return cmocka_run_group_tests(tests, start_secrets, NULL);
}
