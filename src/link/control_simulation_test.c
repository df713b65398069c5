// Two engines, a virtual clock, and a seeded dice that decides how the bytes are cut, when time passes, who asks for an
// epoch, when the responder's key changes, what the cache forgets, and in the second half which bit is flipped.
//
// SIMULATION_SEEDS=20000 runs that many; SIMULATION_SEED=17 runs only that one.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "link/control_rig.h"

enum { SEEDS = 200, ROUNDS = 150 };

struct dice {
	uint64_t state;
};

// splitmix64
static uint64_t roll(struct dice *dice, uint64_t sides)
{
	uint64_t z = dice->state += 0x9e3779b97f4a7c15;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return (z ^ (z >> 31)) % sides;
}

static struct rig *rig_by_dice(struct dice *dice)
{
	static const uint8_t modes[] = {RIG_HYBRID, RIG_MLKEM, RIG_MCELIECE};
	uint8_t legs = modes[roll(dice, 3)];
	struct control_settings initiator = rig_settings(CONTROL_INITIATOR, legs);
	struct control_settings responder = rig_settings(CONTROL_RESPONDER, legs);
	initiator.rotation_ms = (uint32_t)(1000 + roll(dice, 30000));
	responder.rotation_ms = (uint32_t)(1000 + roll(dice, 30000));
	initiator.heartbeat_ms = (uint32_t)(1000 + roll(dice, 20000));
	responder.heartbeat_ms = (uint32_t)(1000 + roll(dice, 20000));
	struct rig *rig = rig_new_with(&initiator, &responder);
	rig->responder.previous = (int)roll(dice, 2) - 1;
	int cached = (int)roll(dice, RIG_KEYS + 1) - 1;
	if (cached >= 0)
		rig->initiator.cached[cached] = true;
	rig->initiator.last = cached;
	return rig;
}

// Half of the time a few bytes, otherwise a lot.
static void deliver_some(struct rig_side *from, struct dice *dice)
{
	rig_deliver(from, roll(dice, 2) ? 1 + roll(dice, 40) : 1 + roll(dice, 300000));
}

// Keys change now and then, never twice in one exchange, as in life.
static void rotate_keys(struct rig *rig, struct dice *dice, uint32_t *changed_in_epoch)
{
	if (roll(dice, 20) != 0 || *changed_in_epoch == rig->responder.confirmed)
		return;
	*changed_in_epoch = rig->responder.confirmed;
	rig->responder.previous = rig->responder.current;
	rig->responder.current = (int)roll(dice, RIG_KEYS);
}

static void one_round(struct rig *rig, struct dice *dice, uint32_t *changed_in_epoch)
{
	deliver_some(&rig->initiator, dice);
	deliver_some(&rig->responder, dice);
	if (roll(dice, 4) == 0)
		rig->now_us += roll(dice, 700000);
	if (roll(dice, 10) == 0)
		control_want_epoch(rig->initiator.control, rig->now_us);
	if (roll(dice, 10) == 0)
		control_want_epoch(rig->responder.control, rig->now_us);
	if (roll(dice, 100) == 0)
		control_goaway(roll(dice, 2) ? rig->initiator.control : rig->responder.control, CONTROL_REASON_SHUTDOWN, 1000);
	rotate_keys(rig, dice, changed_in_epoch);
	if (roll(dice, 50) == 0)
		memset(rig->initiator.cached, 0, sizeof rig->initiator.cached);
	rig_tick(rig);
}

// Always: what the initiator dials with is what the responder accepts, and it never runs ahead.
static void check_agreement(const struct rig *rig)
{
	const struct rig_side *initiator = &rig->initiator, *responder = &rig->responder;
	assert_true(initiator->epoch == responder->epoch || initiator->epoch + 1 == responder->epoch);
	assert_true(responder->confirmed <= initiator->confirmed && responder->confirmed + 1 >= initiator->confirmed);
	assert_int_equal(initiator->epoch, initiator->confirmed);
	for (uint32_t epoch = 1; epoch <= initiator->epoch && epoch < RIG_EPOCHS; epoch++)
		assert_memory_equal(initiator->data[epoch], responder->data[epoch], DIGEST_BYTES);
}

static void run_honest(uint64_t seed)
{
	struct dice dice = {seed};
	struct rig *rig = rig_by_dice(&dice);
	uint32_t changed_in_epoch = UINT32_MAX;
	rig_open(rig);
	for (int round = 0; round < ROUNDS; round++) {
		one_round(rig, &dice, &changed_in_epoch);
		check_agreement(rig);
		// While half a megabyte crawls by a few bytes a round, the clock stands often enough for nobody to give up.
		if (rig->responder.sent_length - rig->responder.sent_at > 100000)
			rig_deliver(&rig->responder, 100000);
	}
	rig_run(rig);
	check_agreement(rig);
	assert_int_equal(rig->initiator.closes + rig->responder.closes, 0);
	assert_int_equal(rig->initiator.confirmed, rig->responder.confirmed);
	assert_true(rig->initiator.confirmed > 1);
	rig_free(rig);
}

static void run_tampered(uint64_t seed)
{
	struct dice dice = {seed};
	struct rig *rig = rig_by_dice(&dice);
	uint32_t changed_in_epoch = UINT32_MAX;
	int tampered_round = (int)roll(&dice, 60);
	bool tampered = false;
	rig_open(rig);
	for (int round = 0; round < ROUNDS; round++) {
		struct rig_side *side = roll(&dice, 2) ? &rig->initiator : &rig->responder;
		if (!tampered && round >= tampered_round && side->sent_length > side->sent_at) {
			size_t at = side->sent_at + roll(&dice, side->sent_length - side->sent_at);
			side->sent[at] ^= (uint8_t)(1 << roll(&dice, 8));
			tampered = true;
		}
		one_round(rig, &dice, &changed_in_epoch);
		check_agreement(rig);
	}
	rig_run(rig);
	check_agreement(rig);
	rig_free(rig);
}

static bool is_running;
static uint64_t running;

static void for_each_seed(void (*run)(uint64_t seed))
{
	const char *one = getenv("SIMULATION_SEED"), *many = getenv("SIMULATION_SEEDS");
	uint64_t from = one ? strtoull(one, NULL, 10) : 0;
	uint64_t count = one ? 1 : many ? strtoull(many, NULL, 10) : SEEDS;
	is_running = true;
	for (running = from; running < from + count; running++)
		run(running);
	is_running = false;
}

static int say_seed(void **state)
{
	(void)state;
	if (is_running)
		fprintf(stderr, "to see it again: SIMULATION_SEED=%llu\n", (unsigned long long)running);
	is_running = false;
	return 0;
}

static void honest_peers_agree_on_every_epoch_whatever_happens(void **state)
{
	(void)state;
	for_each_seed(run_honest);
}

static void altered_bytes_never_lead_to_different_keys(void **state)
{
	(void)state;
	for_each_seed(run_tampered);
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
		cmocka_unit_test_teardown(honest_peers_agree_on_every_epoch_whatever_happens, say_seed),
		cmocka_unit_test_teardown(altered_bytes_never_lead_to_different_keys, say_seed),
	};
	return cmocka_run_group_tests(tests, start, stop);
}
