// ICMP answers to packets that cannot be carried. Pure. RFC 792, RFC 1191, RFC 1812 4.3.2.7, RFC 4443.

#pragma once

#include <stddef.h>
#include <stdint.h>

// IPv4 576 bytes, IPv6 1280: what an answer may be at most.
#define ICMP_MOST_BYTES 1280

// "Packet too big", from the packet's destination to its source, with the largest size that would do. Returns the
// length of the answer; 0 when there must be none: the packet is itself an ICMP error, a later fragment, comes from or
// goes to an address that is not one host's, or is no IP packet.
size_t icmp_too_big(const uint8_t *packet, size_t length, size_t mtu, uint8_t out[ICMP_MOST_BYTES]);
