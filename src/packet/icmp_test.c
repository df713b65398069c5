#include "packet/icmp.h"

#include "packet/packet_rig.h"

static uint8_t packet[RIG_PACKET_BYTES], out[ICMP_MOST_BYTES];

static void an_answer_for_ipv4(void **state)
{
	(void)state;
	struct rig_flow flow = {.version = 4, .protocol = 17};
	size_t length = rig_build(&flow, 3000, 0, packet);
	assert_int_equal(icmp_too_big(packet, length, 1280, out), 576);
	assert_int_equal(out[0], 0x45);
	assert_int_equal(rig_get16(out + 2), 576);
	assert_int_equal(rig_sum(0, out, 20), 0xffff);
	assert_int_equal(out[9], 1);
	assert_memory_equal(out + 12, packet + 16, 4); // from where it was to go
	assert_memory_equal(out + 16, packet + 12, 4);
	assert_memory_equal(out + 20, "\x03\x04", 2);
	assert_int_equal(rig_get16(out + 26), 1280);
	assert_int_equal(rig_sum(0, out + 20, 556), 0xffff);
	assert_memory_equal(out + 28, packet, 548);
}

static void an_answer_for_ipv6(void **state)
{
	(void)state;
	struct rig_flow flow = {.version = 6, .protocol = 6};
	size_t length = rig_build(&flow, 3000, 0, packet);
	assert_int_equal(icmp_too_big(packet, length, 65519, out), 1280);
	assert_memory_equal(out + 8, packet + 24, 16);
	assert_memory_equal(out + 24, packet + 8, 16);
	assert_memory_equal(out + 40, "\x02\x00", 2);
	assert_memory_equal(out + 44, "\x00\x00\xff\xef", 4);
	assert_int_equal(rig_transport_sum(out, 1280), 0xffff);
	assert_memory_equal(out + 48, packet, 1232);
}

static void a_short_packet_is_quoted_whole(void **state)
{
	(void)state;
	struct rig_flow flow = {.version = 4, .protocol = 17};
	size_t length = rig_build(&flow, 10, 0, packet);
	assert_int_equal(icmp_too_big(packet, length, 100, out), 28 + length);
	assert_memory_equal(out + 28, packet, length);
}

static void what_is_never_answered(void **state)
{
	(void)state;
	struct rig_flow flow = {.version = 4, .protocol = 17};
	size_t length = rig_build(&flow, 100, 0, packet);
	for (unsigned first = 224; first < 256; first++) { // many hosts, or none
		packet[16] = (uint8_t)first;
		assert_int_equal(icmp_too_big(packet, length, 100, out), 0);
	}
	length = rig_build(&flow, 100, 0, packet);
	packet[12] = 0;
	assert_int_equal(icmp_too_big(packet, length, 100, out), 0);
	length = rig_build(&flow, 100, 0, packet);
	rig_put16(packet + 6, 5); // a later fragment
	assert_int_equal(icmp_too_big(packet, length, 100, out), 0);
	length = rig_build(&flow, 100, 0, packet);
	packet[9] = 1;
	packet[20] = 3; // an error
	assert_int_equal(icmp_too_big(packet, length, 100, out), 0);
	packet[20] = 8; // a question
	assert_true(icmp_too_big(packet, length, 100, out) > 0);
	assert_int_equal(icmp_too_big(packet, 19, 100, out), 0);
	flow.version = 6;
	length = rig_build(&flow, 100, 0, packet);
	packet[6] = 58;
	packet[40] = 2;
	assert_int_equal(icmp_too_big(packet, length, 100, out), 0);
	packet[40] = 128;
	assert_true(icmp_too_big(packet, length, 100, out) > 0);
	packet[24] = 0xff;
	assert_int_equal(icmp_too_big(packet, length, 100, out), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_answer_for_ipv4),
		cmocka_unit_test(an_answer_for_ipv6),
		cmocka_unit_test(a_short_packet_is_quoted_whole),
		cmocka_unit_test(what_is_never_answered),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
