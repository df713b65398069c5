#include "packet/packet.h"

#include "limits.h"

#define IP4_BYTES 20
#define IP6_BYTES 40
#define TCP_BYTES 20
#define UDP_BYTES 8

enum {
	HOP_BY_HOP = 0,
	ROUTING = 43,
	FRAGMENT = 44,
	AUTHENTICATION = 51,
	DESTINATION = 60,
	MOBILITY = 135,
	HIP = 139,
	SHIM6 = 140
};

static int parse4(const uint8_t *bytes, size_t length, struct packet *packet)
{
	if (length < IP4_BYTES)
		return PACKET_BAD;
	size_t header = (size_t)(bytes[0] & 15) * 4, total = packet_read16(bytes + 2);
	if (header < IP4_BYTES || total < header || total > length)
		return PACKET_BAD;
	uint16_t fragment = packet_read16(bytes + 6);
	*packet = (struct packet){
		.version = 4,
		.protocol = bytes[9],
		.is_fragment = (fragment & 0x3fff) != 0,
		.has_payload = (fragment & 0x1fff) == 0,
		.is_plain = header == IP4_BYTES,
		.header_bytes = header,
		.length = total,
	};
	return 0;
}

static bool is_extension(uint8_t next)
{
	return next == HOP_BY_HOP || next == ROUTING || next == FRAGMENT || next == AUTHENTICATION || next == DESTINATION ||
	       next == MOBILITY || next == HIP || next == SHIM6;
}

// Steps over the extension header at packet->header_bytes. Spec: RFC 8200 4.1-4.6, RFC 4302 2.2 (its unit is 4 bytes).
static int step(const uint8_t *bytes, struct packet *packet)
{
	const uint8_t *at = bytes + packet->header_bytes;
	size_t left = packet->length - packet->header_bytes;
	if (left < 8)
		return PACKET_BAD;
	size_t size = packet->protocol == FRAGMENT         ? 8
	              : packet->protocol == AUTHENTICATION ? ((size_t)at[1] + 2) * 4
	                                                   : ((size_t)at[1] + 1) * 8;
	if (size > left)
		return PACKET_BAD;
	if (packet->protocol == FRAGMENT) {
		// A fragment that is all of its packet (RFC 6946) has offset 0 and nothing to follow.
		packet->is_fragment = (packet_read16(at + 2) & 0xfff9) != 0;
		packet->has_payload = (packet_read16(at + 2) & 0xfff8) == 0;
	}
	packet->protocol = at[0];
	packet->header_bytes += size;
	packet->is_plain = false;
	return 0;
}

static int parse6(const uint8_t *bytes, size_t length, struct packet *packet)
{
	if (length < IP6_BYTES || (size_t)packet_read16(bytes + 4) + IP6_BYTES > length)
		return PACKET_BAD;
	*packet = (struct packet){
		.version = 6,
		.protocol = bytes[6],
		.has_payload = true,
		.is_plain = true,
		.header_bytes = IP6_BYTES,
		.length = (size_t)packet_read16(bytes + 4) + IP6_BYTES,
	};
	// Hostile: a chain of headers is walked only so far.
	for (unsigned i = 0; is_extension(packet->protocol) && packet->has_payload; i++)
		if (i == LIMIT_EXTENSION_HEADERS || step(bytes, packet) != 0)
			return PACKET_BAD;
	return 0;
}

int packet_parse(const uint8_t *bytes, size_t length, struct packet *packet)
{
	if (length == 0)
		return PACKET_BAD;
	switch (bytes[0] >> 4) {
	case 4:
		return parse4(bytes, length, packet);
	case 6:
		return parse6(bytes, length, packet);
	default:
		return PACKET_BAD;
	}
}

size_t packet_transport_bytes(const uint8_t *bytes, const struct packet *packet)
{
	size_t left = packet->length - packet->header_bytes;
	if (!packet->has_payload)
		return 0;
	if (packet->protocol == PACKET_UDP)
		return left >= UDP_BYTES ? UDP_BYTES : 0;
	if (packet->protocol != PACKET_TCP || left < TCP_BYTES)
		return 0;
	size_t header = (size_t)(bytes[packet->header_bytes + 12] >> 4) * 4;
	return header >= TCP_BYTES && header <= left ? header : 0;
}
