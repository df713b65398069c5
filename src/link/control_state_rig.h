// For tests of link/control.h: two engines that are brought into a state, and how a link is expected to be then. For
// one file of a test program.

#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "link/control_rig.h"

// ---- what is expected again and again

static inline void expect_established(const struct rig *rig, uint32_t epoch)
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

static inline void expect_closed(const struct rig_side *side, enum control_reason reason, const char *part,
                                 bool by_peer)
{
	assert_int_equal(side->closes, 1);
	if (!strstr(side->text, part))
		fail_msg("\"%s\" does not say \"%s\"", side->text, part);
	assert_int_equal(side->reason, reason);
	assert_int_equal(side->by_peer, by_peer);
}

static inline struct rig *established(uint8_t legs)
{
	struct rig *rig = rig_new(legs);
	rig_open(rig);
	rig_run(rig);
	expect_established(rig, 1);
	return rig;
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

static inline struct rig *rig_at(enum state at)
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

static inline struct rig_side *side_at(struct rig *rig, enum state at)
{
	bool responder = at == RESPONDER_BEFORE_HELLO || at == RESPONDER_IDLE || at == RESPONDER_ACCEPTED ||
	                 at == RESPONDER_IDLE_MLKEM;
	return responder ? &rig->responder : &rig->initiator;
}

// Only the header is fed: a message outside of its state ends the link before its body is there.
static inline int feed_header(struct rig_side *side, unsigned type, uint32_t length)
{
	uint8_t header[FRAME_HEADER_BYTES];
	frame_encode_header(header, (uint8_t)type, length);
	return control_receive(side->control, header, sizeof header, side->rig->now_us);
}

// ---- GOAWAY and the end

static inline int start(void **state)
{
	(void)state;
	return rig_start();
}

static inline int stop(void **state)
{
	(void)state;
	rig_stop();
	return 0;
}
