// HELLO: what two nodes tell each other first, and what they make of it. Pure. Spec: docs/protocol.md, "HELLO".

#pragma once

#include "core/outcome.h"
#include "limits.h"
#include "link/control.h"
#include "link/frame.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HELLO_VERSION_SPOKEN 1
// Feature: the responder opens the streams of this link (a hub, and its agents). Both sides have it or neither.
#define HELLO_REVERSE 1u
#define HELLO_FRAME_BYTES (FRAME_HEADER_BYTES + LIMIT_HELLO_BYTES)

enum {
	HELLO_BAD = 1,     // malformed, or a text that is not printable ASCII
	HELLO_VERSION = 2, // the versions it offers do not include ours; hello->version is the highest of them
};

// The same hello gives the same bytes every time: they are hashed into the link's first key.
size_t hello_encode(const struct control_hello *hello, uint8_t out[HELLO_FRAME_BYTES]);
// The version is judged before the rest is read.
MUST_USE int hello_decode(const struct frame *frame, struct control_hello *hello);

// True for the three sets of legs that a kem_mode stands for.
bool hello_is_kem_mode(uint8_t legs);
// "hybrid", "mlkem768", "mceliece460896"; "an unknown kem_mode" for any other set.
const char *hello_kem_mode(uint8_t legs);

// Whether the two can form a link: CONTROL_REASON_NONE, or why not, with a text for both sides' logs.
enum control_reason hello_judge(const struct control_hello *ours, const struct control_hello *theirs,
                                char text[LIMIT_REASON_BYTES + 1]);
