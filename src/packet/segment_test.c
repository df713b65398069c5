#include "packet/segment.h"

#include "packet/packet_rig.h"

static uint8_t super[RIG_PACKET_BYTES], out[RIG_PACKET_BYTES], wanted[RIG_PACKET_BYTES];

static struct offload offload_of(const struct rig_flow *flow, uint16_t segment_bytes)
{
	return (struct offload){
		.kind = flow->protocol == 17 ? OFFLOAD_UDP
	            : flow->version == 4 ? OFFLOAD_TCP4
	                                 : OFFLOAD_TCP6,
		.needs_checksum = true,
		.segment_bytes = segment_bytes,
		.checksum_start = flow->version == 4 ? 20 : 40,
		.checksum_offset = flow->protocol == 17 ? 6 : 16,
	};
}

// Cuts `payload` bytes and compares every packet with one that was built by itself. Returns how many there were.
static unsigned cut(struct rig_flow flow, size_t payload, uint16_t segment_bytes)
{
	struct segment segment;
	struct offload offload = offload_of(&flow, segment_bytes);
	struct rig_flow whole = flow;
	size_t length = rig_build(&whole, payload, 0, super), done = 0;
	unsigned count = 0;
	assert_int_equal(segment_begin(&segment, super, length, &offload), 0);
	for (; segment_room(&segment) > 0; count++) {
		size_t part = payload - done < segment_bytes ? payload - done : segment_bytes;
		bool is_last = done + part == payload;
		struct rig_flow one = flow;
		one.sequence += (uint32_t)done;
		one.id = (uint16_t)(one.id + count);
		one.flags = (uint8_t)(is_last ? flow.flags : flow.flags & ~0x09);
		size_t size = rig_build(&one, part, (unsigned)done, wanted);
		assert_int_equal(segment_room(&segment), size);
		memset(out, 0xaa, size + 1);
		segment_next(&segment, out);
		assert_memory_equal(out, wanted, size);
		assert_int_equal(out[size], 0xaa);
		done += part;
	}
	assert_int_equal(done, payload);
	return count;
}

static void tcp_of_both_versions_is_cut_exactly(void **state)
{
	(void)state;
	for (int version = 4; version <= 6; version += 2) {
		struct rig_flow flow = {
			.version = version, .protocol = 6, .flags = 0x18, .options = 12, .sequence = 0xfffffff0};
		assert_int_equal(cut(flow, 60000, 1228), 49);
		assert_int_equal(cut(flow, 2456, 1228), 2);
		assert_int_equal(cut(flow, 1, 1228), 1);
		flow.id = 65535;
		flow.flags = 0x19;
		assert_int_equal(cut(flow, 3000, 1000), 3);
	}
}

static void a_small_segment_size_makes_many_packets_and_no_trouble(void **state)
{
	(void)state;
	struct rig_flow flow = {.version = 4, .protocol = 6, .flags = 0x10};
	assert_int_equal(cut(flow, 64000, 88), 728);
	assert_int_equal(cut(flow, 60000, 1), 60000);
}

static void datagrams_of_both_versions_are_cut_exactly(void **state)
{
	(void)state;
	for (int version = 4; version <= 6; version += 2) {
		struct rig_flow flow = {.version = version, .protocol = 17};
		assert_int_equal(cut(flow, 24000, 1200), 20);
		assert_int_equal(cut(flow, 24001, 1200), 21);
	}
}

static void congestion_is_signalled_by_the_first_segment_only(void **state)
{
	(void)state;
	struct segment segment;
	struct rig_flow flow = {.version = 6, .protocol = 6, .flags = 0x90};
	struct offload offload = offload_of(&flow, 100);
	offload.has_ecn = true;
	size_t length = rig_build(&flow, 300, 0, super);
	assert_int_equal(segment_begin(&segment, super, length, &offload), 0);
	for (unsigned i = 0; segment_room(&segment) > 0; i++) {
		segment_next(&segment, out);
		assert_int_equal(out[53], i == 0 ? 0x90 : 0x10);
		assert_int_equal(rig_transport_sum(out, 160), 0xffff);
	}
}

static void a_missing_checksum_is_completed(void **state)
{
	(void)state;
	for (uint8_t protocol = 6; protocol <= 17; protocol += 11) {
		struct segment segment;
		struct rig_flow flow = {.version = 6, .protocol = protocol, .flags = 0x10};
		size_t length = rig_build(&flow, 123, 9, super);
		memcpy(wanted, super, length);
		uint16_t field = protocol == 17 ? 6 : 16;
		// What the kernel leaves there: the sum of the pseudo header.
		rig_put16(super + 40 + field, rig_sum(protocol + (uint32_t)(length - 40), super + 8, 32));
		struct offload offload = {.needs_checksum = true, .checksum_start = 40, .checksum_offset = field};
		assert_int_equal(segment_begin(&segment, super, length, &offload), 0);
		assert_int_equal(segment_room(&segment), length);
		segment_next(&segment, out);
		assert_memory_equal(out, wanted, length);
		assert_int_equal(segment_room(&segment), 0);
	}
}

static void a_complete_packet_passes_unchanged(void **state)
{
	(void)state;
	struct segment segment;
	memset(super, 0x5a, 100); // whatever it is
	assert_int_equal(segment_begin(&segment, super, 100, &(struct offload){0}), 0);
	segment_next(&segment, out);
	assert_memory_equal(out, super, 100);
	assert_int_equal(segment_begin(&segment, super, 0, &(struct offload){0}), SEGMENT_BAD);
}

static void offloads_that_do_not_fit_their_packet(void **state)
{
	(void)state;
	struct segment segment;
	struct rig_flow flow = {.version = 4, .protocol = 6};
	struct offload good = offload_of(&flow, 100), bad;
	size_t length = rig_build(&flow, 300, 0, super);
	bad = good;
	bad.segment_bytes = 0;
	assert_int_equal(segment_begin(&segment, super, length, &bad), SEGMENT_BAD);
	bad = good;
	bad.kind = OFFLOAD_TCP6;
	assert_int_equal(segment_begin(&segment, super, length, &bad), SEGMENT_BAD);
	bad.kind = OFFLOAD_UDP;
	assert_int_equal(segment_begin(&segment, super, length, &bad), SEGMENT_BAD);
	assert_int_equal(segment_begin(&segment, super, length - 1, &good), SEGMENT_BAD);
	rig_put16(super + 6, 0x2000);
	assert_int_equal(segment_begin(&segment, super, length, &good), SEGMENT_BAD);
	length = rig_build(&flow, 0, 0, super);
	assert_int_equal(segment_begin(&segment, super, length, &good), SEGMENT_BAD);
}

// Whatever the place says: no byte of the packet outside of the checksum of its transport header ever changes.
static void a_checksum_has_one_place(void **state)
{
	(void)state;
	static const uint8_t kinds[2][2] = {{OFFLOAD_TCP4, OFFLOAD_UDP}, {OFFLOAD_TCP6, OFFLOAD_UDP}};
	for (unsigned i = 0; i < 8; i++) {
		struct segment segment;
		bool is_udp = i & 1, is_super = i & 4;
		struct rig_flow flow = {.version = i & 2 ? 6 : 4, .protocol = is_udp ? 17 : 6, .flags = 0x10};
		size_t length = rig_build(&flow, 100, 3, super), ip = rig_ip_bytes(super);
		unsigned taken = 0;
		for (unsigned start = 0; start <= 180; start++)
			for (unsigned offset = 0; offset <= 180; offset++) {
				struct offload offload = {.kind = is_super ? (enum offload_kind)kinds[(i & 2) / 2][is_udp]
				                                           : OFFLOAD_NONE,
				                          .needs_checksum = true,
				                          .segment_bytes = 50,
				                          .checksum_start = (uint16_t)start,
				                          .checksum_offset = (uint16_t)offset};
				bool is_good = start == ip && offset == (is_udp ? 6 : 16);
				assert_int_equal(segment_begin(&segment, super, length, &offload), is_good ? 0 : SEGMENT_BAD);
				taken += is_good;
			}
		assert_int_equal(taken, 1);
	}
}

static void only_a_whole_tcp_or_udp_packet_lacks_a_checksum(void **state)
{
	(void)state;
	struct segment segment;
	struct offload offload = {.needs_checksum = true, .checksum_start = 20, .checksum_offset = 16};
	size_t length = rig_build(&(struct rig_flow){.version = 4, .protocol = 6}, 100, 3, super);
	assert_int_equal(segment_begin(&segment, super, length, &offload), 0);
	rig_put16(super + 6, 0x2000);
	assert_int_equal(segment_begin(&segment, super, length, &offload), SEGMENT_BAD);
	rig_put16(super + 6, 0);
	super[9] = 132; // SCTP
	assert_int_equal(segment_begin(&segment, super, length, &offload), SEGMENT_BAD);
	super[9] = 6;
	super[32] = 0xf0; // a TCP header of 60 bytes of which the last lack
	assert_int_equal(segment_begin(&segment, super, 20 + 40, &offload), SEGMENT_BAD);
	offload.needs_checksum = false;
	offload.kind = OFFLOAD_TCP4;
	offload.segment_bytes = 50;
	super[32] = 0x50;
	assert_int_equal(segment_begin(&segment, super, length, &offload), SEGMENT_BAD);
}

// TCP in IPv4 in IPv4, as a kernel with an ipip device gives it.
static void what_lacks_elsewhere_is_completed_by_the_sender(void **state)
{
	(void)state;
	struct segment segment;
	size_t inner = rig_build(&(struct rig_flow){.version = 4, .protocol = 6}, 100, 3, super + 20);
	memcpy(super, super + 20, 20);
	super[9] = 4;
	rig_put16(super + 2, inner + 20);
	memcpy(wanted, super, inner + 20);
	rig_put16(super + 40 + 16, rig_sum(6 + (uint32_t)(inner - 20), super + 32, 8));
	struct offload offload = {.needs_checksum = true, .checksum_start = 40, .checksum_offset = 16};
	segment_settle(super, inner + 20, &offload);
	assert_false(offload.needs_checksum);
	assert_memory_equal(super, wanted, inner + 20);
	assert_int_equal(segment_begin(&segment, super, inner + 20, &offload), 0);
	offload = (struct offload){.needs_checksum = true, .checksum_start = 40, .checksum_offset = (uint16_t)inner};
	segment_settle(super, inner + 20, &offload); // beyond its end
	assert_true(offload.needs_checksum);
	assert_int_equal(segment_begin(&segment, super, inner + 20, &offload), SEGMENT_BAD);
}

static void what_has_one_place_is_left_to_the_receiver(void **state)
{
	(void)state;
	struct segment segment;
	struct rig_flow flow = {.version = 6, .protocol = 6, .flags = 0x10};
	struct offload offload = {.needs_checksum = true, .checksum_start = 40, .checksum_offset = 16};
	size_t length = rig_build(&flow, 300, 3, super);
	memcpy(wanted, super, length);
	segment_settle(super, length, &offload);
	assert_true(offload.needs_checksum);
	assert_memory_equal(super, wanted, length);
	// Joined, and its checksums known to be good.
	offload = (struct offload){.kind = OFFLOAD_TCP6, .segment_bytes = 100};
	segment_settle(super, length, &offload);
	assert_true(offload.needs_checksum && offload.checksum_start == 40 && offload.checksum_offset == 16);
	assert_int_equal(rig_get16(super + 56), rig_sum(6 + (uint32_t)(length - 40), super + 8, 32));
	assert_int_equal(segment_begin(&segment, super, length, &offload), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tcp_of_both_versions_is_cut_exactly),
		cmocka_unit_test(a_small_segment_size_makes_many_packets_and_no_trouble),
		cmocka_unit_test(datagrams_of_both_versions_are_cut_exactly),
		cmocka_unit_test(congestion_is_signalled_by_the_first_segment_only),
		cmocka_unit_test(a_missing_checksum_is_completed),
		cmocka_unit_test(a_complete_packet_passes_unchanged),
		cmocka_unit_test(offloads_that_do_not_fit_their_packet),
		cmocka_unit_test(a_checksum_has_one_place),
		cmocka_unit_test(only_a_whole_tcp_or_udp_packet_lacks_a_checksum),
		cmocka_unit_test(what_lacks_elsewhere_is_completed_by_the_sender),
		cmocka_unit_test(what_has_one_place_is_left_to_the_receiver),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
