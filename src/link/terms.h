// What the two ends of a packet tunnel must agree on, beside their build ids: an extension of HELLO. A node that is no
// end of such a tunnel says nothing of it. Pure. Spec: docs/protocol.md, "HELLO"; docs/vpn.md.

#pragma once

#include "core/codec.h"
#include "core/outcome.h"
#include "limits.h"

#include <stdbool.h>
#include <stdint.h>

// u16 type | u16 length | u16 streams | u32 mtu | u8 flags
#define TERMS_TYPE 3
#define TERMS_VALUE_BYTES 7

struct terms {
	bool is_given;
	uint16_t streams; // data connections that carry packets
	uint32_t mtu;
	bool takes_super; // super-packets with the kernel's header beside them; used when both take them
};

// Writes nothing when none are given.
void terms_encode(const struct terms *terms, struct writer *writer);
// The value of that extension. False: not acceptable.
bool terms_decode(const uint8_t *value, size_t length, struct terms *terms);

// One side of a comparison, as the texts call it.
struct terms_side {
	const char *role;
	const struct terms *terms;
	const char *build_id;
};
// True when both are ends of one tunnel, or neither is any; otherwise `text` names what differs, with both values.
bool terms_agree(const struct terms_side *ours, const struct terms_side *theirs, char text[LIMIT_REASON_BYTES + 1]);
