// The session of wire/ttun, shared by its files.

#pragma once

#include "wire/ttun.h"

#include "crypto/digest.h"
#include "crypto/kem.h"

enum ttun_stage {
	TTUN_NONCE_OUT,  // client: its nonce or hello is to be sent
	TTUN_NONCE_IN,   // the peer's is awaited
	TTUN_ANSWER_OUT, // ours is to be sent: server its nonce or answer, client its proof
	TTUN_PROOF_IN,   // the peer's proof is awaited
	TTUN_PROOF_OUT,  // server, plain: its own is to be sent
	TTUN_UP,
};

struct ttun_half { // one direction
	struct aead *aead;
	uint8_t direction;
	uint64_t counter;
};

enum ttun_hybrid_message { TTUN_NOTHING, TTUN_OFFER, TTUN_ACCEPT, TTUN_DONE };

// Everything that the plain wire does not have.
struct ttun_hybrid {
	struct secret psk, chain; // psk: gone after the handshake
	struct kem_key *x25519, *mlkem;
	uint8_t transcript[DIGEST_BYTES]; // of the exchange under way: hello or offer
	uint8_t confirm[DIGEST_BYTES];    // what the peer has to prove
	uint8_t message[TTUN_SPEAK_BYTES];
	size_t length; // of the answer or accept that waits to be spoken
	enum ttun_hybrid_message to_send, awaited;
	struct aead *next; // key of the direction that changes last
	uint32_t generation;
};

struct ttun {
	enum ttun_role role;
	enum aead_cipher cipher;
	enum ttun_stage stage;
	bool is_hybrid;
	ttun_judge_fn judge; // may be NULL
	void *judge_owner;
	struct secret key;
	uint8_t nonce[TTUN_NONCE_BYTES];
	struct ttun_half tx, rx;
	struct ttun_hybrid hybrid;
};

// ---- ttun_hybrid.c

void ttun_hybrid_fini(struct ttun *ttun);
// The handshake's three messages; as ttun_speak and ttun_hear.
size_t ttun_hybrid_speak(struct ttun *ttun, uint8_t *out);
MUST_USE int ttun_hybrid_hear(struct ttun *ttun, uint8_t *bytes, size_t length, size_t *used);
size_t ttun_hybrid_wants(const struct ttun *ttun);

// The key schedule: chain' = HKDF-Extract(salt = transcript, ikm = chain || x25519 || mlkem).
MUST_USE int ttun_hybrid_mix(struct secret *chain, const uint8_t transcript[DIGEST_BYTES], const struct secret *x25519,
                             const struct secret *mlkem);
// "client key", "server key" (32 bytes), "client confirm", "server confirm" (48 bytes) of a chain.
MUST_USE int ttun_hybrid_expand(const struct secret *chain, const char *label, size_t length, struct secret *out);
