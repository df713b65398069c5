// The messages of a control connection, one encoder and one decoder each (HELLO has link/hello.h). Encoders write whole
// frames; decoders check every byte of a body and lend views into it. Pure. Spec: docs/protocol.md, "Messages".

#pragma once

#include "core/outcome.h"
#include "crypto/digest.h"
#include "crypto/kem.h"
#include "limits.h"
#include "link/control.h"
#include "link/frame.h"

#include <stdbool.h>
#include <stdint.h>

enum message_type {
	MESSAGE_HELLO = 1,
	MESSAGE_KEY_WANT = 2,
	MESSAGE_KEY = 3,
	MESSAGE_EPOCH_OFFER = 4,
	MESSAGE_EPOCH_ACCEPT = 5,
	MESSAGE_EPOCH_DONE = 6,
	MESSAGE_OPEN = 7,
	MESSAGE_OPEN_FAILED = 8,
	MESSAGE_PING = 9,
	MESSAGE_PONG = 10,
	MESSAGE_GOAWAY = 11,
	MESSAGE_CLOSE = 12,
	MESSAGE_EPOCH_WANT = 13,
	MESSAGE_EPOCH_RETRY = 14,
};

enum {
	MESSAGE_OPTIONAL = 0x80, // types with this bit may be skipped by who does not know them
	MESSAGE_PING_BYTES = 8,
	MESSAGE_CONFIRM_BYTES = DIGEST_BYTES,
	MESSAGE_OFFER_MAX_BYTES = 4 + 1 + X25519_BYTES + MLKEM768_KEY_BYTES + DIGEST_BYTES +
	                          MCELIECE_CIPHERTEXT_BYTES, // 1425
	MESSAGE_ACCEPT_MAX_BYTES = 4 + X25519_BYTES + MLKEM768_CIPHERTEXT_BYTES + MESSAGE_CONFIRM_BYTES,
	MESSAGE_CLOSE_MAX_BYTES = 2 + 2 + LIMIT_REASON_BYTES,
	MESSAGE_OPEN_MAX_BYTES = STREAM_TOKEN_BYTES + 4 + 2 + LIMIT_SERVICE_NAME_BYTES,
	MESSAGE_OPEN_FAILED_MAX_BYTES = STREAM_TOKEN_BYTES + 1 + 2 + LIMIT_REASON_BYTES,
	MESSAGE_OFFER_FRAME_BYTES = FRAME_HEADER_BYTES + MESSAGE_OFFER_MAX_BYTES,
	MESSAGE_ACCEPT_FRAME_BYTES = FRAME_HEADER_BYTES + MESSAGE_ACCEPT_MAX_BYTES,
	MESSAGE_SMALL_FRAME_BYTES = FRAME_HEADER_BYTES + MESSAGE_OPEN_FAILED_MAX_BYTES, // every other message we write
};
_Static_assert(MESSAGE_OFFER_MAX_BYTES <= LIMIT_CONTROL_BYTES, "an offer with all legs is a small message");

// "EPOCH_OFFER"; "unknown message" for a type that has no name.
const char *message_name(uint8_t type);
bool message_is_known(uint8_t type);

// Body lengths that a message may have on a link with these legs (0 while they are not agreed). The type is known.
struct message_length {
	uint32_t least, most;
};
struct message_length message_length(enum message_type type, uint8_t legs);

// True when every byte is printable ASCII (0x20 to 0x7e).
bool message_text_is_printable(const char *text);
// Replaces every other byte by '?'.
void message_text_clean(char *text);

// A body that cannot be meant.
enum { MESSAGE_BAD = 1 };

// KEY_WANT and EPOCH_WANT have no body.
size_t message_encode_empty(enum message_type type, uint8_t out[MESSAGE_SMALL_FRAME_BYTES]);
// PING or PONG.
size_t message_encode_ping(enum message_type type, const uint8_t opaque[MESSAGE_PING_BYTES],
                           uint8_t out[MESSAGE_SMALL_FRAME_BYTES]);
// EPOCH_RETRY: the digest of the KEY that follows.
size_t message_encode_retry(const uint8_t digest[DIGEST_BYTES], uint8_t out[MESSAGE_SMALL_FRAME_BYTES]);
// EPOCH_DONE.
size_t message_encode_done(const uint8_t confirm[MESSAGE_CONFIRM_BYTES], uint8_t out[MESSAGE_SMALL_FRAME_BYTES]);

size_t message_encode_goaway(enum control_reason reason, uint32_t deadline_ms, uint8_t out[MESSAGE_SMALL_FRAME_BYTES]);
MUST_USE int message_decode_goaway(const struct frame *frame, enum control_reason *reason, uint32_t *deadline_ms);

// The text is cut at LIMIT_REASON_BYTES and cleaned, in both directions. A code that is not ours (or 0) is decoded as
// CONTROL_REASON_INTERNAL, with the number in front of the text.
size_t message_encode_close(enum control_reason reason, const char *text, uint8_t out[MESSAGE_SMALL_FRAME_BYTES]);
MUST_USE int message_decode_close(const struct frame *frame, enum control_reason *reason,
                                  char text[LIMIT_REASON_BYTES + 1]);

size_t message_encode_open(const struct control_open *open, uint8_t out[MESSAGE_SMALL_FRAME_BYTES]);
MUST_USE int message_decode_open(const struct frame *frame, struct control_open *open);
// Reasons are treated like texts of CLOSE; a status that is not listed is decoded as HEADER_INTERNAL.
size_t message_encode_open_failed(const uint8_t token[STREAM_TOKEN_BYTES], const struct header_answer *answer,
                                  uint8_t out[MESSAGE_SMALL_FRAME_BYTES]);
MUST_USE int message_decode_open_failed(const struct frame *frame, uint8_t token[STREAM_TOKEN_BYTES],
                                        struct header_answer *answer);

// Fields of legs that are absent are NULL.
struct message_offer {
	uint32_t epoch;
	uint8_t legs;
	const uint8_t *x25519;              // X25519_BYTES
	const uint8_t *mlkem768;            // MLKEM768_KEY_BYTES
	const uint8_t *mceliece_digest;     // DIGEST_BYTES
	const uint8_t *mceliece_ciphertext; // MCELIECE_CIPHERTEXT_BYTES
};
size_t message_encode_offer(const struct message_offer *offer, uint8_t out[MESSAGE_OFFER_FRAME_BYTES]);
MUST_USE int message_decode_offer(const struct frame *frame, struct message_offer *offer);

struct message_accept {
	uint32_t epoch;
	const uint8_t *x25519;   // X25519_BYTES
	const uint8_t *mlkem768; // MLKEM768_CIPHERTEXT_BYTES
	const uint8_t *confirm;  // MESSAGE_CONFIRM_BYTES; NULL when encoding: zeros, its owner fills them in
};
// The confirmation is the last MESSAGE_CONFIRM_BYTES of the frame.
size_t message_encode_accept(const struct message_accept *accept, uint8_t out[MESSAGE_ACCEPT_FRAME_BYTES]);
MUST_USE int message_decode_accept(const struct frame *frame, uint8_t legs, struct message_accept *accept);
