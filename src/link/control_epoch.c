// Epoch exchanges, both roles.
//
// Initiator:  IDLE ──(key known)── EPOCH_OFFER ──► OFFERED ──◄ EPOCH_ACCEPT── EPOCH_DONE ──► IDLE
//             IDLE ──KEY_WANT──► KEY_WANTED ──◄ KEY── EPOCH_OFFER ──► OFFERED
//             OFFERED or KEY_WANTED ──◄ EPOCH_RETRY──► KEY_COMING ──◄ KEY── EPOCH_OFFER ──► OFFERED
// Responder:  IDLE ──◄ EPOCH_OFFER── EPOCH_ACCEPT ──► ACCEPTED ──◄ EPOCH_DONE──► IDLE
//             IDLE ──◄ EPOCH_OFFER, its key is gone── EPOCH_RETRY, KEY ──► IDLE
//             IDLE ──◄ KEY_WANT── (EPOCH_RETRY when the announced key was replaced,) KEY ──► IDLE

#include "link/control_private.h"

#include "core/counter.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// A message of an exchange that is well framed but wrong.
static int refuse(struct control *control, enum message_type type, int outcome)
{
	if (outcome < 0)
		return control_fail(control, message_name((uint8_t)type), outcome);
	enum control_reason reason = outcome == EPOCH_BAD_KEY || outcome == EPOCH_UNCONFIRMED ? CONTROL_REASON_EPOCH
	                                                                                      : CONTROL_REASON_PROTOCOL;
	return control_end(control, reason, "%s: %s", message_name((uint8_t)type), epoch_outcome_name(outcome));
}

static struct epoch_terms next_terms(const struct control *control)
{
	return (struct epoch_terms){
		.number = control->epoch + 1,
		.legs = control_legs(control),
		.chain = &control->chain,
	};
}

// Up to 10 % earlier, so that a fleet that connected together does not rotate together.
static uint64_t jitter(uint64_t interval_us)
{
	uint16_t random;
	random_bytes(&random, sizeof random);
	return interval_us / 10 * random / UINT16_MAX;
}

// The new epoch is confirmed and becomes the current one.
static void complete(struct control *control, uint64_t now_us)
{
	uint64_t interval_us = (uint64_t)control->rotation_ms * 1000;
	control->epoch++;
	secret_move(&control->chain, &control->pending.keys.chain);
	epoch_fini(&control->pending);
	control->exchange = CONTROL_EXCHANGE_IDLE;
	control->retries = 0;
	control->key_given = false;
	control->want_sent = false;
	control->wants_heard = 0;
	control->epoch_since_us = now_us;
	// The responder waits a little longer: it asks only when the initiator's interval is longer than its own.
	control->epoch_due_us = now_us + (control_is_initiator(control) ? interval_us - jitter(interval_us)
	                                                                : interval_us + interval_us / 10);
	// The first round trip is measured as soon as the link is up, not an interval later.
	if (control->epoch == 1)
		control->ping_due_us = now_us;
	counter_add(COUNTER_EPOCH_COMPLETED, 1);
}

static void give_data(struct control *control)
{
	control->ops.on_epoch(control->owner, control->pending.number, control->pending.legs, &control->pending.keys.data);
	secret_fini(&control->pending.keys.data);
}

// ---- initiator

static int send_offer(struct control *control, const uint8_t *digest, const uint8_t *key, uint64_t now_us)
{
	uint8_t frame[MESSAGE_OFFER_FRAME_BYTES];
	size_t length;
	struct epoch_terms terms = next_terms(control);
	int outcome = epoch_offer(&control->pending, &terms, digest, key, frame, &length);
	if (outcome != 0)
		return refuse(control, MESSAGE_EPOCH_OFFER, outcome);
	control->exchange = CONTROL_EXCHANGE_OFFERED;
	control->offered_us = now_us;
	control_send(control, frame, length);
	return 0;
}

int control_epoch_early(struct control *control, uint64_t now_us)
{
	uint8_t digest[DIGEST_BYTES];
	if (!(control_legs(control) & LEG_MCELIECE))
		return send_offer(control, NULL, NULL, now_us);
	if (!control->ops.cache_last(control->owner, digest))
		return 0;
	const uint8_t *key = control->ops.cache_lookup(control->owner, digest);
	return key ? send_offer(control, digest, key, now_us) : 0;
}

int control_epoch_begin(struct control *control, uint64_t now_us)
{
	if (control->epoch == UINT32_MAX)
		return control_end(control, CONTROL_REASON_LIMIT, "no epoch numbers are left");
	if (!(control_legs(control) & LEG_MCELIECE))
		return send_offer(control, NULL, NULL, now_us);
	const uint8_t *key = control->ops.cache_lookup(control->owner, control->key_digest);
	if (key)
		return send_offer(control, control->key_digest, key, now_us);
	uint8_t frame[MESSAGE_SMALL_FRAME_BYTES];
	control->exchange = CONTROL_EXCHANGE_KEY_WANTED;
	control->offered_us = now_us;
	control_send(control, frame, message_encode_empty(MESSAGE_KEY_WANT, frame));
	return 0;
}

int control_on_key(struct control *control, const struct frame *frame, uint64_t now_us)
{
	uint8_t digest[DIGEST_BYTES];
	const struct digest_part part = {frame->body, frame->body_length};
	digest_sha384(&part, 1, digest);
	if (memcmp(digest, control->key_digest, DIGEST_BYTES) != 0)
		return control_end(control, CONTROL_REASON_PROTOCOL, "KEY does not have the digest that was announced");
	control->ops.cache_store(control->owner, digest, frame->body);
	// From the frame, not from the cache, which may have had no memory for it.
	return send_offer(control, digest, frame->body, now_us);
}

int control_on_epoch_retry(struct control *control, const struct frame *frame)
{
	counter_add(COUNTER_EPOCH_RETRIED, 1);
	if (++control->retries > EPOCH_RETRIES_MAX)
		return control_end(control, CONTROL_REASON_EPOCH, "EPOCH_RETRY: more than %d in one exchange",
		                   EPOCH_RETRIES_MAX);
	// The next offer is made of fresh ephemeral keys: these are gone.
	epoch_fini(&control->pending);
	memcpy(control->key_digest, frame->body, DIGEST_BYTES);
	control->exchange = CONTROL_EXCHANGE_KEY_COMING;
	return 0;
}

int control_on_epoch_accept(struct control *control, const struct frame *frame, uint64_t now_us)
{
	uint8_t done[MESSAGE_SMALL_FRAME_BYTES];
	size_t length;
	struct epoch_terms terms = next_terms(control);
	int outcome = epoch_finish(&control->pending, &terms, frame, done, &length);
	if (outcome != 0)
		return refuse(control, MESSAGE_EPOCH_ACCEPT, outcome);
	give_data(control);
	control_send(control, done, length);
	complete(control, now_us);
	control->ops.on_epoch_confirmed(control->owner, control->epoch);
	return 0;
}

int control_on_epoch_want(struct control *control, uint64_t now_us)
{
	if (++control->wants_heard > CONTROL_WANTS_PER_EPOCH)
		return control_end(control, CONTROL_REASON_PROTOCOL, "EPOCH_WANT: more than %d in one epoch",
		                   CONTROL_WANTS_PER_EPOCH);
	control_want_epoch(control, now_us);
	return control->stage == CONTROL_STAGE_ENDED ? CONTROL_ENDED : 0;
}

// ---- responder

// KEY, after EPOCH_RETRY when the peer must be told that it is not the key announced before.
static int send_key(struct control *control, bool retry)
{
	uint8_t digest[DIGEST_BYTES], announce[MESSAGE_SMALL_FRAME_BYTES];
	uint8_t *frame = malloc(FRAME_HEADER_BYTES + LIMIT_KEY_BYTES);
	if (!frame)
		return control_fail(control, "KEY", -ENOMEM);
	if (!control->ops.key_copy(control->owner, frame + FRAME_HEADER_BYTES, digest)) {
		free(frame);
		return control_end(control, CONTROL_REASON_INTERNAL, "the responder has no McEliece key");
	}
	frame_encode_header(frame, MESSAGE_KEY, LIMIT_KEY_BYTES);
	control->key_given = true;
	if (retry || memcmp(digest, control->key_digest, DIGEST_BYTES) != 0) {
		control->retries++;
		counter_add(COUNTER_EPOCH_RETRIED, 1);
		memcpy(control->key_digest, digest, DIGEST_BYTES);
		control_send(control, announce, message_encode_retry(digest, announce));
	}
	control_send(control, frame, FRAME_HEADER_BYTES + LIMIT_KEY_BYTES);
	free(frame);
	return 0;
}

int control_on_key_want(struct control *control)
{
	// Hostile: half a megabyte for five bytes, so only once per epoch.
	if (control->key_given)
		return control_end(control, CONTROL_REASON_PROTOCOL, "KEY_WANT: KEY was sent already in this epoch");
	return send_key(control, false);
}

static int retry_offer(struct control *control, uint64_t now_us)
{
	// Hostile: an offer with a made-up digest costs us a KEY.
	if (control->retries == EPOCH_RETRIES_MAX)
		return control_end(control, CONTROL_REASON_EPOCH, "EPOCH_OFFER: its McEliece key is not held, after %d retries",
		                   EPOCH_RETRIES_MAX);
	if (!control_charge(control, CONTROL_COST_KEY, now_us))
		return control_end(control, CONTROL_REASON_LIMIT, "EPOCH_OFFER: too many with a McEliece key that is not held");
	return send_key(control, true);
}

int control_on_epoch_offer(struct control *control, const struct frame *frame, uint64_t now_us)
{
	uint8_t accept[MESSAGE_ACCEPT_FRAME_BYTES];
	size_t length;
	struct epoch_terms terms = next_terms(control);
	if (control->epoch == UINT32_MAX)
		return control_end(control, CONTROL_REASON_LIMIT, "no epoch numbers are left");
	int outcome = epoch_accept(&control->pending, &terms, frame, control->ops.key_decapsulate, control->owner, accept,
	                           &length);
	if (outcome == EPOCH_KEY_GONE)
		return retry_offer(control, now_us);
	if (outcome != 0)
		return refuse(control, MESSAGE_EPOCH_OFFER, outcome);
	control->exchange = CONTROL_EXCHANGE_ACCEPTED;
	// Before the accept leaves: data can overtake EPOCH_DONE on another connection.
	give_data(control);
	control_send(control, accept, length);
	return 0;
}

int control_on_epoch_done(struct control *control, const struct frame *frame, uint64_t now_us)
{
	int outcome = epoch_confirm(&control->pending, frame);
	if (outcome != 0)
		return refuse(control, MESSAGE_EPOCH_DONE, outcome);
	complete(control, now_us);
	control->ops.on_epoch_confirmed(control->owner, control->epoch);
	return 0;
}

void control_epoch_ask(struct control *control)
{
	uint8_t frame[MESSAGE_SMALL_FRAME_BYTES];
	if (control->want_sent || control->exchange != CONTROL_EXCHANGE_IDLE)
		return;
	control->want_sent = true;
	control_send(control, frame, message_encode_empty(MESSAGE_EPOCH_WANT, frame));
}
