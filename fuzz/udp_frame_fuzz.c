// Datagrams on a stream, as a peer frames them. However the bytes are cut into units, the same datagrams come out, and
// what was decoded is encoded to the same bytes again.

#include "flow/udp_frame.h"
#include "limits.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// Decodes with so much room at a time. Returns how many datagrams there were before the end, or the bad one.
static size_t decode_all(const uint8_t *data, size_t size, size_t room, bool *bad, size_t *end)
{
	struct iovec list[16];
	size_t n = 0, at = 0, count, used;
	*bad = false;
	do {
		if (udp_frame_decode(data + at, size - at, list, room, &count, &used) != 0) {
			*bad = true;
			break;
		}
		assert(count <= room && used <= size - at);
		const uint8_t *expected = data + at;
		for (size_t i = 0; i < count; i++) {
			uint8_t again[UDP_FRAME_HEAD_BYTES + LIMIT_DATAGRAM_BYTES];
			assert(list[i].iov_len <= LIMIT_DATAGRAM_BYTES);
			size_t length = udp_frame_encode(again, list[i].iov_base, list[i].iov_len);
			assert(memcmp(again, expected, length) == 0);
			expected += length;
		}
		assert(expected == data + at + used);
		n += count;
		at += used;
	} while (count == room);
	*end = at;
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool bad_one, bad_many;
	size_t end_one, end_many;
	size_t one = decode_all(data, size, 1, &bad_one, &end_one);
	size_t many = decode_all(data, size, 16, &bad_many, &end_many);
	assert(bad_one == bad_many);
	// With a bad one among them, a larger batch gives up the good ones before it.
	assert(bad_one ? many <= one && end_many <= end_one : many == one && end_many == end_one);
	return 0;
}
