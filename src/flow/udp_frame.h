// Datagrams on a stream: u16 length | bytes, one behind the other. Spec: docs/protocol.md, "UDP streams". Pure.

#pragma once

#include "core/outcome.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define UDP_FRAME_HEAD_BYTES 2

// The frame's length.
size_t udp_frame_encode(uint8_t *out, const uint8_t *datagram, size_t length);

// The frames in front of bytes[length], as views of them: at most `room`, and *used bytes in all. What is behind them
// is the beginning of another frame, or was left for lack of room (*count is `room` then). UDP_FRAME_BAD: the next one
// is longer than a datagram can be; nothing was decoded.
enum { UDP_FRAME_BAD = 1 };
MUST_USE int udp_frame_decode(const uint8_t *bytes, size_t length, struct iovec *list, size_t room, size_t *count,
                              size_t *used);
