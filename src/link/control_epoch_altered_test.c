// Epoch exchanges in which something is altered, missing or out of its order: none of them gives a key.

#include "link/control_epoch_rig.h"

// ---- what is altered

struct flip_outcome {
	bool exists; // there was such a bit
	bool retried;
};

// A link in which one bit of the first frame of this type is flipped never gets an epoch out of that frame.
static struct flip_outcome flip(uint8_t legs, uint8_t type, size_t bit)
{
	struct rig *rig = rig_new(legs);
	rig->flip_type = type;
	rig->flip_bit = bit;
	rig_open(rig);
	rig_run(rig);
	struct flip_outcome outcome = {.exists = rig->flipped};
	if (!outcome.exists) {
		rig_free(rig);
		return outcome;
	}
	if (rig->initiator.closes + rig->responder.closes == 0 && rig->responder.frames[MESSAGE_EPOCH_RETRY] > 0) {
		// The digest of the McEliece key in the offer: an unknown key, which is no reason to end a link.
		outcome.retried = true;
		assert_int_equal(rig->responder.epochs, 1);
		expect_epoch(rig, 1);
		rig_free(rig);
		return outcome;
	}
	// A frame that grew waits for bytes that never come.
	rig_pass(rig, LIMIT_ESTABLISH_MS * 1000ULL);
	assert_int_equal(rig->initiator.closes, 1);
	assert_int_equal(rig->responder.closes, 1);
	assert_int_equal(rig->responder.confirmed, 0);
	// EPOCH_DONE is the last message: the initiator may have its keys by then.
	if (type != MESSAGE_EPOCH_DONE)
		assert_int_equal(rig->initiator.epochs + rig->initiator.confirmed, 0);
	rig_free(rig);
	return outcome;
}

// Every bit of the header, then every stride-th.
static void expect_flips_to_fail(uint8_t legs, uint8_t type, size_t bits, size_t stride)
{
	size_t bit = 0;
	struct flip_outcome outcome;
	for (;;) {
		outcome = flip(legs, type, bit);
		if (!outcome.exists)
			break;
		if (outcome.retried) {
			// Only where the digest of the key is, which is followed by nothing but the ciphertext.
			size_t digest_from = MESSAGE_OFFER_FRAME_BYTES - MCELIECE_CIPHERTEXT_BYTES - DIGEST_BYTES;
			if (!(legs & LEG_MLKEM768))
				digest_from -= MLKEM768_KEY_BYTES;
			assert_int_equal(type, MESSAGE_EPOCH_OFFER);
			assert_in_range(bit / 8, digest_from, digest_from + DIGEST_BYTES - 1);
		}
		bit += bit < 8 * (FRAME_HEADER_BYTES + 5) ? 1 : stride;
	}
	assert_true(bit >= bits);
}

static void one_flipped_bit_anywhere_in_an_offer_makes_it_fail(void **state)
{
	(void)state;
	expect_flips_to_fail(RIG_MLKEM, MESSAGE_EPOCH_OFFER, 8ULL * (FRAME_HEADER_BYTES + 5 + 32 + MLKEM768_KEY_BYTES), 11);
	expect_flips_to_fail(RIG_MCELIECE, MESSAGE_EPOCH_OFFER,
	                     8ULL * (FRAME_HEADER_BYTES + 5 + 32 + DIGEST_BYTES + MCELIECE_CIPHERTEXT_BYTES), 13);
	expect_flips_to_fail(RIG_HYBRID, MESSAGE_EPOCH_OFFER, 8ULL * MESSAGE_OFFER_FRAME_BYTES, 61);
}

static void one_flipped_bit_anywhere_in_an_accept_makes_it_fail(void **state)
{
	(void)state;
	expect_flips_to_fail(RIG_MLKEM, MESSAGE_EPOCH_ACCEPT, 8ULL * MESSAGE_ACCEPT_FRAME_BYTES, 11);
	expect_flips_to_fail(RIG_HYBRID, MESSAGE_EPOCH_ACCEPT, 8ULL * MESSAGE_ACCEPT_FRAME_BYTES, 61);
}

// X25519 ignores the highest bit of a public key: only the transcript notices.
static void bit_that_changes_no_secret_makes_the_exchange_fail(void **state)
{
	(void)state;
	size_t highest_bit = 8 * (X25519_BYTES - 1) + 7;
	size_t in_offer = 8 * (FRAME_HEADER_BYTES + 4 + 1) + highest_bit;
	size_t in_accept = 8 * (FRAME_HEADER_BYTES + 4) + highest_bit;
	assert_true(flip(RIG_MLKEM, MESSAGE_EPOCH_OFFER, in_offer).exists);
	assert_true(flip(RIG_MLKEM, MESSAGE_EPOCH_ACCEPT, in_accept).exists);
}

static void one_flipped_bit_anywhere_in_a_done_makes_it_fail(void **state)
{
	(void)state;
	expect_flips_to_fail(RIG_MLKEM, MESSAGE_EPOCH_DONE, 8ULL * (FRAME_HEADER_BYTES + MESSAGE_CONFIRM_BYTES), 1);
}

static void one_flipped_bit_anywhere_in_a_key_makes_it_fail(void **state)
{
	(void)state;
	expect_flips_to_fail(RIG_HYBRID, MESSAGE_KEY, 8ULL * LIMIT_KEY_BYTES, 90007);
}

static void one_flipped_bit_anywhere_in_a_retry_makes_it_fail(void **state)
{
	(void)state;
	for (size_t bit = 8ULL * FRAME_HEADER_BYTES; bit < 8ULL * (FRAME_HEADER_BYTES + DIGEST_BYTES); bit += 7) {
		struct rig *rig = rig_new(RIG_HYBRID);
		rig->flip_type = MESSAGE_EPOCH_RETRY;
		rig->flip_bit = bit;
		rig->initiator.cached[1] = true;
		rig->initiator.last = 1;
		rig_open(rig);
		rig_run(rig);
		assert_true(rig->flipped);
		expect_closed(&rig->initiator, CONTROL_REASON_PROTOCOL, "KEY does not have the digest");
		rig_free(rig);
	}
}

static void wrong_confirmation_names_the_message_and_wipes(void **state)
{
	(void)state;
	struct rig *rig = rig_new(RIG_MLKEM);
	rig->flip_type = MESSAGE_EPOCH_ACCEPT;
	rig->flip_bit = 8 * MESSAGE_ACCEPT_FRAME_BYTES - 1;
	rig_open(rig);
	rig_run(rig);
	expect_closed(&rig->initiator, CONTROL_REASON_EPOCH, "EPOCH_ACCEPT: the confirmation is wrong");
	expect_closed(&rig->responder, CONTROL_REASON_EPOCH, "EPOCH_ACCEPT: the confirmation is wrong");
	assert_false(secret_is_set(&rig->initiator.control->chain));
	assert_false(secret_is_set(&rig->responder.control->pending.keys.chain));
	rig_free(rig);

	rig = rig_new(RIG_MLKEM);
	rig->flip_type = MESSAGE_EPOCH_DONE;
	rig->flip_bit = 8ULL * FRAME_HEADER_BYTES;
	rig_open(rig);
	rig_run(rig);
	expect_closed(&rig->responder, CONTROL_REASON_EPOCH, "EPOCH_DONE: the confirmation is wrong");
	assert_false(secret_is_set(&rig->responder.control->chain));
	rig_free(rig);
}

static void epoch_depends_on_the_chain_before_it(void **state)
{
	(void)state;
	struct rig *rig = established(RIG_MLKEM);
	rig->initiator.control->chain.bytes[0] ^= 1;
	step(rig);
	control_want_epoch(rig->initiator.control, rig->now_us);
	rig_run(rig);
	expect_closed(&rig->initiator, CONTROL_REASON_EPOCH, "the confirmation is wrong");
	assert_int_equal(rig->initiator.epochs, 1);
	rig_free(rig);
}

// The offer in the initiator's queue, to be changed before it is delivered.
static uint8_t *queued_offer(struct rig *rig)
{
	step(rig);
	control_want_epoch(rig->initiator.control, rig->now_us);
	uint8_t *offer = rig->initiator.sent + rig->initiator.sent_at;
	assert_int_equal(offer[4], MESSAGE_EPOCH_OFFER);
	return offer;
}

static void epoch_number_that_is_not_the_next_ends_the_link(void **state)
{
	(void)state;
	static const uint32_t numbers[] = {0, 1, 3, 4, 0x01000002, UINT32_MAX};
	for (size_t i = 0; i < COUNT_OF(numbers); i++) {
		struct rig *rig = established(RIG_MLKEM);
		uint8_t *number = queued_offer(rig) + FRAME_HEADER_BYTES;
		for (int byte = 0; byte < 4; byte++)
			number[byte] = (uint8_t)(numbers[i] >> (24 - 8 * byte));
		rig_run(rig);
		expect_closed(&rig->responder, CONTROL_REASON_PROTOCOL, "EPOCH_OFFER: not the next epoch's number");
		rig_free(rig);
	}
}

static void accept_of_another_epoch_ends_the_link(void **state)
{
	(void)state;
	struct rig *rig = established(RIG_MLKEM);
	queued_offer(rig);
	rig_deliver(&rig->initiator, SIZE_MAX);
	rig->responder.sent[rig->responder.sent_at + FRAME_HEADER_BYTES + 3]++;
	rig_run(rig);
	expect_closed(&rig->initiator, CONTROL_REASON_PROTOCOL, "EPOCH_ACCEPT: not the next epoch's number");
	rig_free(rig);
}

static void offer_cannot_leave_a_leg_out(void **state)
{
	(void)state;
	struct rig *rig = established(RIG_HYBRID);
	// A complete offer, but of the mode that the peer would like better.
	uint8_t frame[MESSAGE_OFFER_FRAME_BYTES];
	size_t length;
	struct epoch epoch = {0};
	const struct epoch_terms terms = {.number = 2, .legs = RIG_MLKEM};
	assert_int_equal(epoch_offer(&epoch, &terms, NULL, NULL, frame, &length), 0);
	assert_int_equal(control_receive(rig->responder.control, frame, length, rig->now_us), CONTROL_ENDED);
	expect_closed(&rig->responder, CONTROL_REASON_PROTOCOL, "EPOCH_OFFER");
	epoch_fini(&epoch);
	rig_free(rig);

	// The same length, the bit gone.
	rig = established(RIG_HYBRID);
	queued_offer(rig)[FRAME_HEADER_BYTES + 4] = RIG_MLKEM;
	rig_run(rig);
	expect_closed(&rig->responder, CONTROL_REASON_PROTOCOL, "EPOCH_OFFER: malformed");
	rig_free(rig);

	// The same length and layout, a bit nobody knows.
	rig = established(RIG_HYBRID);
	queued_offer(rig)[FRAME_HEADER_BYTES + 4] |= 0x80;
	rig_run(rig);
	expect_closed(&rig->responder, CONTROL_REASON_PROTOCOL, "EPOCH_OFFER: not the legs that were agreed");
	rig_free(rig);
}

static void responder_takes_new_keys_before_its_accept_leaves(void **state)
{
	(void)state;
	struct rig *rig = established(RIG_MLKEM);
	queued_offer(rig);
	rig_deliver(&rig->initiator, SIZE_MAX);
	assert_int_equal(rig->responder.epoch, 2);
	assert_int_equal(rig->responder.accepts_before, 1);
	assert_int_equal(rig->responder.frames[MESSAGE_EPOCH_ACCEPT], 2);
	assert_int_equal(rig->responder.confirmed, 1);
	assert_int_equal(rig->initiator.epoch, 1);
	struct control_state read;
	control_read(rig->responder.control, &read);
	assert_int_equal(read.epoch, 1);
	rig_deliver(&rig->responder, SIZE_MAX);
	assert_int_equal(rig->initiator.epoch, 2);
	assert_int_equal(rig->initiator.confirmed, 2);
	assert_int_equal(rig->responder.confirmed, 1);
	rig_run(rig);
	expect_epoch(rig, 2);
	rig_free(rig);
}

static void last_epoch_number_ends_the_link_instead_of_wrapping(void **state)
{
	(void)state;
	for (int at_responder = 0; at_responder < 2; at_responder++) {
		struct rig *rig = established(RIG_MLKEM);
		struct rig_side *side = at_responder ? &rig->responder : &rig->initiator;
		side->control->epoch = UINT32_MAX;
		step(rig);
		control_want_epoch(rig->initiator.control, rig->now_us);
		rig_run(rig);
		expect_closed(side, CONTROL_REASON_LIMIT, "no epoch numbers are left");
		rig_free(rig);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_flipped_bit_anywhere_in_an_offer_makes_it_fail),
		cmocka_unit_test(one_flipped_bit_anywhere_in_an_accept_makes_it_fail),
		cmocka_unit_test(bit_that_changes_no_secret_makes_the_exchange_fail),
		cmocka_unit_test(one_flipped_bit_anywhere_in_a_done_makes_it_fail),
		cmocka_unit_test(one_flipped_bit_anywhere_in_a_key_makes_it_fail),
		cmocka_unit_test(one_flipped_bit_anywhere_in_a_retry_makes_it_fail),
		cmocka_unit_test(wrong_confirmation_names_the_message_and_wipes),
		cmocka_unit_test(epoch_depends_on_the_chain_before_it),
		cmocka_unit_test(epoch_number_that_is_not_the_next_ends_the_link),
		cmocka_unit_test(accept_of_another_epoch_ends_the_link),
		cmocka_unit_test(offer_cannot_leave_a_leg_out),
		cmocka_unit_test(responder_takes_new_keys_before_its_accept_leaves),
		cmocka_unit_test(last_epoch_number_ends_the_link_instead_of_wrapping),
	};
	return cmocka_run_group_tests(tests, start, stop);
}
