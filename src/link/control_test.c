// The life of a link, what may arrive in which state, and the clock. Epoch exchanges are in control_epoch_test.c.

#include "link/control_state_rig.h"

#include "core/allocation_rig.h"

// ---- coming up

static void link_comes_up_in_every_kem_mode(void **state)
{
	(void)state;
	static const uint8_t modes[] = {RIG_HYBRID, RIG_MLKEM, RIG_MCELIECE};
	for (size_t i = 0; i < COUNT_OF(modes); i++) {
		struct rig *rig = established(modes[i]);
		struct control_state read;
		control_read(rig->responder.control, &read);
		assert_int_equal(read.legs, modes[i]);
		// Half a megabyte only where it is needed.
		assert_int_equal(rig->responder.frames[MESSAGE_KEY], modes[i] & LEG_MCELIECE ? 1 : 0);
		rig_free(rig);
	}
}

static void link_comes_up_whatever_the_pieces(void **state)
{
	(void)state;
	static const size_t pieces[] = {1, 2, 3, 5, 7, 64, 1000, 4096};
	for (size_t i = 0; i < COUNT_OF(pieces); i++) {
		struct rig *rig = rig_new(RIG_HYBRID);
		rig->piece = pieces[i];
		rig_open(rig);
		rig_run(rig);
		expect_established(rig, 1);
		rig_free(rig);
	}
}

static void hello_tells_each_side_who_the_other_is(void **state)
{
	(void)state;
	struct rig *rig = established(RIG_HYBRID);
	assert_int_equal(rig->initiator.hellos, 1);
	assert_int_equal(rig->responder.hellos, 1);
	assert_string_equal(rig->initiator.peer.node_name, "south");
	assert_string_equal(rig->initiator.peer.services, "ssh:22,web:80");
	assert_string_equal(rig->responder.peer.node_name, "north");
	assert_int_equal(rig->responder.peer.streams_max, 100);
	assert_memory_equal(rig->initiator.peer.mceliece_digest, mceliece_digest(rig_pairs[0]), DIGEST_BYTES);
	rig_free(rig);
}

static void known_key_lets_the_offer_ride_with_hello(void **state)
{
	(void)state;
	struct rig *rig = rig_new(RIG_HYBRID);
	rig->initiator.cached[0] = true;
	rig->initiator.last = 0;
	rig_open(rig);
	// Before a byte has come back.
	assert_int_equal(rig->initiator.frames[MESSAGE_EPOCH_OFFER], 1);
	rig_run(rig);
	expect_established(rig, 1);
	assert_int_equal(rig->responder.frames[MESSAGE_KEY], 0);
	rig_free(rig);
}

static void mode_without_mceliece_offers_with_hello(void **state)
{
	(void)state;
	struct rig *rig = rig_new(RIG_MLKEM);
	rig_open(rig);
	assert_int_equal(rig->initiator.frames[MESSAGE_EPOCH_OFFER], 1);
	rig_free(rig);
}

static void different_kem_modes_end_with_both_named(void **state)
{
	(void)state;
	static const uint8_t modes[] = {RIG_HYBRID, RIG_MLKEM, RIG_MCELIECE};
	for (size_t i = 0; i < COUNT_OF(modes); i++) {
		for (size_t r = 0; r < COUNT_OF(modes); r++) {
			if (i == r)
				continue;
			struct control_settings initiator = rig_settings(CONTROL_INITIATOR, modes[i]);
			struct control_settings responder = rig_settings(CONTROL_RESPONDER, modes[r]);
			struct rig *rig = rig_new_with(&initiator, &responder);
			rig_open(rig);
			rig_run(rig);
			expect_closed(&rig->responder, CONTROL_REASON_KEM_MODE, hello_kem_mode(modes[i]), false);
			expect_closed(&rig->responder, CONTROL_REASON_KEM_MODE, hello_kem_mode(modes[r]), false);
			expect_closed(&rig->initiator, CONTROL_REASON_KEM_MODE, hello_kem_mode(modes[i]), true);
			expect_closed(&rig->initiator, CONTROL_REASON_KEM_MODE, hello_kem_mode(modes[r]), true);
			assert_int_equal(rig->responder.epochs + rig->initiator.epochs, 0);
			rig_free(rig);
		}
	}
}

static void responder_without_a_key_says_so(void **state)
{
	(void)state;
	struct rig *rig = rig_new(RIG_HYBRID);
	rig->responder.current = -1;
	rig_open(rig);
	rig_run(rig);
	expect_closed(&rig->responder, CONTROL_REASON_INTERNAL, "no McEliece key yet", false);
	expect_closed(&rig->initiator, CONTROL_REASON_INTERNAL, "no McEliece key yet", true);
	rig_free(rig);
}

static void other_certificates_give_other_keys(void **state)
{
	(void)state;
	for (int which = 0; which < 2; which++) {
		struct control_settings initiator = rig_settings(CONTROL_INITIATOR, RIG_MLKEM);
		struct control_settings responder = rig_settings(CONTROL_RESPONDER, RIG_MLKEM);
		(which ? initiator.cert_i_digest : responder.cert_r_digest)[47] ^= 1;
		struct rig *rig = rig_new_with(&initiator, &responder);
		rig_open(rig);
		rig_run(rig);
		expect_closed(&rig->initiator, CONTROL_REASON_EPOCH, "EPOCH_ACCEPT: the confirmation is wrong", false);
		assert_int_equal(rig->initiator.epochs, 0);
		rig_free(rig);
	}
}

static void export_that_fails_ends_the_link(void **state)
{
	(void)state;
	struct rig *rig = rig_new(RIG_MLKEM);
	rig->responder.export_fails = true;
	rig_open(rig);
	rig_run(rig);
	expect_closed(&rig->responder, CONTROL_REASON_INTERNAL, "the link's first key", false);
	rig_free(rig);
}

static void settings_that_make_no_sense_are_refused(void **state)
{
	(void)state;
	const struct control_settings good = rig_settings(CONTROL_INITIATOR, RIG_HYBRID);
	struct control_settings bad[6];
	struct control *control = NULL;
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		bad[i] = good;
	bad[0].hello.legs = LEG_X25519;
	bad[1].hello.legs = 0x0f;
	bad[2].rotation_ms = 0;
	bad[3].heartbeat_ms = 0;
	bad[4].heartbeat_timeout_ms = 0;
	bad[5].missed_pongs_max = 0;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		assert_true(control_new(&bad[i], &RIG_OPS, NULL, &control) < 0);
		assert_null(control);
	}
	control_free(&control);
}

// ---- liveness

static void ping_measures_the_round_trip_and_smooths_it(void **state)
{
	(void)state;
	struct rig *rig = established(RIG_MLKEM);
	struct control_state read;
	static const struct {
		uint64_t delay_us;
		uint32_t rtt_us;
	} rounds[] = {{8000, 8000}, {16000, 9000}, {1000, 8000}};
	control_read(rig->initiator.control, &read);
	assert_int_equal(read.rtt_us, 0);
	uint64_t due_us = rig->now_us;
	for (size_t i = 0; i < COUNT_OF(rounds); i++) {
		due_us += 10000000;
		rig->now_us = due_us;
		assert_int_equal(control_tick(rig->initiator.control, rig->now_us), 0);
		assert_int_equal(rig->initiator.frames[MESSAGE_PING], i + 1);
		rig->now_us += rounds[i].delay_us;
		rig_run(rig);
		control_read(rig->initiator.control, &read);
		assert_int_equal(read.rtt_us, rounds[i].rtt_us);
		assert_true(read.last_heard_us == rig->now_us);
	}
	rig_free(rig);
}

static void both_sides_ping_and_an_idle_link_lives(void **state)
{
	(void)state;
	struct rig *rig = established(RIG_MLKEM);
	rig_pass(rig, 1000ULL * 1000000);
	assert_int_equal(rig->initiator.closes + rig->responder.closes, 0);
	// One at once, for the first round trip, and then one every ten seconds.
	assert_int_equal(rig->initiator.frames[MESSAGE_PING], 101);
	assert_int_equal(rig->responder.frames[MESSAGE_PING], 101);
	assert_int_equal(rig->initiator.frames[MESSAGE_PONG], 101);
	rig_free(rig);
}

static void silent_peer_is_dead_at_the_documented_time(void **state)
{
	(void)state;
	for (int which = 0; which < 2; which++) {
		struct rig *rig = established(RIG_MLKEM);
		struct rig_side *side = which ? &rig->initiator : &rig->responder;
		uint64_t dead_us = rig->now_us + 3 * 10000 * 1000ULL;
		while (control_deadline(side->control) < dead_us) {
			rig->now_us = control_deadline(side->control);
			assert_int_equal(control_tick(side->control, rig->now_us), 0);
		}
		// One PING, because it was never answered.
		assert_int_equal(side->frames[MESSAGE_PING], 1);
		assert_true(control_deadline(side->control) == dead_us);
		assert_int_equal(control_tick(side->control, dead_us - 1), 0);
		assert_int_equal(control_tick(side->control, dead_us), CONTROL_ENDED);
		expect_closed(side, CONTROL_REASON_TIMEOUT, "nothing heard from the peer for 30000 ms", false);
		rig_free(rig);
	}
}

static void silence_is_never_shorter_than_one_answer_may_take(void **state)
{
	(void)state;
	struct rig *rig = rig_new(RIG_MLKEM);
	rig->initiator.control->missed_pongs_max = 1;
	rig->initiator.control->heartbeat_ms = 1000;
	rig_open(rig);
	rig_run(rig);
	uint64_t dead_us = rig->now_us + (1000 + 5000) * 1000ULL;
	assert_int_equal(control_tick(rig->initiator.control, dead_us - 1), 0);
	assert_int_equal(control_tick(rig->initiator.control, dead_us), CONTROL_ENDED);
	expect_closed(&rig->initiator, CONTROL_REASON_TIMEOUT, "nothing heard from the peer for 6000 ms", false);
	rig_free(rig);
}

static void slow_answer_is_no_violation_and_the_next_ping_waits_for_it(void **state)
{
	(void)state;
	struct rig *rig = established(RIG_MLKEM);
	rig->now_us += 10000000;
	assert_int_equal(control_tick(rig->initiator.control, rig->now_us), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(control_tick(rig->initiator.control, rig->now_us += 5000000 - 1), 0);
	assert_int_equal(rig->initiator.frames[MESSAGE_PING], 1);
	rig_run(rig);
	assert_int_equal(control_tick(rig->initiator.control, rig->now_us), 0);
	assert_int_equal(rig->initiator.frames[MESSAGE_PING], 2);
	rig_run(rig);
	assert_int_equal(rig->initiator.closes + rig->responder.closes, 0);
	rig_free(rig);
}

static void pong_nobody_asked_for_ends_the_link(void **state)
{
	(void)state;
	uint8_t body[8] = {0};
	struct rig *rig = established(RIG_MLKEM);
	assert_int_equal(rig_inject(&rig->initiator, MESSAGE_PONG, body, sizeof body), CONTROL_ENDED);
	expect_closed(&rig->initiator, CONTROL_REASON_PROTOCOL, "PONG", false);
	rig_free(rig);

	// Not even what was asked for, twice; nor anything else than what was asked for.
	for (int wrong = 0; wrong < 2; wrong++) {
		rig = established(RIG_MLKEM);
		assert_int_equal(control_tick(rig->initiator.control, rig->now_us += 10000000), 0);
		memcpy(body, rig->initiator.control->ping, sizeof body);
		body[7] ^= (uint8_t)wrong;
		assert_int_equal(rig_inject(&rig->initiator, MESSAGE_PONG, body, sizeof body), wrong ? CONTROL_ENDED : 0);
		if (!wrong)
			assert_int_equal(rig_inject(&rig->initiator, MESSAGE_PONG, body, sizeof body), CONTROL_ENDED);
		rig_free(rig);
	}
}

static void key_that_trickles_in_keeps_the_link_alive(void **state)
{
	(void)state;
	struct rig *rig = rig_new(RIG_HYBRID);
	rig_open(rig);
	rig_deliver(&rig->initiator, SIZE_MAX);
	rig_deliver(&rig->responder, SIZE_MAX);
	rig_deliver(&rig->initiator, SIZE_MAX);
	// Faster than the deadline for the first epoch, with silences that only the parts of KEY interrupt.
	struct control_state before, after;
	control_read(rig->initiator.control, &before);
	rig->now_us += 14000000;
	rig_deliver(&rig->responder, 100000);
	control_read(rig->initiator.control, &after);
	assert_true(after.last_heard_us == before.last_heard_us + 14000000);
	rig_free(rig);
}

static void link_that_does_not_come_up_ends_at_the_deadline(void **state)
{
	(void)state;
	for (enum state at = INITIATOR_BEFORE_HELLO; at <= RESPONDER_ACCEPTED; at++) {
		if (at == INITIATOR_IDLE || at == RESPONDER_IDLE)
			continue;
		struct rig *rig = rig_at(at);
		struct rig_side *side = side_at(rig, at);
		uint64_t deadline_us = rig->now_us + LIMIT_ESTABLISH_MS * 1000ULL;
		assert_true(control_deadline(side->control) <= deadline_us);
		assert_int_equal(control_tick(side->control, deadline_us - 1), 0);
		assert_int_equal(control_tick(side->control, deadline_us), CONTROL_ENDED);
		expect_closed(side, CONTROL_REASON_TIMEOUT, "no epoch within 15000 ms", false);
		rig_free(rig);
	}
}

static void tick_at_the_deadline_always_moves_the_deadline(void **state)
{
	(void)state;
	struct rig *rig = established(RIG_HYBRID);
	rig_tick(rig);
	// Both without an answer and with one: a loop that sleeps until the deadline never spins.
	for (int answered = 0; answered < 2; answered++) {
		for (int i = 0; i < 1000 && rig->initiator.closes == 0; i++) {
			uint64_t due_us = control_deadline(rig->initiator.control);
			assert_true(due_us > rig->now_us);
			rig->now_us = due_us;
			rig_tick(rig);
			if (!answered)
				rig_run(rig);
		}
	}
	assert_int_equal(rig->initiator.closes, 1);
	assert_true(control_deadline(rig->initiator.control) == UINT64_MAX);
	rig_free(rig);
}

static void pings_cost_no_memory(void **state)
{
	(void)state;
	SKIP_UNLESS_COUNTED();
	struct rig *rig = established(RIG_HYBRID);
	rig_pass(rig, 100ULL * 1000000);
	struct rig_side *sides[] = {&rig->initiator, &rig->responder};
	uint8_t wire[64];
	unsigned long before = allocations;
	for (int round = 0; round < 100; round++) {
		rig->now_us += 10000000;
		for (size_t i = 0; i < COUNT_OF(sides); i++)
			assert_int_equal(control_tick(sides[i]->control, rig->now_us), 0);
		while (sides[0]->sent_length + sides[1]->sent_length > 0) {
			for (size_t i = 0; i < COUNT_OF(sides); i++) {
				size_t length = sides[i]->sent_length;
				assert_true(length <= sizeof wire);
				memcpy(wire, sides[i]->sent, length);
				sides[i]->sent_length = 0;
				assert_int_equal(control_receive(sides[1 - i]->control, wire, length, rig->now_us), 0);
			}
		}
	}
	assert_int_equal(allocations, before);
	assert_true(sides[0]->frames[MESSAGE_PING] >= 100);
	rig_free(rig);
}

// ---- GOAWAY and the end

static void goaway_arrives_and_epochs_go_on(void **state)
{
	(void)state;
	struct rig *rig = established(RIG_MLKEM);
	control_goaway(rig->responder.control, CONTROL_REASON_SHUTDOWN, 30000);
	rig_run(rig);
	assert_int_equal(rig->initiator.goaways, 1);
	assert_int_equal(rig->initiator.goaway_reason, CONTROL_REASON_SHUTDOWN);
	assert_int_equal(rig->initiator.goaway_deadline_ms, 30000);
	rig->now_us += 1000000;
	control_want_epoch(rig->responder.control, rig->now_us);
	rig_run(rig);
	expect_established(rig, 2);
	rig_free(rig);
}

static void goaway_asked_for_too_early_follows_hello(void **state)
{
	(void)state;
	for (int which = 0; which < 2; which++) {
		struct rig *rig = rig_new(RIG_MLKEM);
		struct rig_side *side = which ? &rig->initiator : &rig->responder;
		if (which)
			control_goaway(side->control, CONTROL_REASON_SHUTDOWN, 7);
		rig_open(rig);
		if (!which)
			control_goaway(side->control, CONTROL_REASON_SHUTDOWN, 7);
		rig_run(rig);
		expect_established(rig, 1);
		assert_int_equal(rig_peer(side)->goaways, 1);
		assert_int_equal(rig_peer(side)->goaway_deadline_ms, 7);
		rig_free(rig);
	}
}

static void close_ends_both_sides_once(void **state)
{
	(void)state;
	struct rig *rig = established(RIG_MLKEM);
	control_close(rig->initiator.control, CONTROL_REASON_REVOKED, "its certificate\nwas revoked\x1b[0m");
	control_close(rig->initiator.control, CONTROL_REASON_SHUTDOWN, "again");
	rig_run(rig);
	expect_closed(&rig->initiator, CONTROL_REASON_REVOKED, "its certificate?was revoked?[0m", false);
	expect_closed(&rig->responder, CONTROL_REASON_REVOKED, "its certificate?was revoked?[0m", true);
	assert_int_equal(rig->initiator.frames[MESSAGE_CLOSE], 1);
	assert_int_equal(rig->responder.frames[MESSAGE_CLOSE], 0);
	rig_free(rig);
}

static void close_works_in_every_state(void **state)
{
	(void)state;
	for (enum state at = 0; at < STATE_COUNT; at++) {
		struct rig *rig = rig_at(at);
		struct rig_side *side = side_at(rig, at);
		rig_peer(side)->sent_at = rig_peer(side)->sent_length = 0;
		control_close(rig_peer(side)->control, CONTROL_REASON_SHUTDOWN, "bye");
		rig_deliver(rig_peer(side), SIZE_MAX);
		expect_closed(side, CONTROL_REASON_SHUTDOWN, "bye", true);
		rig_free(rig);
	}
	struct rig *rig = rig_new(RIG_MLKEM);
	control_close(rig->initiator.control, CONTROL_REASON_SHUTDOWN, "never started");
	expect_closed(&rig->initiator, CONTROL_REASON_SHUTDOWN, "never started", false);
	assert_int_equal(rig->initiator.sent_length, 0);
	rig_free(rig);
}

static void close_text_of_the_peer_is_made_printable(void **state)
{
	(void)state;
	static const uint8_t body[] = {0, 1, 0, 4, 'a', 0x1b, 0xff, 'b'};
	struct rig *rig = established(RIG_MLKEM);
	assert_int_equal(rig_inject(&rig->initiator, MESSAGE_CLOSE, body, sizeof body), CONTROL_ENDED);
	assert_string_equal(rig->initiator.text, "a??b");
	assert_int_equal(rig->initiator.reason, CONTROL_REASON_SHUTDOWN);
	rig_free(rig);
}

static void after_the_end_nothing_happens_any_more(void **state)
{
	(void)state;
	struct rig *rig = established(RIG_HYBRID);
	control_close(rig->initiator.control, CONTROL_REASON_SHUTDOWN, "bye");
	size_t sent = rig->initiator.sent_length;
	struct control_state read;
	uint8_t body[8] = {0};
	assert_int_equal(rig_inject(&rig->initiator, MESSAGE_PING, body, sizeof body), CONTROL_ENDED);
	assert_int_equal(control_tick(rig->initiator.control, rig->now_us + 1000000000000), CONTROL_ENDED);
	control_want_epoch(rig->initiator.control, rig->now_us);
	control_goaway(rig->initiator.control, CONTROL_REASON_SHUTDOWN, 1);
	control_read(rig->initiator.control, &read);
	assert_int_equal(rig->initiator.sent_length, sent);
	assert_int_equal(rig->initiator.closes, 1);
	assert_int_equal(rig->initiator.epochs, 1);
	rig_free(rig);
}

static void after_the_end_no_secret_is_left(void **state)
{
	(void)state;
	for (enum state at = 0; at < STATE_COUNT; at++) {
		struct rig *rig = rig_at(at);
		struct control *control = side_at(rig, at)->control;
		const struct secret *secrets[] = {&control->chain,
		                                  &control->pending.mceliece,
		                                  &control->pending.keys.chain,
		                                  &control->pending.keys.data,
		                                  &control->pending.keys.confirm_i,
		                                  &control->pending.keys.confirm_r};
		const uint8_t *places[COUNT_OF(secrets)];
		unsigned held = 0;
		for (size_t i = 0; i < COUNT_OF(secrets); i++) {
			places[i] = secrets[i]->bytes;
			held += places[i] != NULL;
		}
		assert_true(at < INITIATOR_KEY_WANTED || held > 0);
		// A violation ends it here; the other ways end in the same function.
		assert_int_equal(feed_header(side_at(rig, at), MESSAGE_OPEN, 0), CONTROL_ENDED);
		for (size_t i = 0; i < COUNT_OF(secrets); i++) {
			assert_false(secret_is_set(secrets[i]));
			// The arena keeps its list of free slots in their first bytes.
			static const uint8_t zeros[16];
			if (places[i])
				assert_memory_equal(places[i] + 16, zeros, sizeof zeros);
		}
		assert_null(control->pending.x25519);
		assert_null(control->pending.mlkem768);
		assert_null(control->framer.large);
		rig_free(rig);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(link_comes_up_in_every_kem_mode),
		cmocka_unit_test(link_comes_up_whatever_the_pieces),
		cmocka_unit_test(hello_tells_each_side_who_the_other_is),
		cmocka_unit_test(known_key_lets_the_offer_ride_with_hello),
		cmocka_unit_test(mode_without_mceliece_offers_with_hello),
		cmocka_unit_test(different_kem_modes_end_with_both_named),
		cmocka_unit_test(responder_without_a_key_says_so),
		cmocka_unit_test(other_certificates_give_other_keys),
		cmocka_unit_test(export_that_fails_ends_the_link),
		cmocka_unit_test(settings_that_make_no_sense_are_refused),
		cmocka_unit_test(ping_measures_the_round_trip_and_smooths_it),
		cmocka_unit_test(both_sides_ping_and_an_idle_link_lives),
		cmocka_unit_test(silent_peer_is_dead_at_the_documented_time),
		cmocka_unit_test(silence_is_never_shorter_than_one_answer_may_take),
		cmocka_unit_test(slow_answer_is_no_violation_and_the_next_ping_waits_for_it),
		cmocka_unit_test(pong_nobody_asked_for_ends_the_link),
		cmocka_unit_test(key_that_trickles_in_keeps_the_link_alive),
		cmocka_unit_test(link_that_does_not_come_up_ends_at_the_deadline),
		cmocka_unit_test(tick_at_the_deadline_always_moves_the_deadline),
		cmocka_unit_test(pings_cost_no_memory),
		cmocka_unit_test(goaway_arrives_and_epochs_go_on),
		cmocka_unit_test(goaway_asked_for_too_early_follows_hello),
		cmocka_unit_test(close_ends_both_sides_once),
		cmocka_unit_test(close_works_in_every_state),
		cmocka_unit_test(close_text_of_the_peer_is_made_printable),
		cmocka_unit_test(after_the_end_nothing_happens_any_more),
		cmocka_unit_test(after_the_end_no_secret_is_left),
	};
	return cmocka_run_group_tests(tests, start, stop);
}
