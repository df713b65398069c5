#include "link/control.h"

#include "core/counter.h"
#include "link/control_private.h"
#include "link/hello.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const REASON_NAMES[] = {
	[CONTROL_REASON_NONE] = "none",
	[CONTROL_REASON_SHUTDOWN] = "shutdown",
	[CONTROL_REASON_PROTOCOL] = "protocol violation",
	[CONTROL_REASON_VERSION] = "no common version",
	[CONTROL_REASON_KEM_MODE] = "kem_mode differs",
	[CONTROL_REASON_PEER_POLICY] = "peer not allowed",
	[CONTROL_REASON_TIMEOUT] = "timeout",
	[CONTROL_REASON_EPOCH] = "epoch failed",
	[CONTROL_REASON_LIMIT] = "limit reached",
	[CONTROL_REASON_INTERNAL] = "internal error",
	[CONTROL_REASON_REVOKED] = "certificate revoked",
	[CONTROL_REASON_EXPIRED] = "certificate expired",
	[CONTROL_REASON_TERMS] = "the tunnel is set differently",
	[CONTROL_REASON_KIND] = "wrong kind of node",
	[CONTROL_REASON_TAKEN] = "name taken",
};
_Static_assert(COUNT_OF(REASON_NAMES) == CONTROL_REASON_TAKEN + 1, "one name for each reason");

const char *control_reason_name(enum control_reason reason)
{
	if ((unsigned)reason >= COUNT_OF(REASON_NAMES))
		return "unknown";
	return REASON_NAMES[reason];
}

// ---- life

static bool settings_are_usable(const struct control_settings *settings)
{
	return settings->role <= CONTROL_RESPONDER && hello_is_kem_mode(settings->hello.legs) &&
	       settings->rotation_ms > 0 && settings->heartbeat_ms > 0 && settings->heartbeat_timeout_ms > 0 &&
	       settings->missed_pongs_max > 0;
}

static void complete_hello(struct control *control)
{
	static const uint8_t unset[sizeof control->settings->hello.instance];
	struct control_hello *hello = &control->settings->hello;
	hello->version = HELLO_VERSION_SPOKEN;
	hello->role = (uint8_t)control->role;
	if (memcmp(hello->instance, unset, sizeof unset) == 0)
		random_bytes(hello->instance, sizeof hello->instance);
	memset(hello->mceliece_digest, 0, sizeof hello->mceliece_digest);
	message_text_clean(hello->node_name);
	message_text_clean(hello->build_id);
	message_text_clean(hello->services);
	message_text_clean(hello->device);
}

int control_new(const struct control_settings *settings, const struct control_ops *ops, void *owner,
                struct control **control)
{
	if (!settings_are_usable(settings))
		return -EINVAL;
	struct control *fresh = calloc(1, sizeof *fresh);
	if (!fresh)
		return -ENOMEM;
	fresh->settings = malloc(sizeof *fresh->settings);
	if (!fresh->settings) {
		free(fresh);
		return -ENOMEM;
	}
	*fresh->settings = *settings;
	fresh->role = settings->role;
	fresh->legs = settings->hello.legs;
	fresh->features = settings->hello.features;
	fresh->rotation_ms = settings->rotation_ms;
	fresh->heartbeat_ms = settings->heartbeat_ms;
	fresh->heartbeat_timeout_ms = settings->heartbeat_timeout_ms;
	fresh->missed_pongs_max = settings->missed_pongs_max;
	fresh->ops = *ops;
	fresh->owner = owner;
	complete_hello(fresh);
	*control = fresh;
	return 0;
}

static void forget(struct control *control)
{
	secret_fini(&control->chain);
	epoch_fini(&control->pending);
	framer_fini(&control->framer);
	free(control->settings);
	control->settings = NULL;
}

void control_free(struct control **control)
{
	if (!*control)
		return;
	forget(*control);
	free(*control);
	*control = NULL;
}

void control_send(struct control *control, const uint8_t *frame, size_t length)
{
	control->ops.send(control->owner, frame, length);
}

// ---- the end

static void finish(struct control *control, enum control_reason reason, const char *text, bool by_peer)
{
	control->stage = CONTROL_STAGE_ENDED;
	forget(control);
	control->ops.on_close(control->owner, reason, text, by_peer);
}

static void end_with(struct control *control, enum control_reason reason, const char *text)
{
	uint8_t frame[MESSAGE_SMALL_FRAME_BYTES];
	if (control->stage != CONTROL_STAGE_NEW)
		control_send(control, frame, message_encode_close(reason, text, frame));
	finish(control, reason, text, false);
}

int control_end(struct control *control, enum control_reason reason, const char *format, ...)
{
	char text[LIMIT_REASON_BYTES + 1];
	assert(control->stage != CONTROL_STAGE_ENDED);
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	message_text_clean(text);
	if (reason == CONTROL_REASON_PROTOCOL || reason == CONTROL_REASON_LIMIT)
		counter_add(COUNTER_CONTROL_VIOLATION, 1);
	if (reason == CONTROL_REASON_EPOCH)
		counter_add(COUNTER_EPOCH_FAILED, 1);
	end_with(control, reason, text);
	return CONTROL_ENDED;
}

int control_fail(struct control *control, const char *what, int negative)
{
	return control_end(control, CONTROL_REASON_INTERNAL, "%s: %s", what, outcome_text(negative));
}

void control_close(struct control *control, enum control_reason reason, const char *text)
{
	char clean[LIMIT_REASON_BYTES + 1];
	if (control->stage == CONTROL_STAGE_ENDED)
		return;
	snprintf(clean, sizeof clean, "%s", text);
	message_text_clean(clean);
	end_with(control, reason, clean);
}

void control_goaway(struct control *control, enum control_reason reason, uint32_t deadline_ms)
{
	uint8_t frame[MESSAGE_SMALL_FRAME_BYTES];
	if (control->stage == CONTROL_STAGE_ENDED)
		return;
	if (!control->hello_sent) {
		control->goaway_waiting = true;
		control->goaway_reason = reason;
		control->goaway_deadline_ms = deadline_ms;
		return;
	}
	control_send(control, frame, message_encode_goaway(reason, deadline_ms, frame));
}

void control_open(struct control *control, const struct control_open *open)
{
	uint8_t frame[MESSAGE_SMALL_FRAME_BYTES];
	if (control->stage == CONTROL_STAGE_OPEN)
		control_send(control, frame, message_encode_open(open, frame));
}

void control_open_failed(struct control *control, const uint8_t token[STREAM_TOKEN_BYTES],
                         const struct header_answer *answer)
{
	uint8_t frame[MESSAGE_SMALL_FRAME_BYTES];
	assert(answer->status != HEADER_OK);
	if (control->stage == CONTROL_STAGE_OPEN)
		control_send(control, frame, message_encode_open_failed(token, answer, frame));
}

// ---- frames in

bool control_charge(struct control *control, unsigned cost, uint64_t now_us)
{
	const uint64_t second_us = 1000000;
	uint64_t passed_us = now_us > control->charged_us ? now_us - control->charged_us : 0;
	control->debt_us = control->debt_us > passed_us ? control->debt_us - passed_us : 0;
	control->charged_us += passed_us;
	control->debt_us += cost * (second_us / LIMIT_CONTROL_MESSAGES_PER_S);
	return control->debt_us <= second_us;
}

static unsigned cost_of(uint8_t type)
{
	if (type == MESSAGE_KEY_WANT)
		return CONTROL_COST_KEY;
	if (type == MESSAGE_EPOCH_OFFER || type == MESSAGE_KEY)
		return CONTROL_COST_OFFER;
	return CONTROL_COST_MESSAGE;
}

// Whether the message may arrive now. Spec: docs/protocol.md, "States".
static bool is_allowed(const struct control *control, enum message_type type)
{
	bool open = control->stage == CONTROL_STAGE_OPEN;
	bool initiator = control_is_initiator(control);
	bool mceliece = control_legs(control) & LEG_MCELIECE;
	switch (type) {
	case MESSAGE_HELLO:
		return control->stage == CONTROL_STAGE_HELLO;
	case MESSAGE_CLOSE:
		return true;
	case MESSAGE_PING:
	case MESSAGE_PONG:
	case MESSAGE_GOAWAY:
		return open;
	case MESSAGE_KEY_WANT:
		return open && !initiator && mceliece && control->exchange == CONTROL_EXCHANGE_IDLE;
	case MESSAGE_EPOCH_OFFER:
		return open && !initiator && control->exchange == CONTROL_EXCHANGE_IDLE;
	case MESSAGE_EPOCH_DONE:
		return open && control->exchange == CONTROL_EXCHANGE_ACCEPTED;
	case MESSAGE_KEY:
		return open &&
		       (control->exchange == CONTROL_EXCHANGE_KEY_WANTED || control->exchange == CONTROL_EXCHANGE_KEY_COMING);
	case MESSAGE_EPOCH_ACCEPT:
		return open && control->exchange == CONTROL_EXCHANGE_OFFERED;
	case MESSAGE_EPOCH_RETRY:
		return open && mceliece &&
		       (control->exchange == CONTROL_EXCHANGE_KEY_WANTED || control->exchange == CONTROL_EXCHANGE_OFFERED);
	case MESSAGE_EPOCH_WANT:
		return open && initiator && control->epoch > 0;
	case MESSAGE_OPEN:
		return open && initiator && control_is_reverse(control) && control->epoch > 0;
	case MESSAGE_OPEN_FAILED:
		return open && !initiator && control_is_reverse(control) && control->epoch > 0;
	}
	return false;
}

static const char *state_name(const struct control *control)
{
	if (control->stage != CONTROL_STAGE_OPEN)
		return "before HELLO";
	switch (control->exchange) {
	case CONTROL_EXCHANGE_IDLE:
		return "outside of an epoch exchange";
	case CONTROL_EXCHANGE_KEY_WANTED:
	case CONTROL_EXCHANGE_KEY_COMING:
		return "while KEY is awaited";
	case CONTROL_EXCHANGE_OFFERED:
		return "while EPOCH_ACCEPT is awaited";
	case CONTROL_EXCHANGE_ACCEPTED:
		return "while EPOCH_DONE is awaited";
	}
	return "in no state";
}

// A header is complete: everything about the frame but its body is judged before a byte of it is kept.
static int judge_header(struct control *control, uint64_t now_us)
{
	uint8_t type = control->framer.type;
	uint32_t length = control->framer.body_length;
	// Hostile: so a peer cannot keep a worker busy.
	if (!control_charge(control, cost_of(type), now_us))
		return control_end(control, CONTROL_REASON_LIMIT, "%s: more than %u messages' worth of work in a second",
		                   message_name(type), LIMIT_CONTROL_MESSAGES_PER_S);
	if (!message_is_known(type)) {
		if (!(type & MESSAGE_OPTIONAL) || control->stage != CONTROL_STAGE_OPEN)
			return control_end(control, CONTROL_REASON_PROTOCOL, "message of unknown type %u %s", type,
			                   state_name(control));
		if (length > LIMIT_CONTROL_BYTES)
			return control_end(control, CONTROL_REASON_PROTOCOL, "message of unknown type %u has %u bytes", type,
			                   length);
		control->heard_us = now_us;
		framer_skip(&control->framer);
		return 0;
	}
	if (!is_allowed(control, (enum message_type)type))
		return control_end(control, CONTROL_REASON_PROTOCOL, "%s is not allowed %s", message_name(type),
		                   state_name(control));
	// Hostile: the length is checked before anything is allocated.
	struct message_length allowed = message_length((enum message_type)type, control_legs(control));
	if (length < allowed.least || length > allowed.most)
		return control_end(control, CONTROL_REASON_PROTOCOL, "%s has %u bytes", message_name(type), length);
	int outcome = framer_take(&control->framer);
	return outcome == 0 ? 0 : control_fail(control, message_name(type), outcome);
}

static int on_ping(struct control *control, const struct frame *frame)
{
	uint8_t pong[MESSAGE_SMALL_FRAME_BYTES];
	control_send(control, pong, message_encode_ping(MESSAGE_PONG, frame->body, pong));
	return 0;
}

static int on_pong(struct control *control, const struct frame *frame, uint64_t now_us)
{
	if (!control->ping_outstanding || memcmp(frame->body, control->ping, MESSAGE_PING_BYTES) != 0)
		return control_end(control, CONTROL_REASON_PROTOCOL, "PONG answers no PING");
	control->ping_outstanding = false;
	uint64_t sample_us = now_us > control->ping_sent_us ? now_us - control->ping_sent_us : 1;
	if (sample_us > UINT32_MAX)
		sample_us = UINT32_MAX;
	control->rtt_us = control->rtt_us == 0 ? (uint32_t)sample_us : (uint32_t)((7ULL * control->rtt_us + sample_us) / 8);
	// On a path slower than the heartbeat the next ping is due now; otherwise an interval after the last.
	control->ping_due_us = control->ping_sent_us + (uint64_t)control->heartbeat_ms * 1000;
	return 0;
}

static int on_open(struct control *control, const struct frame *frame)
{
	struct control_open open;
	if (message_decode_open(frame, &open) != 0)
		return control_end(control, CONTROL_REASON_PROTOCOL, "OPEN is malformed");
	control->ops.on_open(control->owner, &open);
	return 0;
}

static int on_open_failed(struct control *control, const struct frame *frame)
{
	uint8_t token[STREAM_TOKEN_BYTES];
	struct header_answer answer;
	if (message_decode_open_failed(frame, token, &answer) != 0)
		return control_end(control, CONTROL_REASON_PROTOCOL, "OPEN_FAILED is malformed");
	control->ops.on_open_failed(control->owner, token, &answer);
	return 0;
}

static int on_goaway(struct control *control, const struct frame *frame)
{
	enum control_reason reason;
	uint32_t deadline_ms;
	if (message_decode_goaway(frame, &reason, &deadline_ms) != 0)
		return control_end(control, CONTROL_REASON_PROTOCOL, "GOAWAY is malformed");
	control->ops.on_goaway(control->owner, reason, deadline_ms);
	return 0;
}

static int on_close(struct control *control, const struct frame *frame)
{
	enum control_reason reason;
	char text[LIMIT_REASON_BYTES + 1];
	if (message_decode_close(frame, &reason, text) != 0)
		return control_end(control, CONTROL_REASON_PROTOCOL, "CLOSE is malformed");
	finish(control, reason, text, true);
	return CONTROL_ENDED;
}

static int dispatch(struct control *control, const struct frame *frame, uint64_t now_us)
{
	switch ((enum message_type)frame->type) {
	case MESSAGE_HELLO:
		return control_on_hello(control, frame, now_us);
	case MESSAGE_KEY_WANT:
		return control_on_key_want(control);
	case MESSAGE_KEY:
		return control_on_key(control, frame, now_us);
	case MESSAGE_EPOCH_OFFER:
		return control_on_epoch_offer(control, frame, now_us);
	case MESSAGE_EPOCH_ACCEPT:
		return control_on_epoch_accept(control, frame, now_us);
	case MESSAGE_EPOCH_DONE:
		return control_on_epoch_done(control, frame, now_us);
	case MESSAGE_PING:
		return on_ping(control, frame);
	case MESSAGE_PONG:
		return on_pong(control, frame, now_us);
	case MESSAGE_GOAWAY:
		return on_goaway(control, frame);
	case MESSAGE_CLOSE:
		return on_close(control, frame);
	case MESSAGE_EPOCH_WANT:
		return control_on_epoch_want(control, now_us);
	case MESSAGE_EPOCH_RETRY:
		return control_on_epoch_retry(control, frame);
	case MESSAGE_OPEN:
		return on_open(control, frame);
	case MESSAGE_OPEN_FAILED:
		return on_open_failed(control, frame);
	}
	assert(!"judge_header lets no other message through");
	return 0;
}

static int hear(struct control *control, uint64_t now_us)
{
	struct frame frame = framer_frame(&control->framer);
	control->heard_us = now_us;
	int outcome = dispatch(control, &frame, now_us);
	if (outcome == 0)
		framer_next(&control->framer);
	return outcome;
}

int control_receive(struct control *control, const uint8_t *bytes, size_t length, uint64_t now_us)
{
	assert(control->stage != CONTROL_STAGE_NEW);
	if (control->stage == CONTROL_STAGE_ENDED)
		return CONTROL_ENDED;
	for (;;) {
		int outcome = framer_feed(&control->framer, &bytes, &length);
		if (outcome == FRAMER_MORE)
			break;
		outcome = outcome == FRAMER_HEADER ? judge_header(control, now_us) : hear(control, now_us);
		if (outcome != 0)
			return outcome;
	}
	// Half a megabyte may take a slow link longer than silence is tolerated; the rest of it is a sign of life.
	if (control->framer.stage == FRAMER_IN_BODY && control->framer.type == MESSAGE_KEY)
		control->heard_us = now_us;
	return 0;
}

// ---- the clock

int control_start(struct control *control, uint64_t now_us)
{
	assert(control->stage == CONTROL_STAGE_NEW);
	control->stage = CONTROL_STAGE_HELLO;
	control->start_us = now_us;
	control->heard_us = now_us;
	control->charged_us = now_us;
	if (!control_is_initiator(control))
		return 0;
	control_send_hello(control);
	return control_epoch_early(control, now_us);
}

static uint64_t silence_us(const struct control *control)
{
	uint64_t missed_ms = (uint64_t)control->heartbeat_ms * control->missed_pongs_max;
	uint64_t answer_ms = (uint64_t)control->heartbeat_ms + control->heartbeat_timeout_ms;
	return (missed_ms > answer_ms ? missed_ms : answer_ms) * 1000;
}

// Two intervals, and never less than an exchange may need on a slow link.
static uint64_t patience_ms(uint32_t rotation_ms)
{
	uint64_t two_ms = 2ULL * rotation_ms;
	return two_ms < LIMIT_ESTABLISH_MS ? LIMIT_ESTABLISH_MS : two_ms;
}

uint64_t control_patience_ms(const struct control_settings *settings)
{
	return patience_ms(settings->rotation_ms);
}

static uint64_t epoch_deadline(const struct control *control)
{
	if (control->epoch == 0)
		return control->start_us + LIMIT_ESTABLISH_MS * 1000ULL;
	return control->epoch_since_us + patience_ms(control->rotation_ms) * 1000;
}

// Whether time alone makes us offer (initiator) or ask (responder).
static bool is_rotating(const struct control *control)
{
	return control->epoch > 0 && control->exchange == CONTROL_EXCHANGE_IDLE && !control->want_sent;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

uint64_t control_deadline(const struct control *control)
{
	if (control->stage == CONTROL_STAGE_NEW || control->stage == CONTROL_STAGE_ENDED)
		return UINT64_MAX;
	uint64_t due_us = epoch_deadline(control);
	if (control->stage != CONTROL_STAGE_OPEN)
		return due_us;
	due_us = earlier(due_us, control->heard_us + silence_us(control));
	if (!control->ping_outstanding)
		due_us = earlier(due_us, control->ping_due_us);
	if (is_rotating(control))
		due_us = earlier(due_us, control->epoch_due_us);
	return due_us;
}

static void send_ping(struct control *control, uint64_t now_us)
{
	uint8_t frame[MESSAGE_SMALL_FRAME_BYTES];
	random_bytes(control->ping, sizeof control->ping);
	control->ping_outstanding = true;
	control->ping_sent_us = now_us;
	control_send(control, frame, message_encode_ping(MESSAGE_PING, control->ping, frame));
}

void control_probe(struct control *control, uint64_t now_us)
{
	if (control->stage == CONTROL_STAGE_OPEN && !control->ping_outstanding)
		send_ping(control, now_us);
}

int control_tick(struct control *control, uint64_t now_us)
{
	if (control->stage == CONTROL_STAGE_ENDED)
		return CONTROL_ENDED;
	if (control->stage == CONTROL_STAGE_NEW)
		return 0;
	if (now_us >= epoch_deadline(control)) {
		if (control->epoch == 0)
			return control_end(control, CONTROL_REASON_TIMEOUT, "no epoch within %u ms after the TLS handshake",
			                   LIMIT_ESTABLISH_MS);
		return control_end(control, CONTROL_REASON_EPOCH, "no new epoch for two intervals of %u ms",
		                   control->rotation_ms);
	}
	if (control->stage != CONTROL_STAGE_OPEN)
		return 0;
	if (now_us >= control->heard_us + silence_us(control))
		return control_end(control, CONTROL_REASON_TIMEOUT, "nothing heard from the peer for %llu ms",
		                   (unsigned long long)(silence_us(control) / 1000));
	if (!control->ping_outstanding && now_us >= control->ping_due_us)
		send_ping(control, now_us);
	if (!is_rotating(control) || now_us < control->epoch_due_us)
		return 0;
	if (control_is_initiator(control))
		return control_epoch_begin(control, now_us);
	control_epoch_ask(control);
	return 0;
}

void control_want_epoch(struct control *control, uint64_t now_us)
{
	if (control->stage != CONTROL_STAGE_OPEN || control->epoch == 0 || control->exchange != CONTROL_EXCHANGE_IDLE)
		return;
	if (!control_is_initiator(control)) {
		control_epoch_ask(control);
		return;
	}
	uint64_t earliest_us = control->offered_us + CONTROL_OFFER_DISTANCE_US;
	if (now_us < earliest_us)
		control->epoch_due_us = earlier(control->epoch_due_us, earliest_us);
	else
		(void)control_epoch_begin(control, now_us);
}

void control_read(const struct control *control, struct control_state *state)
{
	*state = (struct control_state){
		.established = control->epoch > 0,
		.epoch = control->epoch,
		.legs = control_legs(control),
		.epoch_since_us = control->epoch_since_us,
		.rtt_us = control->rtt_us,
		.last_heard_us = control->heard_us,
	};
}
