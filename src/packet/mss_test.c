#include "packet/mss.h"

#include "packet/packet_rig.h"

#define FLAGS_AT(ip) ((ip) + 13)

static size_t syn(int version, const char *options, size_t options_length, uint8_t *packet)
{
	struct rig_flow flow = {.version = version, .protocol = 6, .flags = 0x02, .options = 8};
	size_t length = rig_build(&flow, 0, 0, packet), ip = rig_ip_bytes(packet);
	memcpy(packet + ip + 20, options, options_length);
	rig_finish(packet, length);
	return length;
}

static void a_large_size_is_lowered_and_the_checksum_follows(void **state)
{
	(void)state;
	uint8_t packet[200];
	size_t length = syn(4, "\x02\x04\x05\xb4", 4, packet);
	assert_true(mss_clamp(packet, length, 1280));
	assert_int_equal(rig_get16(packet + 42), 1240);
	assert_int_equal(rig_transport_sum(packet, length), 0xffff);
	assert_false(mss_clamp(packet, length, 1280));
	length = syn(6, "\x01\x01\x02\x04\x05\xb4", 6, packet);
	assert_true(mss_clamp(packet, length, 1280));
	assert_int_equal(rig_get16(packet + 64), 1220);
	assert_int_equal(rig_transport_sum(packet, length), 0xffff);
}

static void an_option_at_an_odd_place(void **state)
{
	(void)state;
	uint8_t packet[200];
	size_t length = syn(4, "\x01\x02\x04\x05\xb4", 5, packet);
	assert_true(mss_clamp(packet, length, 1000));
	assert_int_equal(rig_get16(packet + 43), 960);
	assert_int_equal(rig_transport_sum(packet, length), 0xffff);
}

static void what_is_left_alone(void **state)
{
	(void)state;
	uint8_t packet[200];
	static const struct {
		const char *options;
		size_t length;
	} cases[] = {
		{"\x02\x04\x02\x00", 4},                 // small already
		{"\x00\x02\x04\x05\xb4", 5},             // behind the end of options
		{"\x02\x03\x05\xb4", 4},                 // of a wrong length
		{"\x03\x00\x02\x04", 4},                 // an option without length
		{"\x03\xff\x02\x04", 4},                 // one longer than the header
		{"\x01\x01\x01\x01\x01\x01\x02\x04", 8}, // cut off
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		size_t length = syn(4, cases[i].options, cases[i].length, packet);
		assert_false(mss_clamp(packet, length, 1280));
		assert_int_equal(rig_transport_sum(packet, length), 0xffff);
	}
	size_t length = syn(4, "\x02\x04\x05\xb4", 4, packet);
	assert_false(mss_clamp(packet, length, 40));
	packet[FLAGS_AT(20)] = 0x10; // no SYN
	assert_false(mss_clamp(packet, length, 1280));
	packet[FLAGS_AT(20)] = 0x02;
	packet[6] = 0x20; // a fragment
	assert_false(mss_clamp(packet, length, 1280));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_large_size_is_lowered_and_the_checksum_follows),
		cmocka_unit_test(an_option_at_an_odd_place),
		cmocka_unit_test(what_is_left_alone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
