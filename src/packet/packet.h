// What an IP packet is, found out without believing it: version, lengths, where its payload begins and what that is.
// Pure. RFC 791, RFC 8200.

#pragma once

#include "core/outcome.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PACKET_ICMP = 1, PACKET_TCP = 6, PACKET_UDP = 17, PACKET_ICMP6 = 58 };

struct packet {
	uint8_t version;     // 4 or 6
	uint8_t protocol;    // of the payload behind all extension headers
	bool is_fragment;    // a part of a larger packet
	bool has_payload;    // false: a fragment other than the first, whose payload does not begin with a header
	bool is_plain;       // no IPv4 options, no IPv6 extension headers
	size_t header_bytes; // where the payload begins
	size_t length;       // of the whole packet as its header says; at most the bytes given
};

// 0 or PACKET_BAD: not IPv4 or IPv6, cut off, or with more extension headers than anybody sends. Jumbograms (RFC 2675)
// are PACKET_BAD as well.
enum { PACKET_BAD = 1 };
MUST_USE int packet_parse(const uint8_t *bytes, size_t length, struct packet *packet);

// The whole TCP header (options included) or UDP header of a packet, 0 when there is none.
size_t packet_transport_bytes(const uint8_t *bytes, const struct packet *packet);

static inline uint16_t packet_read16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static inline void packet_write16(uint8_t *at, size_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static inline uint32_t packet_read32(const uint8_t *at)
{
	return (uint32_t)packet_read16(at) << 16 | packet_read16(at + 2);
}

static inline void packet_write32(uint8_t *at, uint32_t value)
{
	packet_write16(at, value >> 16);
	packet_write16(at + 2, value & 0xffff);
}
