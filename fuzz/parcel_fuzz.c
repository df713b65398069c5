// Packets on a data connection, as a peer writes them: what is read lies within what was given, is written again to the
// same bytes, and whatever its offload says is cut into packets of which each fits its room, or refused.

#include "packet/packet.h"
#include "packet/parcel.h"
#include "packet/segment.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void cut(const struct parcel *parcel)
{
	static uint8_t out[PARCEL_PACKET_BYTES];
	struct segment segment;
	struct packet packet;
	if (packet_parse(parcel->packet, parcel->length, &packet) != 0 ||
	    segment_begin(&segment, parcel->packet, parcel->length, &parcel->offload) != 0)
		return;
	for (size_t room; (room = segment_room(&segment)) > 0;) {
		assert(room <= sizeof out);
		segment_next(&segment, out);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	bool is_super = data[0] & 1;
	size_t at = 1, head = parcel_head_bytes(is_super);
	struct parcel parcel;
	while (parcel_read(data + at, size - at, is_super, &parcel) == 0) {
		uint8_t again[PARCEL_SUPER_HEAD_BYTES];
		assert(parcel.packet == data + at + head && parcel.used == head + parcel.length && parcel.used <= size - at);
		parcel_write_head(again, is_super, parcel.length, &parcel.offload);
		assert(memcmp(again, data + at, head) == 0);
		cut(&parcel);
		at += parcel.used;
	}
	return 0;
}
