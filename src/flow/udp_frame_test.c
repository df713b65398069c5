#include "flow/udp_frame.h"

#include "limits.h"

// cmocka.h uses these and includes none of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

static uint8_t datagram[LIMIT_DATAGRAM_BYTES], frames[4 * LIMIT_UNIT_BYTES];
static struct iovec list[64];
static size_t count, used;

static size_t put(size_t at, size_t length)
{
	for (size_t i = 0; i < length; i++)
		datagram[i] = (uint8_t)(i * 7 + length);
	return at + udp_frame_encode(frames + at, datagram, length);
}

static void assert_frame(size_t index, size_t length)
{
	const uint8_t *bytes = list[index].iov_base;
	assert_int_equal(list[index].iov_len, length);
	for (size_t i = 0; i < length; i++)
		assert_int_equal(bytes[i], (uint8_t)(i * 7 + length));
}

static void datagrams_of_every_size_come_back_one_by_one(void **state)
{
	(void)state;
	static const size_t sizes[] = {0, 1, 255, 256, 1200, LIMIT_DATAGRAM_BYTES, 0};
	size_t length = 0;
	for (size_t i = 0; i < COUNT_OF(sizes); i++)
		length = put(length, sizes[i]);
	assert_int_equal(udp_frame_decode(frames, length, list, COUNT_OF(list), &count, &used), 0);
	assert_int_equal(count, COUNT_OF(sizes));
	assert_int_equal(used, length);
	for (size_t i = 0; i < COUNT_OF(sizes); i++)
		assert_frame(i, sizes[i]);
}

static void a_frame_is_the_bytes_the_protocol_says(void **state)
{
	(void)state;
	uint8_t bytes[5];
	assert_int_equal(udp_frame_encode(bytes, (const uint8_t *)"abc", 3), 5);
	assert_memory_equal(bytes, "\0\3abc", 5);
}

static void a_frame_cut_at_any_byte_waits_for_its_end(void **state)
{
	(void)state;
	size_t first = put(0, 3), length = put(first, 300);
	for (size_t cut = first; cut < length; cut++) {
		assert_int_equal(udp_frame_decode(frames, cut, list, COUNT_OF(list), &count, &used), 0);
		assert_int_equal(count, 1);
		assert_int_equal(used, first);
	}
}

static void no_more_are_decoded_than_there_is_room_for(void **state)
{
	(void)state;
	size_t length = 0;
	for (int i = 0; i < 100; i++)
		length = put(length, 0);
	assert_int_equal(udp_frame_decode(frames, length, list, COUNT_OF(list), &count, &used), 0);
	assert_int_equal(count, COUNT_OF(list));
	assert_int_equal(used, COUNT_OF(list) * UDP_FRAME_HEAD_BYTES);
}

static void a_length_no_datagram_has_is_refused_as_soon_as_it_is_there(void **state)
{
	(void)state;
	static const uint8_t most[] = {0xff, 0xe3}, more[] = {0xff, 0xe4}, largest[] = {0xff, 0xff};
	assert_int_equal(udp_frame_decode(most, 2, list, COUNT_OF(list), &count, &used), 0);
	assert_int_equal(count, 0);
	assert_int_equal(used, 0);
	assert_int_equal(udp_frame_decode(more, 1, list, COUNT_OF(list), &count, &used), 0);
	assert_int_equal(udp_frame_decode(more, 2, list, COUNT_OF(list), &count, &used), UDP_FRAME_BAD);
	assert_int_equal(udp_frame_decode(largest, 2, list, COUNT_OF(list), &count, &used), UDP_FRAME_BAD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(datagrams_of_every_size_come_back_one_by_one),
		cmocka_unit_test(a_frame_is_the_bytes_the_protocol_says),
		cmocka_unit_test(a_frame_cut_at_any_byte_waits_for_its_end),
		cmocka_unit_test(no_more_are_decoded_than_there_is_room_for),
		cmocka_unit_test(a_length_no_datagram_has_is_refused_as_soon_as_it_is_there),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
