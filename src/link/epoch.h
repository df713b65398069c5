// One epoch exchange, both sides: EPOCH_OFFER, EPOCH_ACCEPT, EPOCH_DONE, and the keys that come out of them. Which
// message is due, and when, is link/control's business. Spec: docs/protocol.md, "Epochs".

#pragma once

#include "core/outcome.h"
#include "core/secret.h"
#include "crypto/kem.h"
#include "link/message.h"
#include "link/schedule.h"

#include <stdint.h>

// EPOCH_RETRYs in one exchange: the responder's key may have gone once while the offer was under way, and once more
// while half a megabyte of KEY travelled on a slow link.
#define EPOCH_RETRIES_MAX 2

enum {
	EPOCH_MALFORMED = 1,
	EPOCH_WRONG_NUMBER = 2,
	EPOCH_WRONG_LEGS = 3,
	EPOCH_BAD_KEY = 4,     // a public key or ciphertext that cannot be used
	EPOCH_UNCONFIRMED = 5, // the two sides do not have the same keys, or not the same transcript
	EPOCH_KEY_GONE = 6,    // the McEliece key of the offer is not held any more
};
const char *epoch_outcome_name(int outcome);

// The null value {0} is no exchange. On any failure the caller ends the link and calls epoch_fini.
struct epoch {
	uint32_t number;
	uint8_t legs;
	struct kem_key *x25519, *mlkem768; // initiator's, from offer to accept
	struct secret mceliece;            // likewise
	uint8_t mceliece_digest[DIGEST_BYTES];
	uint8_t offer_digest[DIGEST_BYTES];
	struct schedule_epoch keys; // both: from the accept on
};
void epoch_fini(struct epoch *epoch);

// What an offer or an accept must agree with. `chain` is that of the epoch before; only finish and accept read it.
struct epoch_terms {
	uint32_t number;
	uint8_t legs;
	const struct secret *chain;
};

// Initiator: fresh ephemeral keys, and the EPOCH_OFFER frame. The McEliece key and its digest are needed (and read)
// only when that leg is agreed. 0, EPOCH_BAD_KEY, or negative.
MUST_USE int epoch_offer(struct epoch *epoch, const struct epoch_terms *terms,
                         const uint8_t mceliece_digest[DIGEST_BYTES], const uint8_t *mceliece_key,
                         uint8_t out[MESSAGE_OFFER_FRAME_BYTES], size_t *length);

// As control_ops.key_decapsulate.
typedef int (*epoch_decapsulate_fn)(void *owner, const uint8_t digest[DIGEST_BYTES], const uint8_t *ciphertext,
                                    struct secret *shared);
// Responder: the EPOCH_ACCEPT frame that answers the offer. The keys are in epoch->keys, confirmed by nobody yet.
MUST_USE int epoch_accept(struct epoch *epoch, const struct epoch_terms *terms, const struct frame *offer,
                          epoch_decapsulate_fn decapsulate, void *owner, uint8_t out[MESSAGE_ACCEPT_FRAME_BYTES],
                          size_t *length);
// Initiator: checks the responder's confirmation. On 0 the keys are in epoch->keys and the EPOCH_DONE frame in `out`.
MUST_USE int epoch_finish(struct epoch *epoch, const struct epoch_terms *terms, const struct frame *accept,
                          uint8_t out[MESSAGE_SMALL_FRAME_BYTES], size_t *length);
// Responder: checks the initiator's confirmation.
MUST_USE int epoch_confirm(const struct epoch *epoch, const struct frame *done);
