// One exchange, without the engine around it. Bits flipped in every message are in control_epoch_test.c.

#include "link/epoch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

enum { HYBRID = LEG_X25519 | LEG_MLKEM768 | LEG_MCELIECE };

static struct mceliece_key *pair;
static struct secret chain;

static int decapsulate(void *owner, const uint8_t digest[DIGEST_BYTES], const uint8_t *ciphertext,
                       struct secret *shared)
{
	bool *gone = owner;
	if (*gone || memcmp(digest, mceliece_digest(pair), DIGEST_BYTES) != 0)
		return CONTROL_KEY_GONE;
	return mceliece_decapsulate(pair, ciphertext, shared);
}

struct exchange {
	struct epoch initiator, responder;
	struct epoch_terms terms;
	bool gone;
	uint8_t offer[MESSAGE_OFFER_FRAME_BYTES], accept[MESSAGE_ACCEPT_FRAME_BYTES], done[MESSAGE_SMALL_FRAME_BYTES];
	size_t offer_length, accept_length, done_length;
};

static struct frame as_frame(const uint8_t *bytes, size_t length)
{
	return (struct frame){bytes[4], bytes, length, bytes + FRAME_HEADER_BYTES, length - FRAME_HEADER_BYTES};
}

static void offer(struct exchange *exchange, uint8_t legs)
{
	*exchange = (struct exchange){.terms = {.number = 7, .legs = legs, .chain = &chain}};
	assert_int_equal(epoch_offer(&exchange->initiator, &exchange->terms, mceliece_digest(pair), mceliece_public(pair),
	                             exchange->offer, &exchange->offer_length),
	                 0);
}

static int accept_offer(struct exchange *exchange)
{
	struct frame frame = as_frame(exchange->offer, exchange->offer_length);
	return epoch_accept(&exchange->responder, &exchange->terms, &frame, decapsulate, &exchange->gone, exchange->accept,
	                    &exchange->accept_length);
}

static int finish(struct exchange *exchange)
{
	struct frame frame = as_frame(exchange->accept, exchange->accept_length);
	return epoch_finish(&exchange->initiator, &exchange->terms, &frame, exchange->done, &exchange->done_length);
}

static int confirm(struct exchange *exchange)
{
	struct frame frame = as_frame(exchange->done, exchange->done_length);
	return epoch_confirm(&exchange->responder, &frame);
}

static void end(struct exchange *exchange)
{
	epoch_fini(&exchange->initiator);
	epoch_fini(&exchange->responder);
}

static void expect_nothing_left(const struct epoch *epoch)
{
	assert_null(epoch->x25519);
	assert_null(epoch->mlkem768);
	assert_false(secret_is_set(&epoch->mceliece));
	assert_false(secret_is_set(&epoch->keys.chain));
	assert_false(secret_is_set(&epoch->keys.data));
	assert_false(secret_is_set(&epoch->keys.confirm_i));
	assert_false(secret_is_set(&epoch->keys.confirm_r));
}

static void both_sides_get_the_same_keys_in_every_kem_mode(void **state)
{
	(void)state;
	static const uint8_t modes[] = {HYBRID, LEG_X25519 | LEG_MLKEM768, LEG_X25519 | LEG_MCELIECE};
	for (size_t i = 0; i < COUNT_OF(modes); i++) {
		struct exchange exchange;
		offer(&exchange, modes[i]);
		assert_int_equal(accept_offer(&exchange), 0);
		assert_int_equal(finish(&exchange), 0);
		assert_int_equal(confirm(&exchange), 0);
		const struct schedule_epoch *a = &exchange.initiator.keys, *b = &exchange.responder.keys;
		assert_memory_equal(a->chain.bytes, b->chain.bytes, DIGEST_BYTES);
		assert_memory_equal(a->data.bytes, b->data.bytes, DIGEST_BYTES);
		// The ephemeral keys are gone as soon as they were used.
		assert_null(exchange.initiator.x25519);
		assert_null(exchange.initiator.mlkem768);
		assert_false(secret_is_set(&exchange.initiator.mceliece));
		end(&exchange);
		expect_nothing_left(&exchange.initiator);
	}
}

static void every_offer_is_fresh(void **state)
{
	(void)state;
	struct exchange a, b;
	offer(&a, HYBRID);
	offer(&b, HYBRID);
	size_t x = FRAME_HEADER_BYTES + 5, m = x + X25519_BYTES, c = a.offer_length - MCELIECE_CIPHERTEXT_BYTES;
	assert_memory_not_equal(a.offer + x, b.offer + x, X25519_BYTES);
	assert_memory_not_equal(a.offer + m, b.offer + m, MLKEM768_KEY_BYTES);
	assert_memory_not_equal(a.offer + c, b.offer + c, MCELIECE_CIPHERTEXT_BYTES);
	end(&a);
	end(&b);
}

static void same_offer_is_never_answered_the_same_way(void **state)
{
	(void)state;
	struct exchange exchange;
	uint8_t first[MESSAGE_ACCEPT_FRAME_BYTES], data[DIGEST_BYTES];
	offer(&exchange, HYBRID);
	assert_int_equal(accept_offer(&exchange), 0);
	memcpy(first, exchange.accept, sizeof first);
	memcpy(data, exchange.responder.keys.data.bytes, sizeof data);
	assert_int_equal(accept_offer(&exchange), 0);
	assert_memory_not_equal(first + FRAME_HEADER_BYTES + 4, exchange.accept + FRAME_HEADER_BYTES + 4, X25519_BYTES);
	assert_memory_not_equal(data, exchange.responder.keys.data.bytes, sizeof data);
	end(&exchange);
}

static void x25519_key_that_forces_zeros_is_refused_by_both(void **state)
{
	(void)state;
	struct exchange exchange;
	offer(&exchange, HYBRID);
	memset(exchange.offer + FRAME_HEADER_BYTES + 5, 0, X25519_BYTES);
	assert_int_equal(accept_offer(&exchange), EPOCH_BAD_KEY);
	expect_nothing_left(&exchange.responder);
	end(&exchange);

	offer(&exchange, HYBRID);
	assert_int_equal(accept_offer(&exchange), 0);
	memset(exchange.accept + FRAME_HEADER_BYTES + 4, 0, X25519_BYTES);
	assert_int_equal(finish(&exchange), EPOCH_BAD_KEY);
	end(&exchange);
}

static void mlkem_key_beyond_the_modulus_is_refused(void **state)
{
	(void)state;
	struct exchange exchange;
	offer(&exchange, HYBRID);
	memset(exchange.offer + FRAME_HEADER_BYTES + 5 + X25519_BYTES, 0xff, 3);
	assert_int_equal(accept_offer(&exchange), EPOCH_BAD_KEY);
	expect_nothing_left(&exchange.responder);
	end(&exchange);
}

static void key_that_is_gone_costs_nothing_else(void **state)
{
	(void)state;
	struct exchange exchange;
	offer(&exchange, HYBRID);
	exchange.gone = true;
	// Not even the other legs are looked at.
	memset(exchange.offer + FRAME_HEADER_BYTES + 5, 0, X25519_BYTES);
	assert_int_equal(accept_offer(&exchange), EPOCH_KEY_GONE);
	expect_nothing_left(&exchange.responder);
	end(&exchange);
}

static void terms_that_differ_are_named(void **state)
{
	(void)state;
	struct exchange exchange;
	offer(&exchange, HYBRID);
	exchange.terms.number = 8;
	assert_int_equal(accept_offer(&exchange), EPOCH_WRONG_NUMBER);
	exchange.terms.number = 7;
	exchange.terms.legs = LEG_X25519 | LEG_MLKEM768;
	assert_int_equal(accept_offer(&exchange), EPOCH_WRONG_LEGS);
	exchange.offer_length--;
	assert_int_equal(accept_offer(&exchange), EPOCH_MALFORMED);
	end(&exchange);
}

static void another_chain_is_not_confirmed(void **state)
{
	(void)state;
	struct exchange exchange;
	struct secret other = {0};
	offer(&exchange, HYBRID);
	assert_int_equal(accept_offer(&exchange), 0);
	assert_int_equal(secret_set(&other, chain.bytes, chain.length), 0);
	other.bytes[47] ^= 0x80;
	exchange.terms.chain = &other;
	assert_int_equal(finish(&exchange), EPOCH_UNCONFIRMED);
	assert_false(secret_is_set(&exchange.initiator.keys.data));
	secret_fini(&other);
	end(&exchange);
}

static void key_digest_is_part_of_what_is_confirmed(void **state)
{
	(void)state;
	static const uint8_t modes[] = {HYBRID, LEG_X25519 | LEG_MLKEM768};
	const struct digest_part nothing = {"", 0};
	uint8_t of_nothing[DIGEST_BYTES];
	digest_sha384(&nothing, 1, of_nothing);
	for (size_t i = 0; i < COUNT_OF(modes); i++) {
		struct exchange exchange;
		offer(&exchange, modes[i]);
		const uint8_t *expected = modes[i] & LEG_MCELIECE ? mceliece_digest(pair) : of_nothing;
		assert_memory_equal(exchange.initiator.mceliece_digest, expected, DIGEST_BYTES);
		assert_int_equal(accept_offer(&exchange), 0);
		exchange.initiator.mceliece_digest[0] ^= 1;
		assert_int_equal(finish(&exchange), EPOCH_UNCONFIRMED);
		end(&exchange);
	}
}

static void confirmations_are_not_interchangeable(void **state)
{
	(void)state;
	struct exchange exchange;
	offer(&exchange, HYBRID);
	assert_int_equal(accept_offer(&exchange), 0);
	assert_int_equal(finish(&exchange), 0);
	// The responder's own, sent back.
	memcpy(exchange.done + FRAME_HEADER_BYTES, exchange.responder.keys.confirm_r.bytes, MESSAGE_CONFIRM_BYTES);
	assert_int_equal(confirm(&exchange), EPOCH_UNCONFIRMED);
	exchange.done_length--;
	assert_int_equal(confirm(&exchange), EPOCH_MALFORMED);
	end(&exchange);
}

static void every_outcome_has_a_name(void **state)
{
	(void)state;
	for (int outcome = 0; outcome <= EPOCH_KEY_GONE; outcome++)
		assert_true(strlen(epoch_outcome_name(outcome)) > 3);
	assert_string_equal(epoch_outcome_name(99), "unknown");
	assert_non_null(epoch_outcome_name(-12));
}

static int start(void **state)
{
	(void)state;
	int outcome = secret_start();
	if (outcome == 0)
		outcome = mceliece_generate(&pair);
	if (outcome == 0)
		outcome = secret_init(&chain, DIGEST_BYTES);
	if (outcome == 0)
		memset(chain.bytes, 0x77, DIGEST_BYTES);
	return outcome;
}

static int stop(void **state)
{
	(void)state;
	mceliece_key_free(&pair);
	secret_fini(&chain);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_sides_get_the_same_keys_in_every_kem_mode),
		cmocka_unit_test(every_offer_is_fresh),
		cmocka_unit_test(same_offer_is_never_answered_the_same_way),
		cmocka_unit_test(x25519_key_that_forces_zeros_is_refused_by_both),
		cmocka_unit_test(mlkem_key_beyond_the_modulus_is_refused),
		cmocka_unit_test(key_that_is_gone_costs_nothing_else),
		cmocka_unit_test(terms_that_differ_are_named),
		cmocka_unit_test(another_chain_is_not_confirmed),
		cmocka_unit_test(key_digest_is_part_of_what_is_confirmed),
		cmocka_unit_test(confirmations_are_not_interchangeable),
		cmocka_unit_test(every_outcome_has_a_name),
	};
	return cmocka_run_group_tests(tests, start, stop);
}
