// Joins consecutive packets of a flow into super-packets, so that a device takes in one call what it would have to take
// in forty: the reverse of packet/segment. Pure; payload is not copied but listed.
//
// What must not differ between the joined packets follows the kernel's own receive offload: addresses, ports, traffic
// class, hop limit, TCP flags, window, acknowledgement and options. Checksums are verified first, because the
// super-packet gets a new one: a damaged packet must stay damaged. Order within a flow is kept.

#pragma once

#include "packet/offload.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

// Flows at once: bulk flows are few; one more only means that the oldest super-packet is handed out early.
#define COALESCE_GROUPS 8
// Packets in one super-packet: 64 KiB of segments of 536 bytes, and a header.
#define COALESCE_PIECES 128
// IPv4 or IPv6 without options, and the longest TCP header.
#define COALESCE_HEADER_BYTES 100

// A packet or super-packet in `count` pieces, lent.
typedef void (*coalesce_fn)(void *owner, const struct offload *offload, const struct iovec *pieces, size_t count);

struct coalesce_group {
	const uint8_t *first; // NULL: free
	size_t first_length;
	struct offload first_offload;
	size_t ip_bytes, header_bytes;
	size_t segment_bytes, total; // payload of each packet but the last; of all
	uint32_t next_sequence;      // TCP
	uint16_t next_identification;
	uint8_t flags;            // TCP: PUSH of the last
	bool is_udp, is_verified; // the first packet's checksum is good
	uint64_t order;
	size_t count; // packets
	struct iovec pieces[COALESCE_PIECES + 1];
	uint8_t header[COALESCE_HEADER_BYTES];
};

struct coalesce {
	bool joins_tcp, joins_udp; // what the device can take
	coalesce_fn on_packet;
	void *owner;
	uint64_t order;
	struct coalesce_group groups[COALESCE_GROUPS];
};

void coalesce_init(struct coalesce *coalesce, coalesce_fn on_packet, void *owner);
// The packet is lent until coalesce_flush; it may be handed out at once.
void coalesce_add(struct coalesce *coalesce, const uint8_t *packet, size_t length);
// One whose checksum is left to whoever gets it (offload.needs_checksum, kind OFFLOAD_NONE): there is nothing to
// verify. What is not joined is handed out with its offload.
void coalesce_add_partial(struct coalesce *coalesce, const uint8_t *packet, size_t length,
                          const struct offload *offload);
// Hands out all that is left.
void coalesce_flush(struct coalesce *coalesce);
