#include "packet/packet.h"

#include "packet/packet_rig.h"

static void plain_packets_of_both_versions(void **state)
{
	(void)state;
	uint8_t bytes[200];
	struct packet packet;
	for (int version = 4; version <= 6; version += 2) {
		struct rig_flow flow = {.version = version, .protocol = 6, .options = 12};
		size_t length = rig_build(&flow, 5, 0, bytes);
		assert_int_equal(packet_parse(bytes, length, &packet), 0);
		assert_int_equal(packet.version, version);
		assert_int_equal(packet.protocol, PACKET_TCP);
		assert_int_equal(packet.header_bytes, version == 4 ? 20 : 40);
		assert_int_equal(packet.length, length);
		assert_true(packet.is_plain && packet.has_payload && !packet.is_fragment);
		assert_int_equal(packet_transport_bytes(bytes, &packet), 32);
		// What follows the packet is not of it.
		assert_int_equal(packet_parse(bytes, length + 9, &packet), 0);
		assert_int_equal(packet.length, length);
		for (size_t cut = 0; cut < length; cut++)
			assert_int_equal(packet_parse(bytes, cut, &packet), PACKET_BAD);
	}
}

static void other_versions_and_lengths_that_contradict(void **state)
{
	(void)state;
	uint8_t bytes[200];
	struct packet packet;
	struct rig_flow flow = {.version = 4, .protocol = 17};
	size_t length = rig_build(&flow, 5, 0, bytes);
	for (unsigned first = 0; first < 256; first++) {
		bytes[0] = (uint8_t)first;
		bool is_good = first >= 0x45 && first <= 0x48; // 33 bytes hold a header of 32 at most
		if (first >> 4 != 6)
			assert_int_equal(packet_parse(bytes, length, &packet), is_good ? 0 : PACKET_BAD);
	}
	bytes[0] = 0x45;
	rig_put16(bytes + 2, 19);
	assert_int_equal(packet_parse(bytes, length, &packet), PACKET_BAD);
}

static void fragments_of_ipv4(void **state)
{
	(void)state;
	uint8_t bytes[200];
	struct packet packet;
	struct rig_flow flow = {.version = 4, .protocol = 17};
	size_t length = rig_build(&flow, 50, 0, bytes);
	rig_put16(bytes + 6, 0x2000); // the first, more follow
	assert_int_equal(packet_parse(bytes, length, &packet), 0);
	assert_true(packet.is_fragment && packet.has_payload);
	rig_put16(bytes + 6, 3);
	assert_int_equal(packet_parse(bytes, length, &packet), 0);
	assert_true(packet.is_fragment && !packet.has_payload);
	assert_int_equal(packet_transport_bytes(bytes, &packet), 0);
}

// IPv6 header, the extension headers given as (type, bytes), TCP.
static size_t chain(const uint8_t *types, const size_t *sizes, size_t count, uint8_t *bytes)
{
	memset(bytes, 0, 2000);
	bytes[0] = 0x60;
	uint8_t *next = bytes + 6;
	size_t at = 40;
	for (size_t i = 0; i < count; i++) {
		*next = types[i];
		next = bytes + at;
		bytes[at + 1] = (uint8_t)(types[i] == 51 ? sizes[i] / 4 - 2 : types[i] == 44 ? 0 : sizes[i] / 8 - 1);
		at += sizes[i];
	}
	*next = 6;
	bytes[at + 12] = 0x50;
	rig_put16(bytes + 4, at + 20 - 40);
	return at + 20;
}

static void extension_headers_are_walked(void **state)
{
	(void)state;
	static uint8_t bytes[2000];
	static const uint8_t types[] = {0, 60, 43, 44, 51, 60, 135};
	static const size_t sizes[] = {8, 24, 40, 8, 12, 16, 8};
	struct packet packet;
	size_t length = chain(types, sizes, 7, bytes);
	assert_int_equal(packet_parse(bytes, length, &packet), 0);
	assert_int_equal(packet.protocol, PACKET_TCP);
	assert_int_equal(packet.header_bytes, length - 20);
	assert_true(!packet.is_plain && !packet.is_fragment);
	assert_int_equal(packet_transport_bytes(bytes, &packet), 20);
}

static void extension_headers_that_lie_about_their_length(void **state)
{
	(void)state;
	static uint8_t bytes[2000];
	static const uint8_t types[] = {0};
	static const size_t sizes[] = {8};
	struct packet packet;
	size_t length = chain(types, sizes, 1, bytes);
	bytes[41] = 255;
	assert_int_equal(packet_parse(bytes, length, &packet), PACKET_BAD);
	rig_put16(bytes + 4, 4); // the payload is shorter than any extension header
	assert_int_equal(packet_parse(bytes, length, &packet), PACKET_BAD);
}

static void chains_longer_than_anybody_sends(void **state)
{
	(void)state;
	static uint8_t bytes[2000];
	static const uint8_t types[9] = {60, 60, 60, 60, 60, 60, 60, 60, 60};
	static const size_t sizes[9] = {8, 8, 8, 8, 8, 8, 8, 8, 8};
	struct packet packet;
	size_t length = chain(types, sizes, 8, bytes);
	assert_int_equal(packet_parse(bytes, length, &packet), 0);
	length = chain(types, sizes, 9, bytes);
	assert_int_equal(packet_parse(bytes, length, &packet), PACKET_BAD);
}

static void fragments_of_ipv6(void **state)
{
	(void)state;
	static uint8_t bytes[2000];
	static const uint8_t types[] = {44};
	static const size_t sizes[] = {8};
	struct packet packet;
	size_t length = chain(types, sizes, 1, bytes);
	rig_put16(bytes + 42, 1);
	assert_int_equal(packet_parse(bytes, length, &packet), 0);
	assert_true(packet.is_fragment && packet.has_payload);
	rig_put16(bytes + 42, 8);
	assert_int_equal(packet_parse(bytes, length, &packet), 0);
	assert_true(packet.is_fragment && !packet.has_payload);
}

static void transport_headers_that_do_not_fit(void **state)
{
	(void)state;
	uint8_t bytes[200];
	struct packet packet;
	struct rig_flow flow = {.version = 4, .protocol = 6};
	size_t length = rig_build(&flow, 0, 0, bytes);
	for (unsigned nibble = 0; nibble < 16; nibble++) {
		bytes[32] = (uint8_t)(nibble << 4);
		assert_int_equal(packet_parse(bytes, length, &packet), 0);
		assert_int_equal(packet_transport_bytes(bytes, &packet), nibble == 5 ? 20 : 0);
	}
	bytes[9] = 17;
	rig_put16(bytes + 2, 27);
	assert_int_equal(packet_parse(bytes, length, &packet), 0);
	assert_int_equal(packet_transport_bytes(bytes, &packet), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_packets_of_both_versions),
		cmocka_unit_test(other_versions_and_lengths_that_contradict),
		cmocka_unit_test(fragments_of_ipv4),
		cmocka_unit_test(extension_headers_are_walked),
		cmocka_unit_test(extension_headers_that_lie_about_their_length),
		cmocka_unit_test(chains_longer_than_anybody_sends),
		cmocka_unit_test(fragments_of_ipv6),
		cmocka_unit_test(transport_headers_that_do_not_fit),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
