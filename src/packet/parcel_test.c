#include "packet/parcel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static uint8_t bytes[PARCEL_BYTES + 8];

static const struct offload super = {.kind = OFFLOAD_TCP6,
                                     .has_ecn = true,
                                     .needs_checksum = true,
                                     .segment_bytes = 1440,
                                     .header_bytes = 72,
                                     .checksum_start = 40,
                                     .checksum_offset = 16};

static void a_packet_comes_back_as_it_went(void **state)
{
	struct parcel parcel;
	(void)state;
	memset(bytes, 7, sizeof bytes);
	parcel_write_head(bytes, false, 100, &super);
	assert_int_equal(parcel_read(bytes, sizeof bytes, false, &parcel), 0);
	assert_true(parcel.packet == bytes + 2 && parcel.length == 100 && parcel.used == 102);
	assert_int_equal(parcel.offload.kind, OFFLOAD_NONE);
	parcel_write_head(bytes, true, PARCEL_PACKET_BYTES, &super);
	assert_int_equal(parcel_read(bytes, sizeof bytes, true, &parcel), 0);
	assert_true(parcel.packet == bytes + 14 && parcel.length == PARCEL_PACKET_BYTES && parcel.used == PARCEL_BYTES);
	assert_true(parcel.offload.kind == OFFLOAD_TCP6 && parcel.offload.has_ecn && parcel.offload.needs_checksum);
	assert_true(parcel.offload.segment_bytes == 1440 && parcel.offload.header_bytes == 72);
	assert_true(parcel.offload.checksum_start == 40 && parcel.offload.checksum_offset == 16);
}

static void a_part_of_one_is_waited_for(void **state)
{
	struct parcel parcel;
	(void)state;
	for (int is_super = 0; is_super < 2; is_super++) {
		parcel_write_head(bytes, is_super, 40, &super);
		for (size_t length = 0; length < parcel_head_bytes(is_super) + 40; length++)
			assert_int_equal(parcel_read(bytes, length, is_super, &parcel), PARCEL_MORE);
		assert_int_equal(parcel_read(bytes, parcel_head_bytes(is_super) + 40, is_super, &parcel), 0);
	}
}

static void what_no_packet_can_be_is_refused_at_its_head(void **state)
{
	struct parcel parcel;
	(void)state;
	parcel_write_head(bytes, false, 0, &super);
	assert_int_equal(parcel_read(bytes, 2, false, &parcel), PARCEL_BAD);
	parcel_write_head(bytes, true, 0, &super);
	assert_int_equal(parcel_read(bytes, 14, true, &parcel), PARCEL_BAD);
	parcel_write_head(bytes, true, PARCEL_PACKET_BYTES + 1, &super);
	assert_int_equal(parcel_read(bytes, 14, true, &parcel), PARCEL_BAD);
	parcel_write_head(bytes, true, 40, &super);
	bytes[4] |= 4;
	assert_int_equal(parcel_read(bytes, 14, true, &parcel), PARCEL_BAD);
	parcel_write_head(bytes, true, 40, &super);
	bytes[5] = OFFLOAD_UDP + 1;
	assert_int_equal(parcel_read(bytes, 14, true, &parcel), PARCEL_BAD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_packet_comes_back_as_it_went),
		cmocka_unit_test(a_part_of_one_is_waited_for),
		cmocka_unit_test(what_no_packet_can_be_is_refused_at_its_head),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
