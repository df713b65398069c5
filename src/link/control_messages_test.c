// What may arrive in which state of a link, and what a peer may not send: out of turn, altered, again, too fast.

#include "link/control_state_rig.h"

// ---- coming up

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

// ---- what may arrive when

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(own_hello_sent_back_is_refused),
		cmocka_unit_test(one_flipped_bit_anywhere_in_a_hello_ends_the_link),
		cmocka_unit_test(message_outside_its_state_ends_the_link_at_its_header),
		cmocka_unit_test(message_of_a_wrong_length_ends_the_link_at_its_header),
		cmocka_unit_test(body_of_zeros_or_ones_ends_the_link_where_it_is_read),
		cmocka_unit_test(replayed_messages_end_the_link),
		cmocka_unit_test(unknown_optional_message_is_skipped),
		cmocka_unit_test(unknown_message_that_matters_ends_the_link),
		cmocka_unit_test(messages_faster_than_the_limit_end_the_link),
		cmocka_unit_test(clock_that_stands_still_or_goes_back_frees_no_one_from_the_limit),
	};
	return cmocka_run_group_tests(tests, start, stop);
}
