// What the kernel's sockets can do here: tried on sockets of our own, on loopback only. For `qanat doctor`.

#pragma once

#include "core/finding.h"

// Loopback of IPv4 and IPv6, congestion control, kernel TLS, UDP segmentation and coalescing.
void socket_probe(struct findings *findings);
