#include "link/frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

// Feeds the bytes in pieces and expects one frame that is equal to them.
static void expect_frame(const uint8_t *bytes, size_t length, size_t piece)
{
	struct framer framer = {0};
	bool complete = false;
	for (size_t at = 0; at < length && !complete;) {
		size_t left = length - at < piece ? length - at : piece;
		uint8_t *copy = malloc(left);
		assert_non_null(copy);
		memcpy(copy, bytes + at, left);
		at += left;
		const uint8_t *next = copy;
		int outcome;
		while ((outcome = framer_feed(&framer, &next, &left)) == FRAMER_HEADER)
			assert_int_equal(framer_take(&framer), 0);
		assert_int_equal(left, 0);
		complete = outcome == 0;
		assert_int_equal(complete, at == length);
		free(copy);
	}
	assert_true(complete);
	struct frame frame = framer_frame(&framer);
	assert_int_equal(frame.length, length);
	assert_memory_equal(frame.bytes, bytes, length);
	assert_int_equal(frame.type, bytes[4]);
	assert_ptr_equal(frame.body, frame.bytes + FRAME_HEADER_BYTES);
	assert_int_equal(frame.body_length, length - FRAME_HEADER_BYTES);
	framer_fini(&framer);
}

static void frame_of_any_size_arrives_in_pieces_of_any_size(void **state)
{
	(void)state;
	static const size_t sizes[] = {
		0, 1, 2, 48, LIMIT_CONTROL_BYTES - 1, LIMIT_CONTROL_BYTES, LIMIT_CONTROL_BYTES + 1, LIMIT_HELLO_BYTES};
	static const size_t pieces[] = {1, 2, 3, 4, 5, 6, 7, 100, 100000};
	uint8_t bytes[FRAME_HEADER_BYTES + LIMIT_HELLO_BYTES];
	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (uint8_t)(i * 7);
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		frame_encode_header(bytes, 0x5a, sizes[i]);
		for (size_t j = 0; j < COUNT_OF(pieces); j++)
			expect_frame(bytes, FRAME_HEADER_BYTES + sizes[i], pieces[j]);
	}
}

static void header_is_a_big_endian_length_and_a_type(void **state)
{
	(void)state;
	static const uint8_t expected[] = {0x01, 0x02, 0x03, 0x04, 0x0c};
	uint8_t header[FRAME_HEADER_BYTES];
	frame_encode_header(header, 12, 0x01020304);
	assert_memory_equal(header, expected, sizeof expected);
}

static void nothing_is_held_before_the_owner_says_so(void **state)
{
	(void)state;
	static const uint8_t header[] = {0xff, 0xff, 0xff, 0xff, 3};
	struct framer framer = {0};
	const uint8_t *next = header;
	size_t left = sizeof header;
	assert_int_equal(framer_feed(&framer, &next, &left), FRAMER_HEADER);
	assert_int_equal(framer.type, 3);
	assert_true(framer.body_length == UINT32_MAX);
	assert_null(framer.large);
	framer_fini(&framer);
}

static void skipped_body_leaves_the_next_frame_whole(void **state)
{
	(void)state;
	enum { SKIPPED = 300 };
	uint8_t bytes[2 * FRAME_HEADER_BYTES + SKIPPED + 1];
	memset(bytes, 0xee, sizeof bytes);
	frame_encode_header(bytes, 0x80, SKIPPED);
	frame_encode_header(bytes + FRAME_HEADER_BYTES + SKIPPED, 9, 1);
	for (size_t piece = 1; piece <= sizeof bytes; piece++) {
		struct framer framer = {0};
		unsigned headers = 0, frames = 0;
		for (size_t at = 0; at < sizeof bytes; at += piece) {
			const uint8_t *next = bytes + at;
			size_t left = sizeof bytes - at < piece ? sizeof bytes - at : piece;
			int outcome;
			while ((outcome = framer_feed(&framer, &next, &left)) != FRAMER_MORE) {
				if (outcome == 0) {
					assert_int_equal(framer_frame(&framer).type, 9);
					assert_int_equal(framer_frame(&framer).body[0], 0xee);
					framer_next(&framer);
					frames++;
				} else if (headers++ == 0) {
					framer_skip(&framer);
				} else {
					assert_int_equal(framer_take(&framer), 0);
				}
			}
		}
		assert_int_equal(headers, 2);
		assert_int_equal(frames, 1);
		framer_fini(&framer);
	}
}

static void large_frame_is_released_when_it_was_read(void **state)
{
	(void)state;
	uint8_t *bytes = calloc(1, FRAME_HEADER_BYTES + LIMIT_KEY_BYTES);
	assert_non_null(bytes);
	frame_encode_header(bytes, 3, LIMIT_KEY_BYTES);
	struct framer framer = {0};
	const uint8_t *next = bytes;
	size_t left = FRAME_HEADER_BYTES + LIMIT_KEY_BYTES;
	assert_int_equal(framer_feed(&framer, &next, &left), FRAMER_HEADER);
	assert_int_equal(framer_take(&framer), 0);
	assert_non_null(framer.large);
	assert_int_equal(framer_feed(&framer, &next, &left), 0);
	framer_next(&framer);
	assert_null(framer.large);
	framer_fini(&framer);
	free(bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frame_of_any_size_arrives_in_pieces_of_any_size),
		cmocka_unit_test(header_is_a_big_endian_length_and_a_type),
		cmocka_unit_test(nothing_is_held_before_the_owner_says_so),
		cmocka_unit_test(skipped_body_leaves_the_next_frame_whole),
		cmocka_unit_test(large_frame_is_released_when_it_was_read),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
