#include "link/epoch.h"

#include "crypto/digest.h"

#include <assert.h>
#include <string.h>

static const char *const OUTCOME_NAMES[] = {
	[0] = "done",
	[EPOCH_MALFORMED] = "malformed",
	[EPOCH_WRONG_NUMBER] = "not the next epoch's number",
	[EPOCH_WRONG_LEGS] = "not the legs that were agreed",
	[EPOCH_BAD_KEY] = "a key or ciphertext that cannot be used",
	[EPOCH_UNCONFIRMED] = "the confirmation is wrong",
	[EPOCH_KEY_GONE] = "the McEliece key is not held any more",
};
_Static_assert(COUNT_OF(OUTCOME_NAMES) == EPOCH_KEY_GONE + 1, "one name for each outcome");

const char *epoch_outcome_name(int outcome)
{
	if (outcome < 0)
		return outcome_text(outcome);
	if ((size_t)outcome >= COUNT_OF(OUTCOME_NAMES))
		return "unknown";
	return OUTCOME_NAMES[outcome];
}

// The initiator's ephemeral keys are of no use once both shared secrets are derived, or the exchange is over.
static void forget_offer(struct epoch *epoch)
{
	kem_key_free(&epoch->x25519);
	kem_key_free(&epoch->mlkem768);
	secret_fini(&epoch->mceliece);
}

void epoch_fini(struct epoch *epoch)
{
	forget_offer(epoch);
	schedule_epoch_fini(&epoch->keys);
	*epoch = (struct epoch){0};
}

// KEM outcomes are outcomes of crypto/kem.h; here they become ours.
static int from_kem(int outcome)
{
	return outcome > 0 ? EPOCH_BAD_KEY : outcome;
}

static void digest_of(const void *bytes, size_t length, uint8_t digest[DIGEST_BYTES])
{
	const struct digest_part part = {bytes, length};
	digest_sha384(&part, 1, digest);
}

// Frames of an exchange are hashed as they are on the wire. Spec: docs/protocol.md, "Key schedule".
static int derive(struct epoch *epoch, const struct secret *chain, const struct secret *x25519,
                  const struct secret *mlkem768, const struct secret *mceliece, const struct digest_part *accept)
{
	struct schedule_input input = {
		.epoch = epoch->number,
		.legs = epoch->legs,
		.chain = chain,
		.x25519 = x25519,
		.mlkem768 = epoch->legs & LEG_MLKEM768 ? mlkem768 : NULL,
		.mceliece = epoch->legs & LEG_MCELIECE ? mceliece : NULL,
	};
	memcpy(input.offer_digest, epoch->offer_digest, DIGEST_BYTES);
	memcpy(input.mceliece_digest, epoch->mceliece_digest, DIGEST_BYTES);
	digest_sha384(accept, 1, input.accept_digest);
	return schedule_epoch_derive(&input, &epoch->keys);
}

static int offer_mceliece(struct epoch *epoch, const uint8_t *digest, const uint8_t *key,
                          uint8_t ciphertext[MCELIECE_CIPHERTEXT_BYTES])
{
	if (!(epoch->legs & LEG_MCELIECE)) {
		digest_of("", 0, epoch->mceliece_digest);
		return 0;
	}
	memcpy(epoch->mceliece_digest, digest, DIGEST_BYTES);
	return from_kem(mceliece_encapsulate(key, ciphertext, &epoch->mceliece));
}

int epoch_offer(struct epoch *epoch, const struct epoch_terms *terms, const uint8_t mceliece_digest[DIGEST_BYTES],
                const uint8_t *mceliece_key, uint8_t out[MESSAGE_OFFER_FRAME_BYTES], size_t *length)
{
	uint8_t x25519[X25519_BYTES], mlkem768[MLKEM768_KEY_BYTES], ciphertext[MCELIECE_CIPHERTEXT_BYTES];
	epoch_fini(epoch);
	epoch->number = terms->number;
	epoch->legs = terms->legs;
	int outcome = from_kem(x25519_generate(&epoch->x25519, x25519));
	if (outcome == 0 && (epoch->legs & LEG_MLKEM768))
		outcome = from_kem(mlkem768_generate(&epoch->mlkem768, mlkem768));
	if (outcome == 0)
		outcome = offer_mceliece(epoch, mceliece_digest, mceliece_key, ciphertext);
	if (outcome != 0) {
		epoch_fini(epoch);
		return outcome;
	}
	const struct message_offer offer = {
		.epoch = epoch->number,
		.legs = epoch->legs,
		.x25519 = x25519,
		.mlkem768 = mlkem768,
		.mceliece_digest = epoch->mceliece_digest,
		.mceliece_ciphertext = ciphertext,
	};
	*length = message_encode_offer(&offer, out);
	digest_of(out, *length, epoch->offer_digest);
	return 0;
}

// ---- responder

struct shared {
	struct secret x25519, mlkem768, mceliece;
};

static void shared_fini(struct shared *shared)
{
	secret_fini(&shared->x25519);
	secret_fini(&shared->mlkem768);
	secret_fini(&shared->mceliece);
}

static int accept_mceliece(struct epoch *epoch, const struct message_offer *offer, epoch_decapsulate_fn decapsulate,
                           void *owner, struct secret *shared)
{
	if (!(epoch->legs & LEG_MCELIECE)) {
		digest_of("", 0, epoch->mceliece_digest);
		return 0;
	}
	memcpy(epoch->mceliece_digest, offer->mceliece_digest, DIGEST_BYTES);
	int outcome = decapsulate(owner, offer->mceliece_digest, offer->mceliece_ciphertext, shared);
	return outcome > 0 ? EPOCH_KEY_GONE : outcome;
}

static int accept_x25519(const struct message_offer *offer, uint8_t public_key[X25519_BYTES], struct secret *shared)
{
	struct kem_key *key = NULL;
	int outcome = x25519_generate(&key, public_key);
	if (outcome == 0)
		outcome = x25519_derive(key, offer->x25519, shared);
	kem_key_free(&key);
	return from_kem(outcome);
}

// The answer to legs that are in order, into a frame whose confirmation is filled in last.
static int answer(struct epoch *epoch, const struct message_offer *offer, const struct secret *chain,
                  struct shared *shared, uint8_t *out, size_t *length)
{
	uint8_t x25519[X25519_BYTES], mlkem768[MLKEM768_CIPHERTEXT_BYTES];
	int outcome = accept_x25519(offer, x25519, &shared->x25519);
	if (outcome == 0 && (epoch->legs & LEG_MLKEM768))
		outcome = from_kem(mlkem768_encapsulate(offer->mlkem768, mlkem768, &shared->mlkem768));
	if (outcome != 0)
		return outcome;
	const struct message_accept accept = {
		.epoch = epoch->number,
		.x25519 = x25519,
		.mlkem768 = epoch->legs & LEG_MLKEM768 ? mlkem768 : NULL,
	};
	*length = message_encode_accept(&accept, out);
	const struct digest_part hashed = {out, *length - MESSAGE_CONFIRM_BYTES};
	outcome = derive(epoch, chain, &shared->x25519, &shared->mlkem768, &shared->mceliece, &hashed);
	if (outcome != 0)
		return outcome;
	memcpy(out + *length - MESSAGE_CONFIRM_BYTES, epoch->keys.confirm_r.bytes, MESSAGE_CONFIRM_BYTES);
	return 0;
}

int epoch_accept(struct epoch *epoch, const struct epoch_terms *terms, const struct frame *frame,
                 epoch_decapsulate_fn decapsulate, void *owner, uint8_t out[MESSAGE_ACCEPT_FRAME_BYTES], size_t *length)
{
	struct message_offer offer;
	epoch_fini(epoch);
	if (message_decode_offer(frame, &offer) != 0)
		return EPOCH_MALFORMED;
	if (offer.epoch != terms->number)
		return EPOCH_WRONG_NUMBER;
	// Hostile: the legs of HELLO are the only ones; an offer cannot leave one out.
	if (offer.legs != terms->legs)
		return EPOCH_WRONG_LEGS;
	epoch->number = terms->number;
	epoch->legs = terms->legs;
	digest_of(frame->bytes, frame->length, epoch->offer_digest);
	struct shared shared = {0};
	// First the leg that can be gone: it is found out before the others cost anything.
	int outcome = accept_mceliece(epoch, &offer, decapsulate, owner, &shared.mceliece);
	if (outcome == 0)
		outcome = answer(epoch, &offer, terms->chain, &shared, out, length);
	shared_fini(&shared);
	if (outcome != 0)
		epoch_fini(epoch);
	return outcome;
}

// ---- confirmations

int epoch_finish(struct epoch *epoch, const struct epoch_terms *terms, const struct frame *frame,
                 uint8_t out[MESSAGE_SMALL_FRAME_BYTES], size_t *length)
{
	struct message_accept accept;
	assert(epoch->x25519 && epoch->number == terms->number && epoch->legs == terms->legs);
	if (message_decode_accept(frame, epoch->legs, &accept) != 0)
		return EPOCH_MALFORMED;
	if (accept.epoch != epoch->number)
		return EPOCH_WRONG_NUMBER;
	struct shared shared = {0};
	int outcome = from_kem(x25519_derive(epoch->x25519, accept.x25519, &shared.x25519));
	if (outcome == 0 && (epoch->legs & LEG_MLKEM768))
		outcome = from_kem(mlkem768_decapsulate(epoch->mlkem768, accept.mlkem768, &shared.mlkem768));
	const struct digest_part hashed = {frame->bytes, frame->length - MESSAGE_CONFIRM_BYTES};
	if (outcome == 0)
		outcome = derive(epoch, terms->chain, &shared.x25519, &shared.mlkem768, &epoch->mceliece, &hashed);
	shared_fini(&shared);
	forget_offer(epoch);
	if (outcome != 0)
		return outcome;
	if (!secret_is_equal(accept.confirm, epoch->keys.confirm_r.bytes, MESSAGE_CONFIRM_BYTES)) {
		schedule_epoch_fini(&epoch->keys);
		return EPOCH_UNCONFIRMED;
	}
	*length = message_encode_done(epoch->keys.confirm_i.bytes, out);
	return 0;
}

int epoch_confirm(const struct epoch *epoch, const struct frame *done)
{
	assert(secret_is_set(&epoch->keys.confirm_i));
	if (done->body_length != MESSAGE_CONFIRM_BYTES)
		return EPOCH_MALFORMED;
	if (!secret_is_equal(done->body, epoch->keys.confirm_i.bytes, MESSAGE_CONFIRM_BYTES))
		return EPOCH_UNCONFIRMED;
	return 0;
}
