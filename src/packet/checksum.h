// The Internet checksum (RFC 1071), its incremental form (RFC 1624), and the pseudo headers of TCP and UDP. Pure.
//
// A sum is 64 bits wide and may be passed on from part to part, as long as every part but the last has an even length.

#pragma once

#include <stddef.h>
#include <stdint.h>

// sum plus the bytes, as 16-bit words of this machine's order.
uint64_t checksum_add(uint64_t sum, const uint8_t *bytes, size_t length);
// The sum folded to 16 bits, not complemented: what a partial checksum field holds. In this machine's order: it is
// stored with memcpy.
uint16_t checksum_fold(uint64_t sum);
// Source, destination, protocol and length of the packet whose IP header (IPv4 or IPv6) begins at `ip`.
uint64_t checksum_pseudo(const uint8_t *ip, uint8_t protocol, size_t length);
// Spec: RFC 1624 3, equation 3. The checksum field at `field` after a 16-bit word (both in network order) was replaced.
void checksum_replace(uint8_t field[2], const uint8_t before[2], const uint8_t after[2]);
