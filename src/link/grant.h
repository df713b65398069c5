// The addresses within a packet tunnel: what an initiator has or asks for, and what a responder with many clients gives
// it. An extension of HELLO; who has nothing to say leaves it out. Pure. Spec: docs/protocol.md, "HELLO"; docs/vpn.md.

#pragma once

#include "core/codec.h"
#include "core/outcome.h"
#include "limits.h"
#include "policy/cidr.h"

#include <stdbool.h>
#include <stdint.h>

#define GRANT_TYPE 4
// u8 flags | [4 | u8] | [16 | u8] | u8 count | count * (u8 version | u8 bits | 4 or 16)
#define GRANT_VALUE_BYTES (2 + 5 + 17 + LIMIT_GRANT_ROUTES * 18)

struct grant_network {
	uint8_t version;   // 4, 6; 0: none
	uint8_t bits;      // of its prefix
	uint8_t bytes[16]; // 4 of them, or all
};

struct grant {
	bool is_given;                   // the extension is there
	bool asks4, asks6;               // initiator: it cannot do without one
	struct grant_network ipv4, ipv6; // initiator: what it has set itself; responder: what the initiator gets
	unsigned route_count;            // responder: networks reached through the tunnel; taken by who wants them
	struct grant_network routes[LIMIT_GRANT_ROUTES];
};

// Writes nothing when there is none.
void grant_encode(const struct grant *grant, struct writer *writer);
// The value of that extension. False: not acceptable. Hostile: addresses are those that a host may have in a network
// (not loopback, multicast, unspecified or link-local), networks have no host bits.
bool grant_decode(const uint8_t *value, size_t length, struct grant *grant);

// "192.168.3.2/24", "fd03::2"; without "/", one host. False: it is neither.
bool grant_parse(const char *text, struct grant_network *network);
// One that a host may have, with a prefix of at least one bit.
bool grant_is_host(const struct grant_network *address);
bool grant_is_network(const struct grant_network *network); // no host bits
void grant_normalise(struct grant_network *network);
bool grant_covers(const struct grant_network *network, const struct grant_network *address);
bool grant_is_same_network(const struct grant_network *a, const struct grant_network *b);
// As lists of ranges have it.
struct cidr grant_to_cidr(const struct grant_network *network);

bool grant_is_same(const struct grant *a, const struct grant *b);
#define GRANT_TEXT_BYTES 64
// "192.168.3.2/24", "none"
void grant_format(const struct grant_network *network, char text[GRANT_TEXT_BYTES]);

// What the initiator says against what the responder gives: false when they disagree; `text` has both values.
bool grant_agree(const struct grant *initiator, const struct grant *responder, char text[LIMIT_REASON_BYTES + 1]);
