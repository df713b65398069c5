#include "packet/parcel.h"

#include "packet/packet.h"

enum { HAS_ECN = 1, NEEDS_CHECKSUM = 2, KNOWN_FLAGS = 3 };

void parcel_write_head(uint8_t *head, bool is_super, size_t length, const struct offload *offload)
{
	if (!is_super) {
		packet_write16(head, length);
		return;
	}
	packet_write32(head, (uint32_t)length);
	head[4] = (uint8_t)((offload->has_ecn ? HAS_ECN : 0) | (offload->needs_checksum ? NEEDS_CHECKSUM : 0));
	head[5] = (uint8_t)offload->kind;
	packet_write16(head + 6, offload->header_bytes);
	packet_write16(head + 8, offload->segment_bytes);
	packet_write16(head + 10, offload->checksum_start);
	packet_write16(head + 12, offload->checksum_offset);
}

// Hostile: whoever sends it may write anything here.
static bool read_offload(const uint8_t *head, struct offload *offload)
{
	if ((head[4] & ~KNOWN_FLAGS) != 0 || head[5] > OFFLOAD_UDP)
		return false;
	*offload = (struct offload){
		.kind = (enum offload_kind)head[5],
		.has_ecn = (head[4] & HAS_ECN) != 0,
		.needs_checksum = (head[4] & NEEDS_CHECKSUM) != 0,
		.header_bytes = packet_read16(head + 6),
		.segment_bytes = packet_read16(head + 8),
		.checksum_start = packet_read16(head + 10),
		.checksum_offset = packet_read16(head + 12),
	};
	return true;
}

int parcel_read(const uint8_t *bytes, size_t length, bool is_super, struct parcel *parcel)
{
	size_t head = parcel_head_bytes(is_super);
	struct offload offload = {0};
	if (length < head)
		return PARCEL_MORE;
	// Hostile: judged before anything is waited for.
	size_t packet = is_super ? packet_read32(bytes) : packet_read16(bytes);
	if (packet == 0 || packet > PARCEL_PACKET_BYTES || (is_super && !read_offload(bytes, &offload)))
		return PARCEL_BAD;
	if (length - head < packet)
		return PARCEL_MORE;
	*parcel = (struct parcel){.packet = bytes + head, .length = packet, .offload = offload, .used = head + packet};
	return 0;
}
