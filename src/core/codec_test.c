#include "core/codec.h"

#include "core/outcome.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const uint8_t message[] = {0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b,
                                  0x0c, 0x0d, 0x0e, 0x0f, 0x00, 0x03, 'a',  'b',  'c',  0xfe, 0xff};

static void write_message(struct writer *writer)
{
	static const uint8_t tail[] = {0xfe, 0xff};
	writer_u8(writer, 0x01);
	writer_u16(writer, 0x0203);
	writer_u32(writer, 0x04050607);
	writer_u64(writer, 0x08090a0b0c0d0e0f);
	writer_text(writer, "abc");
	writer_bytes(writer, tail, sizeof tail);
}

static void fields_are_written_big_endian(void **state)
{
	(void)state;
	uint8_t out[64];
	struct writer writer;
	writer_init(&writer, out, sizeof out);
	write_message(&writer);
	assert_false(writer.bad);
	assert_int_equal(writer_length(&writer), sizeof message);
	assert_memory_equal(out, message, sizeof message);
}

static void fields_are_read_as_they_were_written(void **state)
{
	(void)state;
	struct reader reader;
	char text[4];
	uint8_t tail[2];
	reader_init(&reader, message, sizeof message);
	assert_int_equal(reader_u8(&reader), 0x01);
	assert_int_equal(reader_u16(&reader), 0x0203);
	assert_int_equal(reader_u32(&reader), 0x04050607);
	assert_true(reader_u64(&reader) == 0x08090a0b0c0d0e0f);
	assert_false(reader_is_done(&reader));
	reader_text(&reader, text, sizeof text);
	assert_string_equal(text, "abc");
	assert_int_equal(reader_left(&reader), 2);
	reader_copy(&reader, tail, sizeof tail);
	assert_memory_equal(tail, message + sizeof message - 2, 2);
	assert_int_equal(reader_left(&reader), 0);
	assert_true(reader_is_done(&reader));
}

// The message in memory that ends where it ends, so that the address sanitizer sees a byte too many.
static void a_message_cut_anywhere_is_bad_and_yields_zeros(void **state)
{
	(void)state;
	for (size_t length = 0; length < sizeof message; length++) {
		struct reader reader;
		char text[4] = "zzz";
		uint8_t tail[2] = {0x55, 0x55};
		uint8_t *cut = malloc(length > 0 ? length : 1);
		assert_non_null(cut);
		memcpy(cut, message, length);
		reader_init(&reader, cut, length);
		assert_int_equal(reader_u8(&reader), length >= 1 ? 0x01 : 0);
		assert_int_equal(reader_u16(&reader), length >= 3 ? 0x0203 : 0);
		assert_int_equal(reader_u32(&reader), length >= 7 ? 0x04050607 : 0);
		assert_true(reader_u64(&reader) == (length >= 15 ? 0x08090a0b0c0d0e0f : 0));
		reader_text(&reader, text, sizeof text);
		assert_string_equal(text, length >= 20 ? "abc" : "");
		reader_copy(&reader, tail, sizeof tail);
		assert_int_equal(tail[0] | tail[1], 0);
		assert_true(reader.bad);
		assert_false(reader_is_done(&reader));
		assert_int_equal(reader_left(&reader), 0);
		free(cut);
	}
}

static void a_bad_reader_stays_bad_even_for_what_would_fit(void **state)
{
	(void)state;
	struct reader reader;
	reader_init(&reader, message, 3);
	assert_int_equal(reader_u32(&reader), 0);
	assert_int_equal(reader_u8(&reader), 0);
	assert_null(reader_bytes(&reader, 0));
	assert_true(reader.bad);
}

static void a_length_near_the_end_of_all_numbers_is_bad(void **state)
{
	(void)state;
	struct reader reader;
	reader_init(&reader, message, sizeof message);
	assert_null(reader_bytes(&reader, SIZE_MAX));
	assert_true(reader.bad);
}

static void a_view_is_of_the_input_itself(void **state)
{
	(void)state;
	struct reader reader;
	reader_init(&reader, message, sizeof message);
	(void)reader_u8(&reader);
	assert_ptr_equal(reader_bytes(&reader, 4), message + 1);
	assert_ptr_equal(reader_bytes(&reader, sizeof message - 5), message + 5);
	assert_true(reader_is_done(&reader));
}

static void nothing_at_all_can_be_read_and_written(void **state)
{
	(void)state;
	struct reader reader;
	struct writer writer;
	reader_init(&reader, NULL, 0);
	assert_true(reader_is_done(&reader));
	assert_int_equal(reader_u8(&reader), 0);
	assert_true(reader.bad);
	writer_init(&writer, NULL, 0);
	writer_bytes(&writer, NULL, 0);
	assert_false(writer.bad);
	writer_u8(&writer, 1);
	assert_true(writer.bad);
	assert_int_equal(writer_length(&writer), 0);
}

static void read_text(const uint8_t *bytes, size_t length, char *out, size_t size, bool *bad)
{
	struct reader reader;
	reader_init(&reader, bytes, length);
	memset(out, 'z', size);
	reader_text(&reader, out, size);
	*bad = reader.bad;
}

static void a_text_fits_with_its_nul_or_is_bad(void **state)
{
	(void)state;
	static const uint8_t three[] = {0, 3, 'a', 'b', 'c'}, empty[] = {0, 0};
	char out[8];
	bool bad;
	read_text(three, sizeof three, out, 4, &bad);
	assert_false(bad);
	assert_string_equal(out, "abc");
	read_text(three, sizeof three, out, 3, &bad);
	assert_true(bad);
	assert_string_equal(out, "");
	read_text(empty, sizeof empty, out, 1, &bad);
	assert_false(bad);
	assert_string_equal(out, "");
}

static void a_text_with_a_nul_inside_is_bad(void **state)
{
	(void)state;
	for (size_t at = 2; at < 5; at++) {
		uint8_t bytes[] = {0, 3, 'a', 'b', 'c'};
		char out[8];
		bool bad;
		bytes[at] = '\0';
		read_text(bytes, sizeof bytes, out, sizeof out, &bad);
		assert_true(bad);
		assert_string_equal(out, "");
	}
}

static void a_text_that_claims_more_than_there_is_is_bad(void **state)
{
	(void)state;
	static const uint8_t claims[] = {0xff, 0xff, 'a'};
	static char out[70000];
	bool bad;
	read_text(claims, sizeof claims, out, sizeof out, &bad);
	assert_true(bad);
	assert_string_equal(out, "");
}

static void a_writer_without_room_writes_no_byte_of_what_does_not_fit(void **state)
{
	(void)state;
	for (size_t size = 0; size < sizeof message; size++) {
		uint8_t out[sizeof message + 1];
		struct writer writer;
		memset(out, 0x77, sizeof out);
		writer_init(&writer, out, size);
		write_message(&writer);
		assert_true(writer.bad);
		assert_true(writer_length(&writer) <= size);
		assert_memory_equal(out, message, writer_length(&writer));
		for (size_t i = writer_length(&writer); i < sizeof out; i++)
			assert_int_equal(out[i], 0x77);
	}
}

static void a_bad_writer_stays_bad_even_for_what_would_fit(void **state)
{
	(void)state;
	uint8_t out[3];
	struct writer writer;
	writer_init(&writer, out, sizeof out);
	writer_u32(&writer, 1);
	writer_u8(&writer, 1);
	assert_true(writer.bad);
	assert_int_equal(writer_length(&writer), 0);
}

static void a_text_too_long_for_its_length_is_bad(void **state)
{
	(void)state;
	static char text[UINT16_MAX + 2];
	static uint8_t out[UINT16_MAX + 8];
	struct writer writer;
	memset(text, 'a', UINT16_MAX + 1);
	writer_init(&writer, out, sizeof out);
	writer_text(&writer, text);
	assert_true(writer.bad);
	text[UINT16_MAX] = '\0';
	writer_init(&writer, out, sizeof out);
	writer_text(&writer, text);
	assert_false(writer.bad);
	assert_int_equal(writer_length(&writer), UINT16_MAX + 2);
	assert_int_equal(out[0] & out[1], 0xff);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields_are_written_big_endian),
		cmocka_unit_test(fields_are_read_as_they_were_written),
		cmocka_unit_test(a_message_cut_anywhere_is_bad_and_yields_zeros),
		cmocka_unit_test(a_bad_reader_stays_bad_even_for_what_would_fit),
		cmocka_unit_test(a_length_near_the_end_of_all_numbers_is_bad),
		cmocka_unit_test(a_view_is_of_the_input_itself),
		cmocka_unit_test(nothing_at_all_can_be_read_and_written),
		cmocka_unit_test(a_text_fits_with_its_nul_or_is_bad),
		cmocka_unit_test(a_text_with_a_nul_inside_is_bad),
		cmocka_unit_test(a_text_that_claims_more_than_there_is_is_bad),
		cmocka_unit_test(a_writer_without_room_writes_no_byte_of_what_does_not_fit),
		cmocka_unit_test(a_bad_writer_stays_bad_even_for_what_would_fit),
		cmocka_unit_test(a_text_too_long_for_its_length_is_bad),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
