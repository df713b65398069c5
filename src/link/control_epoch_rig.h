// For tests of epoch exchanges between two engines. For one file of a test program.

#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "link/control_rig.h"

static inline void expect_epoch(const struct rig *rig, uint32_t epoch)
{
	const struct rig_side *sides[] = {&rig->initiator, &rig->responder};
	for (size_t i = 0; i < COUNT_OF(sides); i++) {
		struct control_state state;
		control_read(sides[i]->control, &state);
		assert_int_equal(sides[i]->closes, 0);
		assert_int_equal(state.epoch, epoch);
		assert_int_equal(sides[i]->epochs, epoch);
		assert_int_equal(sides[i]->confirmed, epoch);
	}
	assert_memory_equal(rig->initiator.data[epoch % RIG_EPOCHS], rig->responder.data[epoch % RIG_EPOCHS], DIGEST_BYTES);
}

static inline void expect_closed(const struct rig_side *side, enum control_reason reason, const char *part)
{
	assert_int_equal(side->closes, 1);
	if (!strstr(side->text, part))
		fail_msg("\"%s\" does not say \"%s\"", side->text, part);
	assert_int_equal(side->reason, reason);
}

static inline struct rig *established(uint8_t legs)
{
	struct rig *rig = rig_new(legs);
	rig_open(rig);
	rig_run(rig);
	expect_epoch(rig, 1);
	return rig;
}

static inline void step(struct rig *rig)
{
	rig->now_us += 1000000;
}

// ---- what is altered

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
