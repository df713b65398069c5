#include "packet/checksum.h"

#include "packet/packet_rig.h"

#include <arpa/inet.h>

static void the_sum_of_the_specification(void **state)
{
	(void)state;
	// RFC 1071 3.
	static const uint8_t bytes[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
	assert_int_equal(ntohs(checksum_fold(checksum_add(0, bytes, sizeof bytes))), 0xddf2);
}

static void the_header_checksum_of_a_known_packet(void **state)
{
	(void)state;
	static const uint8_t header[20] = {0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11,
	                                   0x00, 0x00, 0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7};
	assert_int_equal(ntohs((uint16_t)~checksum_fold(checksum_add(0, header, sizeof header))), 0xb861);
}

static void every_length_and_content_as_computed_the_slow_way(void **state)
{
	(void)state;
	static uint8_t bytes[300];
	for (size_t length = 0; length <= sizeof bytes; length++) {
		for (size_t i = 0; i < length; i++)
			bytes[i] = (uint8_t)(i * 97 + length * 13 + (i % 7 == 0 ? 255 : 0));
		assert_int_equal(ntohs(checksum_fold(checksum_add(0, bytes, length))), rig_sum(0, bytes, length));
	}
	memset(bytes, 0xff, sizeof bytes);
	assert_int_equal(checksum_fold(checksum_add(0, bytes, sizeof bytes)), 0xffff);
}

static void a_sum_goes_on_from_part_to_part(void **state)
{
	(void)state;
	uint8_t bytes[150];
	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (uint8_t)(255 - i);
	for (size_t cut = 0; cut <= sizeof bytes; cut += 2) {
		uint64_t sum = checksum_add(checksum_add(0, bytes, cut), bytes + cut, sizeof bytes - cut);
		assert_int_equal(ntohs(checksum_fold(sum)), rig_sum(0, bytes, sizeof bytes));
	}
}

static void pseudo_headers_of_both_versions(void **state)
{
	(void)state;
	static uint8_t packet[RIG_PACKET_BYTES];
	for (int version = 4; version <= 6; version += 2)
		for (uint8_t protocol = 6; protocol <= 17; protocol += 11) {
			struct rig_flow flow = {.version = version, .protocol = protocol};
			size_t length = rig_build(&flow, 77, 3, packet), ip = rig_ip_bytes(packet);
			uint64_t sum = checksum_pseudo(packet, protocol, length - ip);
			assert_int_equal(checksum_fold(checksum_add(sum, packet + ip, length - ip)), 0xffff);
			packet[length - 1] ^= 1;
			sum = checksum_pseudo(packet, protocol, length - ip);
			assert_int_not_equal(checksum_fold(checksum_add(sum, packet + ip, length - ip)), 0xffff);
		}
}

// Addresses whose sum is all ones, so that the length carries over.
static void the_pseudo_header_loses_no_carry(void **state)
{
	(void)state;
	uint8_t packet[40] = {0x45};
	memset(packet + 12, 0xff, 8);
	uint16_t check = checksum_fold(checksum_pseudo(packet, 17, 20));
	assert_int_equal(ntohs(check), 17 + 20);
}

static void a_replaced_word_needs_no_second_look_at_the_rest(void **state)
{
	(void)state;
	uint8_t packet[200];
	struct rig_flow flow = {.version = 4, .protocol = 6};
	size_t length = rig_build(&flow, 60, 1, packet);
	for (unsigned value = 0; value < 65536; value += 251) {
		uint8_t before[2] = {packet[50], packet[51]};
		rig_put16(packet + 50, value);
		checksum_replace(packet + 20 + 16, before, packet + 50);
		assert_int_equal(rig_transport_sum(packet, length), 0xffff);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_sum_of_the_specification),
		cmocka_unit_test(the_header_checksum_of_a_known_packet),
		cmocka_unit_test(every_length_and_content_as_computed_the_slow_way),
		cmocka_unit_test(a_sum_goes_on_from_part_to_part),
		cmocka_unit_test(pseudo_headers_of_both_versions),
		cmocka_unit_test(the_pseudo_header_loses_no_carry),
		cmocka_unit_test(a_replaced_word_needs_no_second_look_at_the_rest),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
