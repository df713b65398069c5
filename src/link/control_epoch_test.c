// Epoch exchanges between two engines: when they happen, what ends them, and that nothing altered survives.

#include "link/control_epoch_rig.h"

static const uint64_t HOUR_US = 3600ULL * 1000000;

// Both heartbeats out of the way: only epochs move the clock.
static struct rig *established_quiet(uint32_t rotation_i_ms, uint32_t rotation_r_ms)
{
	struct control_settings initiator = rig_settings(CONTROL_INITIATOR, RIG_MLKEM);
	struct control_settings responder = rig_settings(CONTROL_RESPONDER, RIG_MLKEM);
	initiator.rotation_ms = rotation_i_ms;
	responder.rotation_ms = rotation_r_ms;
	initiator.heartbeat_ms = responder.heartbeat_ms = UINT32_MAX;
	struct rig *rig = rig_new_with(&initiator, &responder);
	rig_open(rig);
	rig_run(rig);
	expect_epoch(rig, 1);
	// The ping that measures the first round trip.
	rig_tick(rig);
	rig_run(rig);
	return rig;
}

// ---- when

static void initiator_rotates_after_its_interval_less_up_to_a_tenth(void **state)
{
	(void)state;
	uint64_t least_us = UINT64_MAX, most_us = 0;
	for (int i = 0; i < 50; i++) {
		struct rig *rig = established_quiet(3600000, 36000000);
		uint64_t wait_us = control_deadline(rig->initiator.control) - rig->now_us;
		assert_true(wait_us >= HOUR_US / 10 * 9 && wait_us <= HOUR_US);
		least_us = wait_us < least_us ? wait_us : least_us;
		most_us = wait_us > most_us ? wait_us : most_us;
		rig->now_us += wait_us - 1;
		rig_tick(rig);
		rig_run(rig);
		expect_epoch(rig, 1);
		rig->now_us++;
		rig_tick(rig);
		rig_run(rig);
		expect_epoch(rig, 2);
		rig_free(rig);
	}
	// A fleet spreads: fifty links do not agree on a second.
	assert_true(most_us - least_us > 1000000);
}

static void responder_with_the_shorter_interval_asks(void **state)
{
	(void)state;
	struct rig *rig = established_quiet(36000000, 3600000);
	assert_true(control_deadline(rig->responder.control) == rig->now_us + HOUR_US / 10 * 11);
	rig->now_us += HOUR_US / 10 * 11;
	rig_tick(rig);
	assert_int_equal(rig->responder.frames[MESSAGE_EPOCH_WANT], 1);
	rig_run(rig);
	expect_epoch(rig, 2);
	rig_free(rig);
}

static void responder_with_the_same_interval_stays_quiet(void **state)
{
	(void)state;
	struct rig *rig = established(RIG_MLKEM);
	rig_pass(rig, 100 * HOUR_US);
	assert_int_equal(rig->responder.frames[MESSAGE_EPOCH_WANT], 0);
	struct control_state read;
	control_read(rig->initiator.control, &read);
	// Between 0.9 and 1 interval each.
	assert_in_range(read.epoch, 100, 112);
	expect_epoch(rig, read.epoch);
	rig_free(rig);
}

static void epochs_every_second_go_on_for_a_long_time(void **state)
{
	(void)state;
	struct control_settings initiator = rig_settings(CONTROL_INITIATOR, RIG_HYBRID);
	struct control_settings responder = rig_settings(CONTROL_RESPONDER, RIG_HYBRID);
	initiator.rotation_ms = responder.rotation_ms = 1000;
	struct rig *rig = rig_new_with(&initiator, &responder);
	rig_open(rig);
	rig_pass(rig, 200 * 1000000);
	struct control_state read;
	control_read(rig->responder.control, &read);
	assert_in_range(read.epoch, 200, 225);
	expect_epoch(rig, read.epoch);
	rig_free(rig);
}

static void either_side_gets_an_epoch_by_asking(void **state)
{
	(void)state;
	struct rig *rig = established(RIG_HYBRID);
	uint32_t epoch = 1;
	for (int i = 0; i < 20; i++) {
		step(rig);
		control_want_epoch(i % 2 ? rig->initiator.control : rig->responder.control, rig->now_us);
		rig_run(rig);
		expect_epoch(rig, ++epoch);
	}
	// All different, and none repeated.
	for (uint32_t a = 1; a <= epoch; a++) {
		for (uint32_t b = a + 1; b <= epoch; b++)
			assert_memory_not_equal(rig->initiator.data[a], rig->initiator.data[b], DIGEST_BYTES);
	}
	rig_free(rig);
}

static void asking_during_an_exchange_changes_nothing(void **state)
{
	(void)state;
	struct rig *rig = established(RIG_MLKEM);
	step(rig);
	control_want_epoch(rig->initiator.control, rig->now_us);
	control_want_epoch(rig->initiator.control, rig->now_us);
	assert_int_equal(rig->initiator.frames[MESSAGE_EPOCH_OFFER], 2);
	// The responder asks while the offer is on its way: the two cross.
	control_want_epoch(rig->responder.control, rig->now_us);
	assert_int_equal(rig->responder.frames[MESSAGE_EPOCH_WANT], 1);
	rig_deliver(&rig->responder, SIZE_MAX);
	rig_deliver(&rig->initiator, SIZE_MAX);
	// And again when it has accepted.
	control_want_epoch(rig->responder.control, rig->now_us);
	assert_int_equal(rig->responder.frames[MESSAGE_EPOCH_WANT], 1);
	rig_run(rig);
	expect_epoch(rig, 2);
	// The crossed one is forgotten: the next is asked for again.
	step(rig);
	control_want_epoch(rig->responder.control, rig->now_us);
	rig_run(rig);
	expect_epoch(rig, 3);
	rig_free(rig);
}

static void asking_all_the_time_keeps_a_distance_and_the_peace(void **state)
{
	(void)state;
	struct rig *rig = established(RIG_HYBRID);
	uint32_t before = rig->initiator.epoch;
	for (int i = 0; i < 10000; i++) {
		rig->now_us += 1000;
		control_want_epoch(rig->initiator.control, rig->now_us);
		control_want_epoch(rig->responder.control, rig->now_us);
		if (control_deadline(rig->initiator.control) <= rig->now_us)
			rig_tick(rig);
		rig_run(rig);
	}
	// Ten seconds, twenty a second.
	assert_in_range(rig->initiator.epoch - before, 190, 201);
	expect_epoch(rig, rig->initiator.epoch);
	rig_free(rig);
}

static void asking_before_the_first_epoch_does_nothing(void **state)
{
	(void)state;
	struct rig *rig = rig_new(RIG_MLKEM);
	control_want_epoch(rig->initiator.control, rig->now_us);
	rig_open(rig);
	control_want_epoch(rig->initiator.control, rig->now_us);
	control_want_epoch(rig->responder.control, rig->now_us);
	rig_run(rig);
	expect_epoch(rig, 1);
	assert_int_equal(rig->responder.frames[MESSAGE_EPOCH_WANT], 0);
	rig_free(rig);
}

static void peer_that_keeps_asking_is_cut_off(void **state)
{
	(void)state;
	struct rig *rig = established(RIG_MLKEM);
	step(rig);
	for (int i = 0; i < CONTROL_WANTS_PER_EPOCH; i++)
		assert_int_equal(rig_inject(&rig->initiator, MESSAGE_EPOCH_WANT, NULL, 0), 0);
	assert_int_equal(rig->initiator.frames[MESSAGE_EPOCH_OFFER], 2);
	assert_int_equal(rig_inject(&rig->initiator, MESSAGE_EPOCH_WANT, NULL, 0), CONTROL_ENDED);
	expect_closed(&rig->initiator, CONTROL_REASON_PROTOCOL, "EPOCH_WANT");
	rig_free(rig);
}

static void link_without_a_new_epoch_for_two_intervals_closes(void **state)
{
	(void)state;
	struct rig *rig = established_quiet(3600000, 3600000);
	uint64_t end_us = rig->now_us + 2 * HOUR_US;
	// The initiator offers, the responder asks, and nothing gets through.
	while (rig->now_us < end_us - 1) {
		uint64_t due_us = control_deadline(rig->initiator.control);
		if (control_deadline(rig->responder.control) < due_us)
			due_us = control_deadline(rig->responder.control);
		rig->now_us = due_us < end_us ? due_us : end_us - 1;
		rig_tick(rig);
	}
	assert_int_equal(rig->initiator.closes + rig->responder.closes, 0);
	rig->now_us = end_us;
	rig_tick(rig);
	expect_closed(&rig->initiator, CONTROL_REASON_EPOCH, "no new epoch for two intervals");
	expect_closed(&rig->responder, CONTROL_REASON_EPOCH, "no new epoch for two intervals");
	rig_free(rig);
}

// ---- keys and retries

static void retired_key_leads_to_a_retry_with_fresh_ephemerals(void **state)
{
	(void)state;
	struct rig *rig = rig_new(RIG_HYBRID);
	rig->initiator.cached[1] = true;
	rig->initiator.last = 1;
	rig_open(rig);
	uint8_t first_x25519[X25519_BYTES];
	const uint8_t *offer = rig->initiator.sent + rig->initiator.sent_length - MESSAGE_OFFER_FRAME_BYTES;
	assert_int_equal(offer[4], MESSAGE_EPOCH_OFFER);
	memcpy(first_x25519, offer + FRAME_HEADER_BYTES + 5, X25519_BYTES);
	rig_deliver(&rig->initiator, SIZE_MAX);
	assert_int_equal(rig->responder.frames[MESSAGE_EPOCH_RETRY], 1);
	assert_int_equal(rig->responder.frames[MESSAGE_KEY], 1);
	assert_int_equal(rig->responder.epochs, 0);
	rig_deliver(&rig->responder, SIZE_MAX);
	offer = rig->initiator.sent + rig->initiator.sent_at;
	assert_int_equal(offer[4], MESSAGE_EPOCH_OFFER);
	assert_memory_not_equal(first_x25519, offer + FRAME_HEADER_BYTES + 5, X25519_BYTES);
	rig_run(rig);
	expect_epoch(rig, 1);
	assert_true(rig->initiator.cached[0]);
	assert_int_equal(rig->initiator.last, 0);
	rig_free(rig);
}

static void retry_throws_the_ephemerals_away(void **state)
{
	(void)state;
	struct rig *rig = rig_new(RIG_HYBRID);
	rig->initiator.cached[1] = true;
	rig->initiator.last = 1;
	rig_open(rig);
	const struct epoch *pending = &rig->initiator.control->pending;
	assert_non_null(pending->x25519);
	assert_true(secret_is_set(&pending->mceliece));
	rig_deliver(&rig->initiator, SIZE_MAX);
	// HELLO and EPOCH_RETRY, and a part of KEY.
	rig_deliver(&rig->responder, rig->responder.sent_length - 1000);
	assert_int_equal(rig->initiator.control->exchange, CONTROL_EXCHANGE_KEY_COMING);
	assert_null(pending->x25519);
	assert_null(pending->mlkem768);
	assert_false(secret_is_set(&pending->mceliece));
	// The half of a KEY goes as well when the link ends.
	assert_non_null(rig->initiator.control->framer.large);
	control_close(rig->initiator.control, CONTROL_REASON_SHUTDOWN, "");
	assert_null(rig->initiator.control->framer.large);
	rig_free(rig);
}

static void key_announced_last_is_remembered_even_if_another_was_offered(void **state)
{
	(void)state;
	struct rig *rig = rig_new(RIG_HYBRID);
	rig->initiator.cached[0] = rig->initiator.cached[1] = true;
	rig->initiator.last = 1;
	rig->responder.previous = 1;
	rig_open(rig);
	rig_run(rig);
	expect_epoch(rig, 1);
	assert_int_equal(rig->initiator.last, 0);
	rig_free(rig);
}

static void previous_key_is_still_good(void **state)
{
	(void)state;
	struct rig *rig = rig_new(RIG_HYBRID);
	rig->initiator.cached[1] = true;
	rig->initiator.last = 1;
	rig->responder.previous = 1;
	rig_open(rig);
	rig_run(rig);
	expect_epoch(rig, 1);
	assert_int_equal(rig->responder.frames[MESSAGE_EPOCH_RETRY] + rig->responder.frames[MESSAGE_KEY], 0);
	// The next epoch uses the key that was announced.
	step(rig);
	control_want_epoch(rig->initiator.control, rig->now_us);
	rig_run(rig);
	expect_epoch(rig, 2);
	assert_int_equal(rig->initiator.frames[MESSAGE_KEY_WANT], 1);
	assert_int_equal(rig->initiator.last, 0);
	rig_free(rig);
}

static void key_replaced_while_it_is_wanted_is_announced_first(void **state)
{
	(void)state;
	struct rig *rig = rig_new(RIG_HYBRID);
	rig_open(rig);
	rig_deliver(&rig->initiator, SIZE_MAX);
	rig->responder.previous = 0;
	rig->responder.current = 1;
	rig_run(rig);
	expect_epoch(rig, 1);
	assert_int_equal(rig->responder.frames[MESSAGE_EPOCH_RETRY], 1);
	assert_int_equal(rig->responder.frames[MESSAGE_KEY], 1);
	assert_int_equal(rig->initiator.last, 1);
	rig_free(rig);
}

static void keys_that_rotate_with_the_epochs_are_followed(void **state)
{
	(void)state;
	struct rig *rig = established(RIG_HYBRID);
	for (uint32_t epoch = 2; epoch < 30; epoch++) {
		rig->responder.previous = rig->responder.current;
		rig->responder.current = (rig->responder.current + 1) % RIG_KEYS;
		// A small cache: only the last one is there.
		for (int key = 0; key < RIG_KEYS; key++)
			rig->initiator.cached[key] = rig->initiator.cached[key] && key == rig->initiator.last;
		step(rig);
		control_want_epoch(rig->initiator.control, rig->now_us);
		rig_run(rig);
		expect_epoch(rig, epoch);
	}
	rig_free(rig);
}

static void cache_without_memory_does_not_stop_the_epoch(void **state)
{
	(void)state;
	struct rig *rig = rig_new(RIG_HYBRID);
	rig->initiator.cache_is_full = true;
	rig_open(rig);
	rig_run(rig);
	expect_epoch(rig, 1);
	for (uint32_t epoch = 2; epoch < 5; epoch++) {
		step(rig);
		control_want_epoch(rig->initiator.control, rig->now_us);
		rig_run(rig);
		expect_epoch(rig, epoch);
		assert_int_equal(rig->responder.frames[MESSAGE_KEY], epoch);
	}
	rig_free(rig);
}

static void third_retry_ends_the_link_on_either_side(void **state)
{
	(void)state;
	// The responder has had enough of offers with keys it does not hold.
	struct rig *rig = rig_new(RIG_HYBRID);
	rig->initiator.cached[1] = true;
	rig->initiator.last = 1;
	rig_open(rig);
	for (int i = 0; i < 3; i++) {
		rig_deliver(&rig->initiator, SIZE_MAX);
		rig_deliver(&rig->responder, SIZE_MAX);
		rig->responder.current = i % 2 ? 0 : 2;
		rig->responder.previous = -1;
	}
	rig_run(rig);
	expect_closed(&rig->responder, CONTROL_REASON_EPOCH, "after 2 retries");
	expect_closed(&rig->initiator, CONTROL_REASON_EPOCH, "after 2 retries");
	rig_free(rig);

	// The initiator has had enough of retries.
	rig = rig_new(RIG_HYBRID);
	rig_open(rig);
	rig_deliver(&rig->initiator, SIZE_MAX);
	rig_deliver(&rig->responder, SIZE_MAX);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(rig_inject(&rig->initiator, MESSAGE_EPOCH_RETRY, mceliece_digest(rig_pairs[1]), DIGEST_BYTES),
		                 0);
		assert_int_equal(rig_inject(&rig->initiator, MESSAGE_KEY, mceliece_public(rig_pairs[1]), LIMIT_KEY_BYTES), 0);
	}
	assert_int_equal(rig_inject(&rig->initiator, MESSAGE_EPOCH_RETRY, mceliece_digest(rig_pairs[1]), DIGEST_BYTES),
	                 CONTROL_ENDED);
	expect_closed(&rig->initiator, CONTROL_REASON_EPOCH, "more than 2 in one exchange");
	rig_free(rig);
}

static void second_key_want_in_one_epoch_ends_the_link(void **state)
{
	(void)state;
	struct rig *rig = established(RIG_HYBRID);
	rig_inject(&rig->responder, MESSAGE_KEY_WANT, NULL, 0);
	assert_int_equal(rig->responder.closes, 0);
	assert_int_equal(rig->responder.frames[MESSAGE_KEY], 2);
	assert_int_equal(rig_inject(&rig->responder, MESSAGE_KEY_WANT, NULL, 0), CONTROL_ENDED);
	expect_closed(&rig->responder, CONTROL_REASON_PROTOCOL, "KEY_WANT");
	assert_int_equal(rig->responder.frames[MESSAGE_KEY], 2);
	rig_free(rig);
}

static void responder_that_lost_its_keys_says_so(void **state)
{
	(void)state;
	struct rig *rig = rig_new(RIG_HYBRID);
	rig_open(rig);
	rig_deliver(&rig->initiator, SIZE_MAX);
	rig->responder.current = -1;
	rig_run(rig);
	expect_closed(&rig->responder, CONTROL_REASON_INTERNAL, "no McEliece key");
	rig_free(rig);
}

// A peer whose offers always name keys that nobody holds can make us send little, in a second as in an exchange.
static void offers_that_cost_half_a_megabyte_are_limited(void **state)
{
	(void)state;
	struct rig *rig = established(RIG_HYBRID);
	step(rig);
	unsigned rounds = 0;
	for (; rounds < 100 && rig->responder.closes == 0; rounds++) {
		// One offer that cannot work, then a good one, so that the exchange's own limit never bites.
		rig->initiator.cached[2] = true;
		memcpy(rig->initiator.control->key_digest, mceliece_digest(rig_pairs[2]), DIGEST_BYTES);
		rig_check(&rig->initiator, control_epoch_begin(rig->initiator.control, rig->now_us));
		rig_run(rig);
	}
	expect_closed(&rig->responder, CONTROL_REASON_LIMIT, "");
	assert_true(rig->responder.frames[MESSAGE_KEY] <= 1 + LIMIT_CONTROL_MESSAGES_PER_S / CONTROL_COST_KEY);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(initiator_rotates_after_its_interval_less_up_to_a_tenth),
		cmocka_unit_test(responder_with_the_shorter_interval_asks),
		cmocka_unit_test(responder_with_the_same_interval_stays_quiet),
		cmocka_unit_test(epochs_every_second_go_on_for_a_long_time),
		cmocka_unit_test(either_side_gets_an_epoch_by_asking),
		cmocka_unit_test(asking_during_an_exchange_changes_nothing),
		cmocka_unit_test(asking_all_the_time_keeps_a_distance_and_the_peace),
		cmocka_unit_test(asking_before_the_first_epoch_does_nothing),
		cmocka_unit_test(peer_that_keeps_asking_is_cut_off),
		cmocka_unit_test(link_without_a_new_epoch_for_two_intervals_closes),
		cmocka_unit_test(retired_key_leads_to_a_retry_with_fresh_ephemerals),
		cmocka_unit_test(retry_throws_the_ephemerals_away),
		cmocka_unit_test(key_announced_last_is_remembered_even_if_another_was_offered),
		cmocka_unit_test(previous_key_is_still_good),
		cmocka_unit_test(key_replaced_while_it_is_wanted_is_announced_first),
		cmocka_unit_test(keys_that_rotate_with_the_epochs_are_followed),
		cmocka_unit_test(cache_without_memory_does_not_stop_the_epoch),
		cmocka_unit_test(third_retry_ends_the_link_on_either_side),
		cmocka_unit_test(second_key_want_in_one_epoch_ends_the_link),
		cmocka_unit_test(responder_that_lost_its_keys_says_so),
		cmocka_unit_test(offers_that_cost_half_a_megabyte_are_limited),
	};
	return cmocka_run_group_tests(tests, start, stop);
}
