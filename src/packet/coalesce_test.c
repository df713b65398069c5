#include "packet/coalesce.h"

#include "packet/packet_rig.h"
#include "packet/segment.h"

#include <stdlib.h>

#define SEEN 400
struct seen {
	struct offload offload;
	size_t length, pieces;
	uint8_t bytes[RIG_PACKET_BYTES];
};
static struct seen *seen;
static size_t seen_count;
static uint8_t *arena; // packets stay where they are until the flush
static size_t arena_used;

static void on_packet(void *owner, const struct offload *offload, const struct iovec *pieces, size_t count)
{
	(void)owner;
	assert_true(seen_count < SEEN && count <= COALESCE_PIECES + 1);
	seen[seen_count].offload = *offload;
	seen[seen_count].pieces = count;
	seen[seen_count].length = 0;
	for (size_t i = 0; i < count; i++) {
		assert_true(seen[seen_count].length + pieces[i].iov_len < RIG_PACKET_BYTES);
		memcpy(seen[seen_count].bytes + seen[seen_count].length, pieces[i].iov_base, pieces[i].iov_len);
		seen[seen_count].length += pieces[i].iov_len;
	}
	seen_count++;
}

static int set_up(void **state)
{
	static struct coalesce coalesce;
	coalesce_init(&coalesce, on_packet, NULL);
	coalesce.joins_tcp = coalesce.joins_udp = true;
	seen = calloc(SEEN, sizeof *seen);
	arena = malloc(16 << 20);
	seen_count = arena_used = 0;
	*state = &coalesce;
	return seen && arena ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	free(seen);
	free(arena);
	return 0;
}

static uint8_t *give(struct coalesce *coalesce, const struct rig_flow *flow, size_t payload, unsigned fill)
{
	uint8_t *packet = arena + arena_used;
	size_t length = rig_build(flow, payload, fill, packet);
	arena_used += length;
	coalesce_add(coalesce, packet, length);
	return packet;
}

static void a_stream_becomes_one_packet_that_is_cut_back_into_the_same(void **state)
{
	struct coalesce *coalesce = *state;
	for (int version = 4; version <= 6; version += 2)
		for (uint8_t protocol = 6; protocol <= 17; protocol += 11) {
			struct rig_flow flow = {
				.version = version, .protocol = protocol, .flags = 0x10, .options = 12, .sequence = 77};
			static uint8_t out[RIG_PACKET_BYTES];
			size_t at = arena_used;
			seen_count = 0;
			for (unsigned i = 0; i < 40; i++) {
				flow.flags = i == 39 ? 0x18 : 0x10;
				give(coalesce, &flow, i == 39 ? 500 : 1200, i * 1200);
				flow.sequence += 1200;
				flow.id++;
			}
			coalesce_flush(coalesce);
			assert_int_equal(seen_count, 1);
			assert_int_equal(seen[0].pieces, 41);
			assert_true(seen[0].offload.needs_checksum);
			assert_int_equal(seen[0].offload.segment_bytes, 1200);
			struct segment segment;
			assert_int_equal(segment_begin(&segment, seen[0].bytes, seen[0].length, &seen[0].offload), 0);
			for (size_t room; (room = segment_room(&segment)) > 0; at += room) {
				segment_next(&segment, out);
				assert_memory_equal(out, arena + at, room);
			}
			assert_int_equal(at, arena_used);
		}
}

static void the_partial_checksum_is_the_sum_of_the_pseudo_header(void **state)
{
	struct coalesce *coalesce = *state;
	struct rig_flow flow = {.version = 4, .protocol = 6, .flags = 0x10};
	give(coalesce, &flow, 100, 0);
	flow.sequence = 100;
	give(coalesce, &flow, 100, 100);
	coalesce_flush(coalesce);
	assert_int_equal(seen_count, 1);
	const uint8_t *bytes = seen[0].bytes;
	assert_int_equal(rig_get16(bytes + 36), rig_sum(6 + 220, bytes + 12, 8));
	assert_int_equal(rig_sum(0, bytes, 20), 0xffff);
	assert_int_equal(seen[0].offload.checksum_start, 20);
	assert_int_equal(seen[0].offload.checksum_offset, 16);
	assert_int_equal(seen[0].offload.header_bytes, 40);
}

static void flows_that_mix_do_not_disturb_each_other(void **state)
{
	struct coalesce *coalesce = *state;
	for (unsigned i = 0; i < 10; i++)
		for (uint16_t port = 1; port <= COALESCE_GROUPS; port++) {
			struct rig_flow flow = {.version = 4, .protocol = 6, .flags = 0x10, .port = port, .sequence = i * 100};
			give(coalesce, &flow, 100, 0);
		}
	assert_int_equal(seen_count, 0);
	coalesce_flush(coalesce);
	assert_int_equal(seen_count, COALESCE_GROUPS);
	for (unsigned i = 0; i < COALESCE_GROUPS; i++) {
		assert_int_equal(seen[i].length, 1040);
		assert_int_equal(rig_get16(seen[i].bytes + 22), i + 1); // the oldest first
	}
}

static void one_flow_too_many_hands_out_the_oldest(void **state)
{
	struct coalesce *coalesce = *state;
	for (uint16_t port = 1; port <= COALESCE_GROUPS + 1; port++) {
		struct rig_flow flow = {.version = 4, .protocol = 6, .flags = 0x10, .port = port};
		give(coalesce, &flow, 100, 0);
	}
	assert_int_equal(seen_count, 1);
	assert_int_equal(rig_get16(seen[0].bytes + 22), 1);
	coalesce_flush(coalesce);
	assert_int_equal(seen_count, COALESCE_GROUPS + 1);
}

// Two packets, the second one changed: they must stay two, in order and as they were.
static void expect_apart(struct coalesce *coalesce, struct rig_flow flow, size_t at, uint8_t bits, bool is_repaired)
{
	uint8_t *first = arena + arena_used;
	size_t length = rig_build(&flow, 100, 0, first);
	uint8_t *second = first + length;
	flow.sequence += 100;
	flow.id++;
	assert_int_equal(rig_build(&flow, 100, 100, second), length);
	second[at] ^= bits;
	if (is_repaired)
		rig_finish(second, length);
	arena_used += 2 * length;
	seen_count = 0;
	coalesce_add(coalesce, first, length);
	coalesce_add(coalesce, second, length);
	coalesce_flush(coalesce);
	assert_int_equal(seen_count, 2);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(seen[i].offload.kind, OFFLOAD_NONE);
		assert_memory_equal(seen[i].bytes, i == 0 ? first : second, length);
	}
}

static void packets_that_differ_in_what_is_said_once_stay_apart(void **state)
{
	struct coalesce *coalesce = *state;
	struct rig_flow four = {.version = 4, .protocol = 6, .flags = 0x10, .options = 12};
	struct rig_flow six = {.version = 6, .protocol = 6, .flags = 0x10, .options = 12};
	// type of service, DF, hop limit, port, sequence, acknowledgement, flags (FIN, SYN, RST, CWR), window, options
	static const struct {
		size_t at;
		uint8_t bits;
	} fields[] = {{1, 1},  {6, 0x40}, {8, 1},  {23, 1},    {27, 1}, {31, 1},
	              {33, 1}, {33, 2},   {33, 4}, {33, 0x80}, {34, 1}, {45, 1}};
	for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
		expect_apart(coalesce, four, fields[i].at, fields[i].bits, true);
	static const struct {
		size_t at;
		uint8_t bits;
	} fields6[] = {{0, 1}, {1, 1}, {3, 1}, {7, 1}, {47, 1}, {51, 1}, {53, 1}, {54, 1}, {65, 1}};
	for (size_t i = 0; i < sizeof fields6 / sizeof fields6[0]; i++)
		expect_apart(coalesce, six, fields6[i].at, fields6[i].bits, true);
	// Without "do not fragment" identifications must count up.
	expect_apart(coalesce, (struct rig_flow){.version = 4, .protocol = 17}, 6, 0x40, true);
}

static void a_damaged_packet_stays_damaged(void **state)
{
	struct coalesce *coalesce = *state;
	for (uint8_t protocol = 6; protocol <= 17; protocol += 11) {
		struct rig_flow flow = {.version = 4, .protocol = protocol, .flags = 0x10};
		expect_apart(coalesce, flow, 100, 0x10, false);
		expect_apart(coalesce, flow, 10, 0x10, false); // IPv4's own checksum
	}
}

static void a_datagram_without_checksum_is_left_alone(void **state)
{
	struct coalesce *coalesce = *state;
	static uint8_t packets[2][200];
	for (unsigned i = 0; i < 2; i++) {
		struct rig_flow flow = {.version = 4, .protocol = 17};
		size_t length = rig_build(&flow, 100, 0, packets[i]);
		rig_put16(packets[i] + 26, 0);
		coalesce_add(coalesce, packets[i], length);
	}
	assert_int_equal(seen_count, 2);
}

// As a kernel leaves it: the sum of the pseudo header alone.
static const struct offload *leave_checksum(uint8_t *packet, size_t length)
{
	static struct offload offload;
	size_t ip = rig_ip_bytes(packet);
	bool is_udp = (ip == 20 ? packet[9] : packet[6]) == 17;
	offload =
		(struct offload){.needs_checksum = true, .checksum_start = (uint16_t)ip, .checksum_offset = is_udp ? 6 : 16};
	rig_put16(packet + ip + offload.checksum_offset, 0);
	// Whatever the payload and the transport header do not add up to.
	uint16_t all = rig_transport_sum(packet, length), part = rig_sum(0, packet + ip, length - ip);
	rig_put16(packet + ip + offload.checksum_offset,
	          rig_sum(all, (uint8_t[]){(uint8_t)(~part >> 8), (uint8_t)~part}, 2));
	return &offload;
}

static void datagrams_whose_checksums_are_left_to_us_are_joined_and_cut_again(void **state)
{
	struct coalesce *coalesce = *state;
	for (int version = 4; version <= 6; version += 2) {
		struct rig_flow flow = {.version = version, .protocol = 17};
		uint8_t *packets[3];
		size_t lengths[3];
		seen_count = 0;
		for (unsigned i = 0; i < 3; i++) {
			packets[i] = arena + arena_used;
			lengths[i] = rig_build(&flow, i == 2 ? 40 : 100, i * 100, packets[i]);
			arena_used += lengths[i];
			coalesce_add_partial(coalesce, packets[i], lengths[i], leave_checksum(packets[i], lengths[i]));
		}
		coalesce_flush(coalesce);
		assert_int_equal(seen_count, 1);
		assert_int_equal(seen[0].offload.kind, OFFLOAD_UDP);
		struct segment segment;
		assert_int_equal(segment_begin(&segment, seen[0].bytes, seen[0].length, &seen[0].offload), 0);
		for (unsigned i = 0; i < 3; i++) {
			uint8_t out[200];
			assert_int_equal(segment_room(&segment), lengths[i]);
			segment_next(&segment, out);
			assert_int_equal(rig_transport_sum(out, lengths[i]), 0xffff);
			assert_memory_equal(out + rig_ip_bytes(out) + 8, packets[i] + rig_ip_bytes(out) + 8, i == 2 ? 40 : 100);
		}
		assert_int_equal(segment_room(&segment), 0);
	}
}

static void a_packet_whose_checksum_is_left_to_us_goes_alone_as_it_was_said(void **state)
{
	struct coalesce *coalesce = *state;
	struct rig_flow flow = {.version = 4, .protocol = 17};
	uint8_t packet[2][128];
	size_t length = rig_build(&flow, 100, 0, packet[0]);
	coalesce_add_partial(coalesce, packet[0], length, leave_checksum(packet[0], length));
	coalesce_flush(coalesce);
	assert_int_equal(seen_count, 1);
	assert_true(seen[0].offload.kind == OFFLOAD_NONE && seen[0].offload.needs_checksum);
	assert_int_equal(seen[0].offload.checksum_start, 20);
	// A place that is not that of a checksum: never joined.
	seen_count = 0;
	for (unsigned i = 0; i < 2; i++) {
		rig_build(&flow, 100, 0, packet[i]);
		struct offload elsewhere = *leave_checksum(packet[i], length);
		elsewhere.checksum_offset = 4;
		coalesce_add_partial(coalesce, packet[i], length, &elsewhere);
	}
	coalesce_flush(coalesce);
	assert_int_equal(seen_count, 2);
	assert_int_equal(seen[1].offload.checksum_offset, 4);
}

static void an_acknowledgement_overtakes_nothing_of_its_flow(void **state)
{
	struct coalesce *coalesce = *state;
	struct rig_flow flow = {.version = 4, .protocol = 6, .flags = 0x10};
	give(coalesce, &flow, 100, 0);
	flow.sequence = 100;
	give(coalesce, &flow, 0, 0);
	flow.flags = 0x11; // and the end
	give(coalesce, &flow, 0, 0);
	assert_int_equal(seen_count, 3);
	assert_int_equal(seen[0].length, 140);
	assert_int_equal(seen[2].bytes[33], 0x11);
}

static void short_segments_and_pushes_end_a_super_packet(void **state)
{
	struct coalesce *coalesce = *state;
	struct rig_flow flow = {.version = 6, .protocol = 6, .flags = 0x10};
	for (unsigned i = 0; i < 3; i++) {
		size_t payload = i == 1 ? 60 : 100;
		give(coalesce, &flow, payload, 0);
		flow.sequence += (uint32_t)payload;
	}
	assert_int_equal(seen_count, 1);
	assert_int_equal(seen[0].length, 60 + 160);
	coalesce_flush(coalesce);
	assert_int_equal(seen_count, 2);
	flow.flags = 0x18;
	give(coalesce, &flow, 100, 0);
	assert_int_equal(seen_count, 3);
}

static void a_super_packet_never_outgrows_its_length_field_or_its_list(void **state)
{
	struct coalesce *coalesce = *state;
	for (size_t payload = 10; payload <= 9000; payload *= 3) {
		struct rig_flow flow = {.version = 4, .protocol = 6, .flags = 0x10};
		size_t total = 0;
		seen_count = arena_used = 0;
		for (unsigned i = 0; i < 300; i++, flow.sequence += (uint32_t)payload)
			give(coalesce, &flow, payload, 0);
		coalesce_flush(coalesce);
		for (size_t i = 0; i < seen_count; i++)
			total += seen[i].length - 40;
		assert_int_equal(total, 300 * payload);
	}
}

static void what_a_device_cannot_take_is_not_joined(void **state)
{
	struct coalesce *coalesce = *state;
	coalesce->joins_tcp = coalesce->joins_udp = false;
	for (unsigned i = 0; i < 4; i++) {
		struct rig_flow flow = {.version = 4, .protocol = i < 2 ? 6 : 17, .flags = 0x10, .sequence = i * 100};
		give(coalesce, &flow, 100, 0);
	}
	assert_int_equal(seen_count, 4);
}

static void garbage_passes_as_it_is(void **state)
{
	struct coalesce *coalesce = *state;
	static const uint8_t garbage[] = {0x45, 1, 2};
	coalesce_add(coalesce, garbage, sizeof garbage);
	coalesce_add(coalesce, garbage, 1);
	assert_int_equal(seen_count, 2);
	assert_memory_equal(seen[0].bytes, garbage, sizeof garbage);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_stream_becomes_one_packet_that_is_cut_back_into_the_same),
		TEST(the_partial_checksum_is_the_sum_of_the_pseudo_header),
		TEST(flows_that_mix_do_not_disturb_each_other),
		TEST(one_flow_too_many_hands_out_the_oldest),
		TEST(packets_that_differ_in_what_is_said_once_stay_apart),
		TEST(a_damaged_packet_stays_damaged),
		TEST(a_datagram_without_checksum_is_left_alone),
		TEST(datagrams_whose_checksums_are_left_to_us_are_joined_and_cut_again),
		TEST(a_packet_whose_checksum_is_left_to_us_goes_alone_as_it_was_said),
		TEST(an_acknowledgement_overtakes_nothing_of_its_flow),
		TEST(short_segments_and_pushes_end_a_super_packet),
		TEST(a_super_packet_never_outgrows_its_length_field_or_its_list),
		TEST(what_a_device_cannot_take_is_not_joined),
		TEST(garbage_passes_as_it_is),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
