// A packet on a data connection, one behind the other: `u16 length | packet`, or, when super-packets were agreed,
// `u32 length | 10 bytes of offload | packet` with the length of the packet alone. Pure. Spec: docs/vpn.md, "Parcels".

#pragma once

#include "packet/offload.h"

#include "core/outcome.h"

#include <stdint.h>

#define PARCEL_HEAD_BYTES 2
#define PARCEL_SUPER_HEAD_BYTES 14
// The largest packet that IP knows; with it the largest parcel.
#define PARCEL_PACKET_BYTES 65535
#define PARCEL_BYTES (PARCEL_SUPER_HEAD_BYTES + PARCEL_PACKET_BYTES)

struct parcel {
	const uint8_t *packet; // within what was given
	size_t length;
	struct offload offload;
	size_t used; // head and packet
};

static inline size_t parcel_head_bytes(bool is_super)
{
	return is_super ? PARCEL_SUPER_HEAD_BYTES : PARCEL_HEAD_BYTES;
}

// Writes parcel_head_bytes. Without is_super the packet must be complete, and the offload is not said.
void parcel_write_head(uint8_t *head, bool is_super, size_t length, const struct offload *offload);
// The first parcel of the bytes. 0, PARCEL_MORE: it is not complete, or PARCEL_BAD: it is none, and nothing behind it
// can be read. What the offload says still has to be judged against the packet.
enum { PARCEL_MORE = 1, PARCEL_BAD = 2 };
MUST_USE int parcel_read(const uint8_t *bytes, size_t length, bool is_super, struct parcel *parcel);
