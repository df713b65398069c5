// The wire of ttun, byte for byte: two nonces, a session key out of them and a pre-shared key, one proof each way, then
// a frame for each IP packet. An engine without socket, clock or random numbers; docs/psk.md describes the bytes.
//
// The limits of that wire: no forward secrecy, no renewal of keys, no heartbeat, no end that is authenticated.

#pragma once

#include "core/outcome.h"
#include "crypto/aead.h"

#include <stdbool.h>

#define TTUN_NONCE_BYTES 16
// Of a frame beyond its packet: length and tag.
#define TTUN_LENGTH_BYTES 2
#define TTUN_OVERHEAD_BYTES (TTUN_LENGTH_BYTES + AEAD_TAG_BYTES)
// The largest packet that a frame can hold, and the largest frame.
#define TTUN_PACKET_BYTES (65535 - AEAD_TAG_BYTES)
#define TTUN_FRAME_BYTES (TTUN_PACKET_BYTES + TTUN_OVERHEAD_BYTES)
// The most that ttun_speak ever writes at once: nonce and proof.
#define TTUN_SPEAK_BYTES 1344

enum ttun_role { TTUN_CLIENT, TTUN_SERVER };

struct ttun;

// K = BLAKE2s-256("ttun/psk/v1" || psk), a new secret. Negative: no memory.
MUST_USE int ttun_key(const void *psk, size_t length, struct secret *key);

// `nonce` must be random and new. The key is copied. Negative: no memory.
MUST_USE int ttun_new(enum ttun_role role, enum aead_cipher cipher, const struct secret *key,
                      const uint8_t nonce[TTUN_NONCE_BYTES], struct ttun **ttun);
void ttun_free(struct ttun **ttun);
// Before the handshake: not the wire of ttun, but the exchange of two qanat nodes (docs/psk.md, "--pq"). Both must use
// it: a peer that does not is TTUN_REFUSED.
void ttun_use_hybrid(struct ttun *ttun);
bool ttun_is_hybrid(const struct ttun *ttun);
// Hostile: whoever recorded a hello can send it again, and its key exchange costs the server more than the sender. A
// hybrid server asks this before any exchange, for a hello that is genuine; false: ttun_hear says TTUN_REPEATED.
typedef bool (*ttun_judge_fn)(void *owner, const uint8_t nonce[TTUN_NONCE_BYTES]);
void ttun_set_judge(struct ttun *ttun, ttun_judge_fn judge, void *owner);

// ---- the handshake: whatever speak gives is sent, whatever arrives is heard, until ttun_is_up

// What is to be sent next; 0 when it is the peer's turn.
size_t ttun_speak(struct ttun *ttun, uint8_t out[TTUN_SPEAK_BYTES]);
// 0: *used bytes were of use (ask ttun_speak, give the rest). TTUN_MORE: more bytes are needed, none were used.
// TTUN_REFUSED: the peer has another key or cipher, or does not speak this protocol. TTUN_REPEATED: the judge says no.
// Negative: no memory.
enum { TTUN_MORE = 1, TTUN_REFUSED = 2, TTUN_REPEATED = 4 };
MUST_USE int ttun_hear(struct ttun *ttun, uint8_t *bytes, size_t length, size_t *used);
// The length of the message that is awaited, all of it; 0 when none is.
size_t ttun_wants(const struct ttun *ttun);
// The peer has proved that it holds the key. (A server may still have to speak.)
bool ttun_is_up(const struct ttun *ttun);

// ---- packets. What is sent and what is received are two halves: ttun_open may run on one thread while another seals.
// Everything else of a session (sealing, the renewal of keys with ttun_hear_control, questions) is for one thread at a
// time, and ttun_hear_control moreover for the one that opens.

// Makes the frame of a packet of 1..TTUN_PACKET_BYTES that lies at frame + TTUN_LENGTH_BYTES; behind it there is room
// for the tag. Frames go out in the order in which they were sealed.
void ttun_seal(struct ttun *ttun, uint8_t *frame, size_t length);
// The same in two steps, for many frames at once: each is laid, one behind the other, and then all `length` bytes of
// them are sealed.
void ttun_lay(uint8_t *frame, size_t length);
void ttun_seal_laid(struct ttun *ttun, uint8_t *frames, size_t length);

struct ttun_packet {
	uint8_t *bytes; // within what was given
	size_t length;  // may be 0
	size_t used;    // the whole frame
};
// Opens the first of the frames in `bytes`, in place. 0, TTUN_MORE: it is not complete, or TTUN_REFUSED: it is no
// frame, or forged, and no later one can be opened.
// TTUN_CONTROL: it is of the renewal of keys: to be given to ttun_hear_control before anything else is opened.
enum { TTUN_CONTROL = 3 };
MUST_USE int ttun_open(struct ttun *ttun, uint8_t *bytes, size_t length, struct ttun_packet *packet);

// ---- renewal of keys, in a hybrid session

// The client asks for new keys. False: nothing was begun (not a hybrid client's session, one is under way, no memory).
bool ttun_renew(struct ttun *ttun);
bool ttun_is_renewing(const struct ttun *ttun);
// How often the keys have been renewed.
uint32_t ttun_generation(const struct ttun *ttun);
// 0: ttun_speak_control may have something to say. TTUN_REFUSED: out of turn, or no such frame. Negative: no memory for
// new keys.
MUST_USE int ttun_hear_control(struct ttun *ttun, const struct ttun_packet *packet);
bool ttun_has_control(const struct ttun *ttun);
// The frame that is to go out before any other is sealed; 0: none.
size_t ttun_speak_control(struct ttun *ttun, uint8_t out[TTUN_SPEAK_BYTES]);
