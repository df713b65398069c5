// Two engines of link/control wired back to back, for their tests and fuzz targets: every byte one sends is kept until
// the rig delivers it to the other, in pieces of any size; the clock is a number. TLS is a hash of the context, the
// responder's keys and the initiator's cache are arrays.

#pragma once

#include "link/control_private.h"
#include "link/hello.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	RIG_KEYS = 3,     // McEliece pairs, made once per program by rig_start
	RIG_EPOCHS = 256, // data secrets remembered, by epoch number modulo this
	RIG_HYBRID = LEG_X25519 | LEG_MLKEM768 | LEG_MCELIECE,
	RIG_MLKEM = LEG_X25519 | LEG_MLKEM768,
	RIG_MCELIECE = LEG_X25519 | LEG_MCELIECE,
};

struct rig_side {
	struct rig *rig;
	struct control *control;
	uint8_t *sent; // from sent_at on not delivered yet
	size_t sent_at, sent_length, sent_size;
	unsigned frames[256]; // sent, by type

	unsigned hellos;
	struct control_hello peer;
	uint8_t link_id[LINK_ID_BYTES];
	uint32_t epoch, confirmed; // the last of each
	unsigned epochs;           // on_epoch calls
	unsigned accepts_before;   // EPOCH_ACCEPTs sent when the last of them was made
	uint8_t data[RIG_EPOCHS][DIGEST_BYTES];
	unsigned goaways, closes;
	enum control_reason goaway_reason, reason;
	uint32_t goaway_deadline_ms;
	char text[LIMIT_REASON_BYTES + 1];
	bool by_peer;

	// Responder: which pairs it holds, -1 none.
	int current, previous;
	// Initiator: which keys its cache has, and the last one's number, -1 none.
	bool cached[RIG_KEYS];
	int last;
	bool cache_is_full; // stores nothing
	bool export_fails;
};

struct rig {
	struct rig_side initiator, responder;
	uint64_t now_us;
	size_t piece; // bytes delivered at a time, 0 = all there are
	// One bit to flip in the first frame of this type, counted from the first bit of its header. 0 = none.
	uint8_t flip_type;
	size_t flip_bit;
	bool flipped;
};

static struct mceliece_key *rig_pairs[RIG_KEYS];

static inline int rig_start(void)
{
	int outcome = secret_start();
	for (int i = 0; i < RIG_KEYS && outcome == 0; i++)
		outcome = mceliece_generate(&rig_pairs[i]);
	return outcome;
}

static inline void rig_stop(void)
{
	for (int i = 0; i < RIG_KEYS; i++)
		mceliece_key_free(&rig_pairs[i]);
}

static inline int rig_find_key(const uint8_t *digest)
{
	for (int i = 0; i < RIG_KEYS; i++) {
		if (rig_pairs[i] && memcmp(mceliece_digest(rig_pairs[i]), digest, DIGEST_BYTES) == 0)
			return i;
	}
	return -1;
}

// ---- what the engines are given

static inline void rig_on_send(void *owner, const uint8_t *frame, size_t length)
{
	struct rig_side *side = owner;
	struct rig *rig = side->rig;
	while (side->sent_length + length > side->sent_size) {
		side->sent_size = side->sent_size * 2 + 4096;
		uint8_t *larger = realloc(side->sent, side->sent_size);
		if (!larger)
			abort();
		side->sent = larger;
	}
	uint8_t *copy = side->sent + side->sent_length;
	memcpy(copy, frame, length);
	if (rig->flip_type != 0 && !rig->flipped && frame[4] == rig->flip_type && rig->flip_bit / 8 < length) {
		copy[rig->flip_bit / 8] ^= (uint8_t)(1 << rig->flip_bit % 8);
		rig->flipped = true;
	}
	side->sent_length += length;
	side->frames[frame[4]]++;
}

static inline int rig_on_export(void *owner, const uint8_t context[DIGEST_BYTES], struct secret *chain)
{
	struct rig_side *side = owner;
	const struct digest_part parts[] = {{"tls", 3}, {context, DIGEST_BYTES}};
	uint8_t digest[DIGEST_BYTES];
	digest_sha384(parts, COUNT_OF(parts), digest);
	return side->export_fails ? -5 : secret_set(chain, digest, sizeof digest);
}

static inline void rig_on_hello(void *owner, const struct control_hello *peer, const uint8_t link_id[LINK_ID_BYTES])
{
	struct rig_side *side = owner;
	side->hellos++;
	side->peer = *peer;
	memcpy(side->link_id, link_id, LINK_ID_BYTES);
}

static inline void rig_on_epoch(void *owner, uint32_t epoch, uint8_t legs, struct secret *data)
{
	struct rig_side *side = owner;
	struct secret taken = {0};
	(void)legs;
	secret_move(&taken, data);
	memcpy(side->data[epoch % RIG_EPOCHS], taken.bytes, DIGEST_BYTES);
	secret_fini(&taken);
	side->epoch = epoch;
	side->epochs++;
	side->accepts_before = side->frames[MESSAGE_EPOCH_ACCEPT];
}

static inline void rig_on_confirmed(void *owner, uint32_t epoch)
{
	struct rig_side *side = owner;
	side->confirmed = epoch;
}

static inline void rig_on_goaway(void *owner, enum control_reason reason, uint32_t deadline_ms)
{
	struct rig_side *side = owner;
	side->goaways++;
	side->goaway_reason = reason;
	side->goaway_deadline_ms = deadline_ms;
}

static inline void rig_on_close(void *owner, enum control_reason reason, const char *text, bool by_peer)
{
	struct rig_side *side = owner;
	side->closes++;
	side->reason = reason;
	side->by_peer = by_peer;
	snprintf(side->text, sizeof side->text, "%s", text);
}

static inline bool rig_key_current(void *owner, uint8_t digest[DIGEST_BYTES])
{
	const struct rig_side *side = owner;
	if (side->current < 0)
		return false;
	memcpy(digest, mceliece_digest(rig_pairs[side->current]), DIGEST_BYTES);
	return true;
}

static inline bool rig_key_copy(void *owner, uint8_t *out, uint8_t digest[DIGEST_BYTES])
{
	const struct rig_side *side = owner;
	if (!rig_key_current(owner, digest))
		return false;
	memcpy(out, mceliece_public(rig_pairs[side->current]), LIMIT_KEY_BYTES);
	return true;
}

static inline int rig_key_decapsulate(void *owner, const uint8_t digest[DIGEST_BYTES], const uint8_t *ciphertext,
                                      struct secret *shared)
{
	const struct rig_side *side = owner;
	int key = rig_find_key(digest);
	if (key < 0 || (key != side->current && key != side->previous))
		return CONTROL_KEY_GONE;
	return mceliece_decapsulate(rig_pairs[key], ciphertext, shared);
}

static inline const uint8_t *rig_cache_lookup(void *owner, const uint8_t digest[DIGEST_BYTES])
{
	struct rig_side *side = owner;
	int key = rig_find_key(digest);
	if (key < 0 || !side->cached[key])
		return NULL;
	side->last = key;
	return mceliece_public(rig_pairs[key]);
}

static inline bool rig_cache_last(void *owner, uint8_t digest[DIGEST_BYTES])
{
	const struct rig_side *side = owner;
	if (side->last < 0)
		return false;
	memcpy(digest, mceliece_digest(rig_pairs[side->last]), DIGEST_BYTES);
	return true;
}

static inline void rig_cache_store(void *owner, const uint8_t digest[DIGEST_BYTES], const uint8_t *key)
{
	struct rig_side *side = owner;
	int found = rig_find_key(digest);
	if (found < 0 || memcmp(key, mceliece_public(rig_pairs[found]), LIMIT_KEY_BYTES) != 0)
		abort();
	if (side->cache_is_full)
		return;
	side->cached[found] = true;
	side->last = found;
}

static const struct control_ops RIG_OPS = {
	.send = rig_on_send,
	.export_chain = rig_on_export,
	.on_hello = rig_on_hello,
	.on_epoch = rig_on_epoch,
	.on_epoch_confirmed = rig_on_confirmed,
	.on_goaway = rig_on_goaway,
	.on_close = rig_on_close,
	.key_current = rig_key_current,
	.key_copy = rig_key_copy,
	.key_decapsulate = rig_key_decapsulate,
	.cache_lookup = rig_cache_lookup,
	.cache_last = rig_cache_last,
	.cache_store = rig_cache_store,
};

// ---- life

// An hour between epochs, 10 s between pings, 3 of which may be missed, 5 s for the last.
static inline struct control_settings rig_settings(enum control_role role, uint8_t legs)
{
	struct control_settings settings = {
		.role = role,
		.hello = {.legs = legs, .carriers = 1, .heartbeat_ms = 10000, .streams_max = 100, .rotation_s = 3600},
		.rotation_ms = 3600000,
		.heartbeat_ms = 10000,
		.heartbeat_timeout_ms = 5000,
		.missed_pongs_max = 3,
	};
	bool initiator = role == CONTROL_INITIATOR;
	snprintf(settings.hello.node_name, sizeof settings.hello.node_name, "%s", initiator ? "north" : "south");
	snprintf(settings.hello.build_id, sizeof settings.hello.build_id, "test");
	snprintf(settings.hello.services, sizeof settings.hello.services, "%s", initiator ? "" : "ssh:22,web:80");
	memset(settings.cert_i_digest, 0x1c, DIGEST_BYTES);
	memset(settings.cert_r_digest, 0x2c, DIGEST_BYTES);
	return settings;
}

static inline struct rig_side *rig_side_init(struct rig *rig, struct rig_side *side,
                                             const struct control_settings *settings)
{
	*side = (struct rig_side){.rig = rig, .current = 0, .previous = -1, .last = -1};
	if (control_new(settings, &RIG_OPS, side, &side->control) != 0)
		abort();
	return side;
}

static inline struct rig *rig_new_with(const struct control_settings *initiator,
                                       const struct control_settings *responder)
{
	struct rig *rig = calloc(1, sizeof *rig);
	if (!rig)
		abort();
	rig->now_us = 1000000000;
	rig_side_init(rig, &rig->initiator, initiator);
	rig_side_init(rig, &rig->responder, responder);
	return rig;
}

static inline struct rig *rig_new(uint8_t legs)
{
	struct control_settings initiator = rig_settings(CONTROL_INITIATOR, legs);
	struct control_settings responder = rig_settings(CONTROL_RESPONDER, legs);
	return rig_new_with(&initiator, &responder);
}

static inline void rig_free(struct rig *rig)
{
	control_free(&rig->initiator.control);
	control_free(&rig->responder.control);
	free(rig->initiator.sent);
	free(rig->responder.sent);
	free(rig);
}

// What a call returned must agree with what it called.
static inline void rig_check(const struct rig_side *side, int outcome)
{
	if (outcome != (side->closes > 0 ? CONTROL_ENDED : 0) || side->closes > 1)
		abort();
}

static inline void rig_tick(struct rig *rig)
{
	rig_check(&rig->initiator, control_tick(rig->initiator.control, rig->now_us));
	rig_check(&rig->responder, control_tick(rig->responder.control, rig->now_us));
}

// ---- the wire

static inline struct rig_side *rig_peer(struct rig_side *side)
{
	return side == &side->rig->initiator ? &side->rig->responder : &side->rig->initiator;
}

// Delivers up to length bytes of what `from` has sent; false when there was nothing.
static inline bool rig_deliver(struct rig_side *from, size_t length)
{
	struct rig *rig = from->rig;
	if (length > from->sent_length - from->sent_at)
		length = from->sent_length - from->sent_at;
	if (length == 0)
		return false;
	// An exact copy, so that a sanitizer sees the first byte read beyond it; what is sent in answer may move `sent`.
	uint8_t *bytes = malloc(length);
	if (!bytes)
		abort();
	memcpy(bytes, from->sent + from->sent_at, length);
	from->sent_at += length;
	if (from->sent_at == from->sent_length)
		from->sent_at = from->sent_length = 0;
	rig_check(rig_peer(from), control_receive(rig_peer(from)->control, bytes, length, rig->now_us));
	free(bytes);
	return true;
}

// Delivers until nobody has anything left to say.
static inline void rig_run(struct rig *rig)
{
	bool moved = true;
	while (moved) {
		size_t most_i = rig->piece > 0 ? rig->piece : SIZE_MAX;
		moved = rig_deliver(&rig->initiator, most_i);
		size_t most_r = rig->piece > 0 ? rig->piece : SIZE_MAX;
		moved = rig_deliver(&rig->responder, most_r) || moved;
	}
}

static inline void rig_open(struct rig *rig)
{
	rig_check(&rig->responder, control_start(rig->responder.control, rig->now_us));
	rig_check(&rig->initiator, control_start(rig->initiator.control, rig->now_us));
}

// Lets time pass in steps of each side's own deadlines, delivering everything at once.
static inline void rig_pass(struct rig *rig, uint64_t duration_us)
{
	uint64_t end_us = rig->now_us + duration_us;
	for (;;) {
		rig_run(rig);
		uint64_t due_us = control_deadline(rig->initiator.control);
		if (control_deadline(rig->responder.control) < due_us)
			due_us = control_deadline(rig->responder.control);
		if (due_us > end_us)
			break;
		if (due_us > rig->now_us)
			rig->now_us = due_us;
		rig_tick(rig);
	}
	rig->now_us = end_us;
}

// A frame from nowhere, as if the peer of `to` had sent it.
static inline int rig_inject(struct rig_side *to, uint8_t type, const void *body, size_t length)
{
	uint8_t *frame = malloc(FRAME_HEADER_BYTES + length);
	if (!frame)
		abort();
	frame_encode_header(frame, type, length);
	if (length > 0)
		memcpy(frame + FRAME_HEADER_BYTES, body, length);
	int outcome = control_receive(to->control, frame, FRAME_HEADER_BYTES + length, to->rig->now_us);
	free(frame);
	return outcome;
}
