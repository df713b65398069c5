// Cuts a super-packet into the packets that it stands for, and completes the checksum of a packet that lacks it. Pure:
// one packet at a time into the caller's buffer, so that neither a small segment size nor a full socket is a problem.

#pragma once

#include "packet/offload.h"

#include "core/outcome.h"

#include <stddef.h>
#include <stdint.h>

struct segment {
	const uint8_t *packet;          // lent
	size_t length, at;              // at: payload done so far, `length` when all is
	size_t header_bytes, transport; // all headers; where the transport header begins
	struct offload offload;
	uint32_t sequence; // TCP: of the first byte
	uint16_t identification;
};

// What this host's own kernel says, before segment_begin: a checksum that lacks elsewhere than in the TCP or UDP header
// behind the IP header (that of a packet in a tunnel, say) is completed at once, and the offload is that of a complete
// packet; that of a super-packet is always left to be completed.
void segment_settle(uint8_t *packet, size_t length, struct offload *offload);

// The packet is lent until the last segment is out. SEGMENT_BAD: what the offload says does not fit the packet. A
// checksum is only completed where TCP or UDP has it: nothing else of a packet ever changes by it.
enum { SEGMENT_BAD = 1 };
MUST_USE int segment_begin(struct segment *segment, const uint8_t *packet, size_t length,
                           const struct offload *offload);
// False: so many packets of so few bytes each that nobody should send them as one; they are sent one by one.
bool segment_is_worth_it(const struct offload *offload);
// Bytes that the next packet takes, 0 when there is none.
size_t segment_room(const struct segment *segment);
// Writes the next packet, complete with checksums: segment_room bytes.
void segment_next(struct segment *segment, uint8_t *out);
