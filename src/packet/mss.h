// Lowers the maximum segment size that a TCP SYN announces. Pure.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// `mtu` is the largest packet that may come back. True when the packet, which must have a complete checksum, was
// changed.
bool mss_clamp(uint8_t *packet, size_t length, size_t mtu);
