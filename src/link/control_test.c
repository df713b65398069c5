// The life of a link, what may arrive in which state, and the clock. Epoch exchanges are in control_epoch_test.c.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/allocation_rig.h"
#include "link/control_rig.h"

// ---- what is expected again and again

static void expect_established(const struct rig *rig, uint32_t epoch)
{
	const struct rig_side *sides[] = {&rig->initiator, &rig->responder};
	for (size_t i = 0; i < COUNT_OF(sides); i++) {
		struct control_state state;
		control_read(sides[i]->control, &state);
		assert_int_equal(sides[i]->closes, 0);
		assert_true(state.established);
		assert_int_equal(state.epoch, epoch);
		assert_int_equal(sides[i]->epoch, epoch);
		assert_int_equal(sides[i]->confirmed, epoch);
	}
	assert_memory_equal(rig->initiator.data[epoch % RIG_EPOCHS], rig->responder.data[epoch % RIG_EPOCHS], DIGEST_BYTES);
	assert_memory_equal(rig->initiator.link_id, rig->responder.link_id, LINK_ID_BYTES);
}

static void expect_closed(const struct rig_side *side, enum control_reason reason, const char *part, bool by_peer)
{
	assert_int_equal(side->closes, 1);
	if (!strstr(side->text, part))
		fail_msg("\"%s\" does not say \"%s\"", side->text, part);
	assert_int_equal(side->reason, reason);
	assert_int_equal(side->by_peer, by_peer);
}

static struct rig *established(uint8_t legs)
{
	struct rig *rig = rig_new(legs);
	rig_open(rig);
	rig_run(rig);
	expect_established(rig, 1);
	return rig;
}

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

static void own_hello_sent_back_is_refused(void **state)
{
	(void)state;
	struct rig *rig = rig_new(RIG_MLKEM);
	assert_int_equal(control_start(rig->initiator.control, rig->now_us), 0);
	uint8_t echo[HELLO_FRAME_BYTES];
	size_t length = rig->initiator.sent_length;
	assert_true(length < sizeof echo);
	memcpy(echo, rig->initiator.sent, length);
	assert_int_equal(control_receive(rig->initiator.control, echo, length, rig->now_us), CONTROL_ENDED);
	expect_closed(&rig->initiator, CONTROL_REASON_PROTOCOL, "both sides say they are the initiator", false);
	rig_free(rig);
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

// False when there was no such bit.
static bool hello_flip_ends_the_link(bool of_responder, size_t bit)
{
	struct rig *rig = rig_new(RIG_MLKEM);
	rig->flip_type = MESSAGE_HELLO;
	rig->flip_bit = bit;
	rig->flipped = of_responder;
	rig_open(rig);
	rig->flipped = rig->flipped && !of_responder;
	rig_run(rig);
	bool flipped = rig->flipped;
	if (flipped) {
		assert_int_equal(rig->initiator.confirmed + rig->initiator.epochs, 0);
		// A length that grew waits for bytes that never come.
		rig_pass(rig, LIMIT_ESTABLISH_MS * 1000ULL);
		assert_int_equal(rig->initiator.closes, 1);
		assert_int_equal(rig->responder.closes, 1);
	}
	rig_free(rig);
	return flipped;
}

static void one_flipped_bit_anywhere_in_a_hello_ends_the_link(void **state)
{
	(void)state;
	for (int of_responder = 0; of_responder < 2; of_responder++) {
		size_t bit = 0;
		while (hello_flip_ends_the_link(of_responder, bit))
			bit++;
		assert_true(bit > 8 * 100);
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

// ---- what may arrive when

enum state {
	INITIATOR_BEFORE_HELLO,
	RESPONDER_BEFORE_HELLO,
	INITIATOR_KEY_WANTED,
	INITIATOR_KEY_COMING,
	INITIATOR_OFFERED,
	INITIATOR_IDLE,
	RESPONDER_IDLE,
	RESPONDER_ACCEPTED,
	INITIATOR_IDLE_MLKEM,
	RESPONDER_IDLE_MLKEM,
	STATE_COUNT,
};

static struct rig *rig_at(enum state at)
{
	bool mlkem = at == INITIATOR_IDLE_MLKEM || at == RESPONDER_IDLE_MLKEM;
	struct rig *rig = rig_new(mlkem ? RIG_MLKEM : RIG_HYBRID);
	rig_open(rig);
	if (at == INITIATOR_BEFORE_HELLO || at == RESPONDER_BEFORE_HELLO)
		return rig;
	rig_deliver(&rig->initiator, SIZE_MAX); // HELLO
	rig_deliver(&rig->responder, SIZE_MAX); // HELLO
	if (at == INITIATOR_KEY_WANTED)
		return rig;
	if (at == INITIATOR_KEY_COMING) {
		assert_int_equal(rig_inject(&rig->initiator, MESSAGE_EPOCH_RETRY, mceliece_digest(rig_pairs[1]), DIGEST_BYTES),
		                 0);
		return rig;
	}
	rig_deliver(&rig->initiator, SIZE_MAX); // KEY_WANT
	rig_deliver(&rig->responder, SIZE_MAX); // KEY
	if (at == INITIATOR_OFFERED)
		return rig;
	rig_deliver(&rig->initiator, SIZE_MAX); // EPOCH_OFFER
	if (at == RESPONDER_ACCEPTED)
		return rig;
	rig_run(rig);
	expect_established(rig, 1);
	return rig;
}

static struct rig_side *side_at(struct rig *rig, enum state at)
{
	bool responder = at == RESPONDER_BEFORE_HELLO || at == RESPONDER_IDLE || at == RESPONDER_ACCEPTED ||
	                 at == RESPONDER_IDLE_MLKEM;
	return responder ? &rig->responder : &rig->initiator;
}

// A transcript of docs/protocol.md, "States", independent of the code.
static bool may_arrive(enum state at, enum message_type type)
{
	bool before_hello = at == INITIATOR_BEFORE_HELLO || at == RESPONDER_BEFORE_HELLO;
	switch (type) {
	case MESSAGE_CLOSE:
		return true;
	case MESSAGE_HELLO:
		return before_hello;
	case MESSAGE_PING:
	case MESSAGE_PONG:
	case MESSAGE_GOAWAY:
		return !before_hello;
	case MESSAGE_KEY_WANT:
		return at == RESPONDER_IDLE;
	case MESSAGE_EPOCH_OFFER:
		return at == RESPONDER_IDLE || at == RESPONDER_IDLE_MLKEM;
	case MESSAGE_KEY:
		return at == INITIATOR_KEY_WANTED || at == INITIATOR_KEY_COMING;
	case MESSAGE_EPOCH_ACCEPT:
		return at == INITIATOR_OFFERED;
	case MESSAGE_EPOCH_DONE:
		return at == RESPONDER_ACCEPTED;
	case MESSAGE_EPOCH_WANT:
		return at == INITIATOR_IDLE || at == INITIATOR_IDLE_MLKEM;
	case MESSAGE_EPOCH_RETRY:
		return at == INITIATOR_KEY_WANTED || at == INITIATOR_OFFERED;
	case MESSAGE_OPEN:
	case MESSAGE_OPEN_FAILED:
		return false;
	}
	return false;
}

// Only the header is fed: a message outside of its state ends the link before its body is there.
static int feed_header(struct rig_side *side, unsigned type, uint32_t length)
{
	uint8_t header[FRAME_HEADER_BYTES];
	frame_encode_header(header, (uint8_t)type, length);
	return control_receive(side->control, header, sizeof header, side->rig->now_us);
}

static void message_outside_its_state_ends_the_link_at_its_header(void **state)
{
	(void)state;
	for (enum state at = 0; at < STATE_COUNT; at++) {
		for (unsigned type = MESSAGE_HELLO; type <= MESSAGE_EPOCH_RETRY; type++) {
			struct rig *rig = rig_at(at);
			struct rig_side *side = side_at(rig, at);
			struct message_length length = message_length((enum message_type)type, control_legs(side->control));
			// Without a body the message is complete, and another check has its say.
			int outcome = feed_header(side, type, length.most);
			if (!may_arrive(at, (enum message_type)type)) {
				assert_int_equal(outcome, CONTROL_ENDED);
				char expected[64];
				snprintf(expected, sizeof expected, "%s is not allowed", message_name((uint8_t)type));
				expect_closed(side, CONTROL_REASON_PROTOCOL, expected, false);
			} else if (length.most > 0) {
				assert_int_equal(outcome, 0);
				assert_int_equal(side->closes, 0);
			}
			rig_free(rig);
		}
	}
}

static void message_of_a_wrong_length_ends_the_link_at_its_header(void **state)
{
	(void)state;
	for (enum state at = 0; at < STATE_COUNT; at++) {
		for (unsigned type = MESSAGE_HELLO; type <= MESSAGE_EPOCH_RETRY; type++) {
			if (!may_arrive(at, (enum message_type)type))
				continue;
			struct rig *rig = rig_at(at);
			struct message_length length = message_length((enum message_type)type,
			                                              control_legs(side_at(rig, at)->control));
			rig_free(rig);
			const uint32_t wrong[] = {length.least - 1, length.most + 1, 0x80000000, UINT32_MAX};
			for (size_t i = 0; i < COUNT_OF(wrong); i++) {
				rig = rig_at(at);
				assert_int_equal(feed_header(side_at(rig, at), type, wrong[i]), CONTROL_ENDED);
				expect_closed(side_at(rig, at), CONTROL_REASON_PROTOCOL, message_name((uint8_t)type), false);
				rig_free(rig);
			}
		}
	}
}

static void body_of_zeros_or_ones_ends_the_link_where_it_is_read(void **state)
{
	(void)state;
	static const uint8_t types[] = {MESSAGE_HELLO,      MESSAGE_EPOCH_OFFER, MESSAGE_EPOCH_ACCEPT,
	                                MESSAGE_EPOCH_DONE, MESSAGE_KEY,         MESSAGE_PONG};
	uint8_t *body = malloc(LIMIT_KEY_BYTES);
	assert_non_null(body);
	for (int fill = 0; fill < 2; fill++) {
		memset(body, fill ? 0xff : 0, LIMIT_KEY_BYTES);
		for (enum state at = 0; at < STATE_COUNT; at++) {
			for (size_t i = 0; i < COUNT_OF(types); i++) {
				if (!may_arrive(at, (enum message_type)types[i]))
					continue;
				struct rig *rig = rig_at(at);
				struct rig_side *side = side_at(rig, at);
				struct message_length length = message_length((enum message_type)types[i], control_legs(side->control));
				assert_int_equal(rig_inject(side, types[i], body, length.most), CONTROL_ENDED);
				assert_int_equal(side->closes, 1);
				rig_free(rig);
			}
		}
	}
	free(body);
}

static void replayed_messages_end_the_link(void **state)
{
	(void)state;
	// Everything the peer of a fresh link ever said, said once more.
	for (int to_responder = 0; to_responder < 2; to_responder++) {
		for (unsigned number = 0; number < 4; number++) {
			struct rig *rig = rig_new(RIG_MLKEM);
			uint8_t frames[4][HELLO_FRAME_BYTES];
			size_t lengths[4] = {0}, count = 0;
			rig_open(rig);
			struct rig_side *from = to_responder ? &rig->initiator : &rig->responder;
			while (rig->initiator.sent_length > 0 || rig->responder.sent_length > 0) {
				while (from->sent_length > 0 && count < 4) {
					const uint8_t *at = from->sent + from->sent_at;
					size_t length = FRAME_HEADER_BYTES + ((size_t)at[2] << 8 | at[3]);
					memcpy(frames[count], at, length);
					lengths[count++] = length;
					rig_deliver(from, length);
				}
				rig_deliver(rig_peer(from), SIZE_MAX);
			}
			expect_established(rig, 1);
			if (number < count) {
				struct rig_side *to = rig_peer(from);
				assert_int_equal(control_receive(to->control, frames[number], lengths[number], rig->now_us),
				                 CONTROL_ENDED);
				expect_closed(to, CONTROL_REASON_PROTOCOL, "", false);
			} else {
				assert_true(number >= 2);
			}
			rig_free(rig);
		}
	}
}

static void unknown_optional_message_is_skipped(void **state)
{
	(void)state;
	struct rig *rig = established(RIG_MLKEM);
	uint8_t body[LIMIT_CONTROL_BYTES] = {MESSAGE_CLOSE};
	for (unsigned type = MESSAGE_OPTIONAL; type < 256; type++) {
		assert_int_equal(rig_inject(&rig->responder, (uint8_t)type, body, type % 3 * 1024), 0);
		assert_int_equal(rig_inject(&rig->initiator, (uint8_t)type, body, 0), 0);
	}
	// It is a sign of life all the same.
	struct control_state read;
	rig->now_us += 1000000;
	assert_int_equal(feed_header(&rig->initiator, MESSAGE_OPTIONAL, 0), 0);
	control_read(rig->initiator.control, &read);
	assert_true(read.last_heard_us == rig->now_us);
	control_want_epoch(rig->initiator.control, rig->now_us);
	rig_run(rig);
	expect_established(rig, 2);
	assert_int_equal(feed_header(&rig->responder, 0xfe, LIMIT_CONTROL_BYTES + 1), CONTROL_ENDED);
	expect_closed(&rig->responder, CONTROL_REASON_PROTOCOL, "unknown type 254", false);
	rig_free(rig);
}

static void unknown_message_that_matters_ends_the_link(void **state)
{
	(void)state;
	static const uint8_t types[] = {0, 15, 16, 127};
	for (size_t i = 0; i < COUNT_OF(types); i++) {
		struct rig *rig = established(RIG_MLKEM);
		assert_int_equal(feed_header(&rig->initiator, types[i], 0), CONTROL_ENDED);
		expect_closed(&rig->initiator, CONTROL_REASON_PROTOCOL, "unknown type", false);
		rig_free(rig);
	}
	// Before HELLO there is nothing to be lenient about.
	struct rig *rig = rig_new(RIG_MLKEM);
	rig_open(rig);
	assert_int_equal(feed_header(&rig->responder, 0x80, 0), CONTROL_ENDED);
	rig_free(rig);
}

static void messages_faster_than_the_limit_end_the_link(void **state)
{
	(void)state;
	struct rig *rig = established(RIG_MLKEM);
	uint8_t body[8] = {0};
	rig->now_us += 10000000;
	for (unsigned i = 0; i < LIMIT_CONTROL_MESSAGES_PER_S; i++)
		assert_int_equal(rig_inject(&rig->responder, MESSAGE_PING, body, sizeof body), 0);
	// Half a second later half of them are allowed again, and not one more.
	rig->now_us += 500000;
	for (unsigned i = 0; i < LIMIT_CONTROL_MESSAGES_PER_S / 2; i++)
		assert_int_equal(rig_inject(&rig->responder, MESSAGE_PING, body, sizeof body), 0);
	assert_int_equal(rig_inject(&rig->responder, MESSAGE_PING, body, sizeof body), CONTROL_ENDED);
	expect_closed(&rig->responder, CONTROL_REASON_LIMIT, "2000 messages", false);
	rig_free(rig);
}

static void clock_that_stands_still_or_goes_back_frees_no_one_from_the_limit(void **state)
{
	(void)state;
	struct rig *rig = established(RIG_MLKEM);
	uint8_t body[8] = {0};
	unsigned taken = 0;
	for (; taken < 2 * LIMIT_CONTROL_MESSAGES_PER_S; taken++) {
		rig->now_us -= taken % 2 ? 1000 : 0;
		if (rig_inject(&rig->responder, MESSAGE_PING, body, sizeof body) != 0)
			break;
	}
	assert_true(taken <= LIMIT_CONTROL_MESSAGES_PER_S);
	rig_free(rig);
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

static int start(void **state)
{
	(void)state;
	return rig_start();
}

static int stop(void **state)
{
	(void)state;
	rig_stop();
	return 0;
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
		cmocka_unit_test(own_hello_sent_back_is_refused),
		cmocka_unit_test(responder_without_a_key_says_so),
		cmocka_unit_test(other_certificates_give_other_keys),
		cmocka_unit_test(one_flipped_bit_anywhere_in_a_hello_ends_the_link),
		cmocka_unit_test(export_that_fails_ends_the_link),
		cmocka_unit_test(settings_that_make_no_sense_are_refused),
		cmocka_unit_test(message_outside_its_state_ends_the_link_at_its_header),
		cmocka_unit_test(message_of_a_wrong_length_ends_the_link_at_its_header),
		cmocka_unit_test(body_of_zeros_or_ones_ends_the_link_where_it_is_read),
		cmocka_unit_test(replayed_messages_end_the_link),
		cmocka_unit_test(unknown_optional_message_is_skipped),
		cmocka_unit_test(unknown_message_that_matters_ends_the_link),
		cmocka_unit_test(messages_faster_than_the_limit_end_the_link),
		cmocka_unit_test(clock_that_stands_still_or_goes_back_frees_no_one_from_the_limit),
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
