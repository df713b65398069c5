// IP packets as a peer or a device may give them: a list of records "u16 length | packet", parsed, clamped, cut into
// segments of a size taken from the input, and joined. Nothing is lost, and what is joined can be cut again.

#include "packet/coalesce.h"
#include "packet/icmp.h"
#include "packet/mss.h"
#include "packet/packet.h"
#include "packet/segment.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MOST 65535
static uint8_t out[MOST + 1], joined[MOST + 1];
static size_t given, received;

static void on_packet(void *owner, const struct offload *offload, const struct iovec *pieces, size_t count)
{
	(void)owner;
	size_t length = 0, payload = 0;
	struct segment segment;
	assert(count >= 1 && count <= COALESCE_PIECES + 1);
	for (size_t i = 0; i < count; i++) {
		assert(pieces[i].iov_len <= MOST - length);
		memcpy(joined + length, pieces[i].iov_base, pieces[i].iov_len);
		length += pieces[i].iov_len;
	}
	if (offload->kind == OFFLOAD_NONE) {
		assert(count == 1);
		received += length;
		return;
	}
	assert(segment_begin(&segment, joined, length, offload) == 0);
	for (size_t room; (room = segment_room(&segment)) > 0; received += room, payload += room - segment.header_bytes) {
		assert(room <= MOST);
		segment_next(&segment, out);
	}
	assert(payload == length - segment.header_bytes);
}

static void try_parse(const uint8_t *bytes, size_t length)
{
	struct packet packet;
	if (packet_parse(bytes, length, &packet) != 0)
		return;
	assert(packet.length <= length && packet.header_bytes <= packet.length);
	assert(packet.header_bytes + packet_transport_bytes(bytes, &packet) <= packet.length);
}

static void try_segment(const uint8_t *bytes, size_t length, uint16_t choice)
{
	struct segment segment;
	struct offload offload = {
		.kind = (enum offload_kind)(choice & 3),
		.has_ecn = (choice & 4) != 0,
		.needs_checksum = (choice & 8) != 0,
		.segment_bytes = (uint16_t)(choice >> 4),
		.checksum_start = (uint16_t)(choice & 63),
		.checksum_offset = (uint16_t)(choice >> 8 & 31),
	};
	if (segment_begin(&segment, bytes, length, &offload) != 0)
		return;
	for (size_t room; (room = segment_room(&segment)) > 0;) {
		assert(room <= length);
		segment_next(&segment, out);
	}
}

static void try_clamp(const uint8_t *bytes, size_t length, uint16_t mtu)
{
	static uint8_t answer[ICMP_MOST_BYTES];
	size_t answered = icmp_too_big(bytes, length, mtu, answer);
	struct packet parsed;
	assert(answered == 0 || packet_parse(answer, answered, &parsed) == 0);
	assert(icmp_too_big(answer, answered, mtu, out) == 0); // an answer to an answer
	memcpy(out, bytes, length);
	if (mss_clamp(out, length, mtu))
		assert(!mss_clamp(out, length, mtu));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct coalesce coalesce;
	coalesce_init(&coalesce, on_packet, NULL);
	coalesce.joins_tcp = coalesce.joins_udp = true;
	given = received = 0;
	uint16_t choice = size >= 2 ? packet_read16(data) : 0;
	for (size_t at = 2; at + 2 <= size;) {
		size_t length = packet_read16(data + at);
		at += 2;
		length = length < size - at ? length : size - at;
		try_parse(data + at, length);
		try_segment(data + at, length, choice);
		try_clamp(data + at, length, choice);
		coalesce_add(&coalesce, data + at, length);
		given += length;
		at += length;
	}
	coalesce_flush(&coalesce);
	assert(given == received);
	return 0;
}
