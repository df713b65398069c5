#include "flow/udp_frame.h"

#include "limits.h"

#include <assert.h>
#include <string.h>

_Static_assert(UDP_FRAME_HEAD_BYTES + LIMIT_DATAGRAM_BYTES <= LIMIT_UNIT_BYTES, "every frame fits a unit");

size_t udp_frame_encode(uint8_t *out, const uint8_t *datagram, size_t length)
{
	assert(length <= LIMIT_DATAGRAM_BYTES);
	out[0] = (uint8_t)(length >> 8);
	out[1] = (uint8_t)length;
	if (length > 0)
		memcpy(out + UDP_FRAME_HEAD_BYTES, datagram, length);
	return UDP_FRAME_HEAD_BYTES + length;
}

int udp_frame_decode(const uint8_t *bytes, size_t length, struct iovec *list, size_t room, size_t *count, size_t *used)
{
	size_t n = 0, at = 0;
	while (n < room && length - at >= UDP_FRAME_HEAD_BYTES) {
		size_t size = (size_t)bytes[at] << 8 | bytes[at + 1];
		// Hostile: judged as soon as it is there, so nobody waits for what could never be sent on.
		if (size > LIMIT_DATAGRAM_BYTES)
			return UDP_FRAME_BAD;
		if (length - at - UDP_FRAME_HEAD_BYTES < size)
			break;
		list[n++] = (struct iovec){.iov_base = (void *)(bytes + at + UDP_FRAME_HEAD_BYTES), .iov_len = size};
		at += UDP_FRAME_HEAD_BYTES + size;
	}
	*count = n;
	*used = at;
	return 0;
}
