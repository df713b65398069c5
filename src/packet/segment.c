#include "packet/segment.h"

#include "limits.h"
#include "packet/checksum.h"
#include "packet/packet.h"

#include <string.h>

#define TCP_CHECKSUM 16
#define UDP_CHECKSUM 6
#define TCP_FLAGS 13

enum { FIN = 0x01, PUSH = 0x08, CWR = 0x80 };

static size_t checksum_offset_of(const struct packet *packet)
{
	return packet->protocol == PACKET_UDP ? UDP_CHECKSUM : TCP_CHECKSUM;
}

static bool has_transport(const struct packet *packet, const uint8_t *bytes)
{
	return !packet->is_fragment && packet_transport_bytes(bytes, packet) > 0;
}

// Hostile: a checksum written elsewhere would change what has been judged, a source address say.
static bool is_in_place(const struct packet *packet, const uint8_t *bytes, const struct offload *offload)
{
	return has_transport(packet, bytes) && offload->needs_checksum && offload->checksum_start == packet->header_bytes &&
	       offload->checksum_offset == checksum_offset_of(packet);
}

static bool is_of_kind(const struct packet *packet, enum offload_kind kind)
{
	switch (kind) {
	case OFFLOAD_NONE:
		return true;
	case OFFLOAD_TCP4:
		return packet->version == 4 && packet->protocol == PACKET_TCP;
	case OFFLOAD_TCP6:
		return packet->version == 6 && packet->protocol == PACKET_TCP;
	case OFFLOAD_UDP:
		return packet->protocol == PACKET_UDP;
	}
	return false;
}

int segment_begin(struct segment *segment, const uint8_t *packet, size_t length, const struct offload *offload)
{
	struct packet parsed;
	*segment = (struct segment){.packet = packet, .length = length, .offload = *offload};
	if (offload->kind == OFFLOAD_NONE && !offload->needs_checksum)
		return length == 0 ? SEGMENT_BAD : 0;
	if (packet_parse(packet, length, &parsed) != 0 || !is_in_place(&parsed, packet, offload) ||
	    !is_of_kind(&parsed, offload->kind))
		return SEGMENT_BAD;
	if (offload->kind == OFFLOAD_NONE)
		return 0;
	segment->transport = parsed.header_bytes;
	segment->header_bytes = parsed.header_bytes + packet_transport_bytes(packet, &parsed);
	segment->length = parsed.length;
	segment->at = segment->header_bytes;
	if (offload->segment_bytes == 0 || segment->at == segment->length)
		return SEGMENT_BAD;
	if (parsed.version == 4)
		segment->identification = packet_read16(packet + 4);
	if (parsed.protocol == PACKET_TCP)
		segment->sequence = packet_read32(packet + segment->transport + 4);
	return 0;
}

bool segment_is_worth_it(const struct offload *offload)
{
	return offload->kind == OFFLOAD_NONE || offload->segment_bytes >= LIMIT_SEGMENT_BYTES;
}

static size_t payload_of(const struct segment *segment)
{
	size_t left = segment->length - segment->at;
	return left < segment->offload.segment_bytes ? left : segment->offload.segment_bytes;
}

size_t segment_room(const struct segment *segment)
{
	if (segment->at == segment->length)
		return 0;
	return segment->offload.kind == OFFLOAD_NONE ? segment->length : segment->header_bytes + payload_of(segment);
}

static void write_checksum(uint8_t *field, uint64_t sum)
{
	// Spec: RFC 768. A computed zero is sent as ones; for TCP both mean the same.
	uint16_t check = (uint16_t)~checksum_fold(sum);
	check = check == 0 ? 0xffff : check;
	memcpy(field, &check, sizeof check);
}

// The field holds the sum of the pseudo header, so it is summed with the rest.
static void complete(uint8_t *packet, size_t length, const struct offload *offload)
{
	size_t start = offload->checksum_start;
	write_checksum(packet + start + offload->checksum_offset, checksum_add(0, packet + start, length - start));
}

static void write_whole(struct segment *segment, uint8_t *out)
{
	const struct offload *offload = &segment->offload;
	memcpy(out, segment->packet, segment->length);
	segment->at = segment->length;
	if (offload->needs_checksum)
		complete(out, segment->length, offload);
}

static void write_ip(struct segment *segment, uint8_t *out, size_t size)
{
	if (out[0] >> 4 == 6) {
		packet_write16(out + 4, size - 40);
		return;
	}
	packet_write16(out + 2, size);
	packet_write16(out + 4, segment->identification++);
	uint16_t check = 0;
	memcpy(out + 10, &check, sizeof check);
	check = (uint16_t)~checksum_fold(checksum_add(0, out, (size_t)(out[0] & 15) * 4));
	memcpy(out + 10, &check, sizeof check);
}

static void write_tcp(const struct segment *segment, uint8_t *tcp, bool is_last)
{
	size_t done = segment->at - segment->header_bytes;
	packet_write32(tcp + 4, segment->sequence + (uint32_t)done);
	if (!is_last)
		tcp[TCP_FLAGS] &= (uint8_t)(0xff ^ (FIN | PUSH));
	if (done > 0 && segment->offload.has_ecn)
		tcp[TCP_FLAGS] &= (uint8_t)~CWR;
}

void segment_next(struct segment *segment, uint8_t *out)
{
	if (segment->offload.kind == OFFLOAD_NONE) {
		write_whole(segment, out);
		return;
	}
	size_t payload = payload_of(segment), size = segment->header_bytes + payload;
	bool is_udp = segment->offload.kind == OFFLOAD_UDP;
	uint8_t *transport = out + segment->transport, *field = transport + (is_udp ? UDP_CHECKSUM : TCP_CHECKSUM);
	memcpy(out, segment->packet, segment->header_bytes);
	memcpy(out + segment->header_bytes, segment->packet + segment->at, payload);
	write_ip(segment, out, size);
	if (is_udp)
		packet_write16(transport + 4, size - segment->transport);
	else
		write_tcp(segment, transport, segment->at + payload == segment->length);
	memset(field, 0, 2);
	uint64_t sum = checksum_pseudo(out, is_udp ? PACKET_UDP : PACKET_TCP, size - segment->transport);
	write_checksum(field, checksum_add(sum, transport, size - segment->transport));
	segment->at += payload;
}

// A kernel that knows the checksums of what it has joined to be good leaves them as they are.
static void make_partial(uint8_t *packet, const struct packet *parsed, struct offload *offload)
{
	uint64_t sum = checksum_pseudo(packet, parsed->protocol, parsed->length - parsed->header_bytes);
	uint16_t check = checksum_fold(sum);
	offload->needs_checksum = true;
	offload->checksum_start = (uint16_t)parsed->header_bytes;
	offload->checksum_offset = (uint16_t)checksum_offset_of(parsed);
	memcpy(packet + parsed->header_bytes + offload->checksum_offset, &check, sizeof check);
}

void segment_settle(uint8_t *packet, size_t length, struct offload *offload)
{
	struct packet parsed;
	bool is_super = offload->kind != OFFLOAD_NONE;
	if (is_super == offload->needs_checksum || packet_parse(packet, length, &parsed) != 0)
		return;
	if (is_super && has_transport(&parsed, packet))
		make_partial(packet, &parsed, offload);
	if (is_super || is_in_place(&parsed, packet, offload) ||
	    (size_t)offload->checksum_start + offload->checksum_offset + 2 > length)
		return;
	complete(packet, length, offload);
	*offload = (struct offload){0};
}
