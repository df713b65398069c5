// Two engines of link/control with a hostile hand on the wire. The first byte chooses the kem mode and how far the link
// has come; what follows is a list of steps: bytes or whole frames that nobody sent, deliveries of what was sent,
// flipped bits, time, wishes. Whatever happens, an engine ends once, leaves no secret behind, and the initiator never
// holds keys for an epoch that the responder does not hold as well.

#include "link/control_rig.h"

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// Bounds of one run: steps, epochs (each costs half a millisecond), bytes.
enum { FUZZ_STEPS = 200, FUZZ_WISHES = 8, FUZZ_MAX_BYTES = 8192 };

enum step {
	STEP_BYTES,   // side, length: raw bytes
	STEP_FRAME,   // side, type, u16 length: a frame with as many of the bytes as there are
	STEP_DELIVER, // side, count: 0 = all
	STEP_FLIP,    // side, u16: a bit of what was sent and not delivered
	STEP_TIME,    // u16 in units of 10 ms
	STEP_WISH,    // side: control_want_epoch
	STEP_GOAWAY,  // side
	STEP_ROTATE,  // the responder's McEliece key changes
	STEP_COUNT,
};

struct script {
	const uint8_t *at, *end;
};

static unsigned take(struct script *script)
{
	return script->at < script->end ? *script->at++ : 0;
}

static struct rig_side *take_side(struct rig *rig, struct script *script)
{
	return take(script) & 1 ? &rig->responder : &rig->initiator;
}

static size_t take_length(struct script *script)
{
	size_t length = take(script) << 8;
	return length | take(script);
}

static void inject_frame(struct rig *rig, struct script *script)
{
	struct rig_side *to = take_side(rig, script);
	uint8_t type = (uint8_t)take(script);
	size_t announced = take_length(script), there = (size_t)(script->end - script->at);
	uint8_t header[FRAME_HEADER_BYTES];
	// KEY's length does not fit two bytes; the type is enough to mean it.
	frame_encode_header(header, type, type == MESSAGE_KEY ? LIMIT_KEY_BYTES : announced);
	rig_check(to, control_receive(to->control, header, sizeof header, rig->now_us));
	if (there > announced)
		there = announced;
	rig_check(to, control_receive(to->control, script->at, there, rig->now_us));
	script->at += there;
}

static void inject_bytes(struct rig *rig, struct script *script)
{
	struct rig_side *to = take_side(rig, script);
	size_t length = take(script), there = (size_t)(script->end - script->at);
	if (length > there)
		length = there;
	rig_check(to, control_receive(to->control, script->at, length, rig->now_us));
	script->at += length;
}

static void flip_bit(struct rig *rig, struct script *script)
{
	struct rig_side *from = take_side(rig, script);
	size_t bit = take_length(script), waiting = from->sent_length - from->sent_at;
	if (waiting > 0)
		from->sent[from->sent_at + bit / 8 % waiting] ^= (uint8_t)(1 << bit % 8);
}

static void deliver(struct rig *rig, struct script *script)
{
	struct rig_side *from = take_side(rig, script);
	size_t count = take(script);
	rig_deliver(from, count == 0 ? SIZE_MAX : count);
}

static void take_step(struct rig *rig, struct script *script, unsigned *wishes)
{
	switch ((enum step)(take(script) % STEP_COUNT)) {
	case STEP_BYTES:
		inject_bytes(rig, script);
		return;
	case STEP_FRAME:
		inject_frame(rig, script);
		return;
	case STEP_DELIVER:
		deliver(rig, script);
		return;
	case STEP_FLIP:
		flip_bit(rig, script);
		return;
	case STEP_TIME:
		rig->now_us += take_length(script) * 10000;
		rig_tick(rig);
		return;
	case STEP_WISH:
		if ((*wishes)++ < FUZZ_WISHES)
			control_want_epoch(take_side(rig, script)->control, rig->now_us);
		return;
	case STEP_GOAWAY:
		control_goaway(take_side(rig, script)->control, CONTROL_REASON_SHUTDOWN, 1000);
		return;
	case STEP_ROTATE:
		rig->responder.previous = rig->responder.current;
		rig->responder.current = (rig->responder.current + 1) % RIG_KEYS;
		return;
	case STEP_COUNT:
		return;
	}
}

// 0 nothing was delivered; 1 HELLO reached the responder; 2 and the initiator; 3 the offer; 4 the accept; 5 all of it.
static struct rig *rig_at(uint8_t chosen)
{
	static const uint8_t modes[] = {RIG_MLKEM, RIG_HYBRID, RIG_MCELIECE, RIG_MLKEM};
	struct rig *rig = rig_new(modes[chosen & 3]);
	// With a key in the cache half a megabyte is moved only when the script leads there.
	if (!(chosen & 4)) {
		rig->initiator.cached[0] = true;
		rig->initiator.last = 0;
	}
	rig_open(rig);
	for (unsigned i = 0; i < (chosen >> 3 & 7u); i++)
		rig_deliver(i % 2 ? &rig->responder : &rig->initiator, SIZE_MAX);
	return rig;
}

static void check_end(const struct rig_side *side)
{
	const struct control *control = side->control;
	assert(side->closes <= 1);
	if (side->closes == 0)
		return;
	assert(control->stage == CONTROL_STAGE_ENDED && control_deadline(control) == UINT64_MAX);
	assert(message_text_is_printable(side->text));
	assert(!secret_is_set(&control->chain) && !secret_is_set(&control->pending.keys.chain));
	assert(!secret_is_set(&control->pending.mceliece) && !control->pending.x25519 && !control->pending.mlkem768);
	assert(!control->framer.large);
}

static void check(const struct rig *rig)
{
	check_end(&rig->initiator);
	check_end(&rig->responder);
	assert(rig->initiator.epoch <= rig->responder.epoch);
	assert(rig->responder.confirmed <= rig->initiator.confirmed);
	for (uint32_t epoch = 1; epoch <= rig->initiator.epoch; epoch++)
		assert(memcmp(rig->initiator.data[epoch], rig->responder.data[epoch], DIGEST_BYTES) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool started;
	if (!started && rig_start() != 0)
		abort();
	started = true;
	if (size < 1 || size > FUZZ_MAX_BYTES)
		return 0;
	struct rig *rig = rig_at(data[0]);
	struct script script = {data + 1, data + size};
	unsigned wishes = 0;
	for (unsigned i = 0; i < FUZZ_STEPS && script.at < script.end; i++) {
		take_step(rig, &script, &wishes);
		check(rig);
	}
	rig_free(rig);
	return 0;
}
