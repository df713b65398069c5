// What stands beside a packet that a device leaves to us, or we to it: a checksum still to be computed, and the cutting
// of one large packet (a super-packet) into many. edge/tun translates it to and from the kernel's virtio header.

#pragma once

#include <stdbool.h>
#include <stdint.h>

enum offload_kind {
	OFFLOAD_NONE, // one packet
	OFFLOAD_TCP4, // segments of one TCP stream
	OFFLOAD_TCP6,
	OFFLOAD_UDP, // datagrams of one size, the last may be shorter; IPv4 or IPv6
};

// The null value: a packet, complete.
struct offload {
	enum offload_kind kind;
	bool has_ecn;           // TCP: the first segment carries CWR, the others must not
	bool needs_checksum;    // always so unless kind is OFFLOAD_NONE
	uint16_t segment_bytes; // payload of each segment
	uint16_t header_bytes;  // IP and transport header
	uint16_t checksum_start, checksum_offset;
};
