// The lanes of one side, a device in memory, and a far end by hand over real data connections.

#include "flow/lanes.h"

#include "flow/lanes_internal.h"
#include "flow/lanes_rig.h"
#include "limits.h"
#include "packet/packet.h"

#define COUNT 5 // lanes

static struct link_rig rig;
static struct tun device;
static struct lanes *lanes;
static unsigned refusals;
static uint8_t packet[RIG_PACKET_BYTES]; // of the test that runs

static void on_gone(void *owner)
{
	(void)owner;
	fail();
}

static void on_refused(void *owner, struct link *link, const char *reason)
{
	(void)owner;
	(void)link;
	(void)reason;
	refusals++;
}

static bool all_are_up(void *owner)
{
	(void)owner;
	return lanes_up(lanes) == lanes_of(lanes, 0) + lanes_of(lanes, 1) && lanes_up(lanes) > 0;
}

static void start(unsigned workers, unsigned count, bool takes_super)
{
	static const struct lanes_ops ops = {.on_gone = on_gone, .on_refused = on_refused};
	struct link_rig_settings how = {
		.on_header = far_on_header,
		.terms = {.is_given = true, .streams = (uint16_t)count, .mtu = 1500, .takes_super = takes_super}};
	refusals = 0;
	link_rig_start(&rig, &how);
	device_open(&device, workers);
	struct lanes_settings settings = {.tun = &device,
	                                  .workers = workers,
	                                  .count = count,
	                                  .takes_super = takes_super,
	                                  .dialling = {.handshake_ms = 10000}};
	assert_int_equal(lanes_new(&settings, &ops, NULL, &lanes), 0);
	for (unsigned i = 0; i < workers; i++)
		assert_int_equal(lanes_open(lanes, i, rig.loop), 0);
	for (unsigned i = 0; i < workers; i++)
		assert_int_equal(lanes_set_link(lanes, i, rig.link), 0);
	if (far_decides_later)
		return;
	link_rig_wait(&rig, all_are_up, NULL);
	assert_int_equal(lanes_up(lanes), count);
}

static void stop(void)
{
	for (unsigned i = 0; i < device.queues; i++)
		lanes_close(lanes, i);
	far_fini();
	link_rig_turn(&rig, 2);
	link_rig_stop(&rig);
	lanes_free(&lanes);
	device_close(&device);
}

// ---- what has come

static unsigned wanted;

static bool parcels_have_come(void *owner)
{
	(void)owner;
	unsigned seen = 0;
	for (unsigned i = 0; i < far_count; i++)
		for (size_t at = 0; fars[i].used - at >= PARCEL_HEAD_BYTES; seen++) {
			at += PARCEL_HEAD_BYTES + (size_t)rig_get16(fars[i].bytes + at);
			if (at > fars[i].used)
				break;
		}
	return seen >= wanted;
}

static void wait_parcels(unsigned count)
{
	wanted = count;
	link_rig_wait(&rig, parcels_have_come, NULL);
}

// The lane on which this packet goes out. Nothing else may be on its way.
static unsigned lane_of(size_t length)
{
	struct parcel parcel;
	for (unsigned i = 0; i < far_count; i++)
		fars[i].at = fars[i].used = 0;
	assert_true(device_give(&device, 0, packet, length));
	wait_parcels(1);
	for (unsigned i = 0; i < far_count; i++) {
		if (!far_next(&fars[i], false, &parcel))
			continue;
		assert_int_equal(parcel.length, length);
		assert_memory_equal(parcel.packet, packet, length);
		return fars[i].number;
	}
	fail();
	return 0;
}

// ---- which lane

static void swap_ends(size_t addresses, size_t address_bytes, size_t ports)
{
	uint8_t kept[16];
	memcpy(kept, packet + addresses, address_bytes);
	memcpy(packet + addresses, packet + addresses + address_bytes, address_bytes);
	memcpy(packet + addresses + address_bytes, kept, address_bytes);
	memcpy(kept, packet + ports, 2);
	memcpy(packet + ports, packet + ports + 2, 2);
	memcpy(packet + ports + 2, kept, 2);
}

// The same datagram of IPv6 behind hop-by-hop options, a routing header and destination options.
static size_t put_extensions(size_t length)
{
	static const uint8_t headers[] = {43, 0, 1, 4, 0, 0, 0, 0, 60, 0, 0, 0, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0};
	memmove(packet + 40 + sizeof headers, packet + 40, length - 40);
	memcpy(packet + 40, headers, sizeof headers);
	packet[6] = 0;
	rig_put16(packet + 4, length - 40 + sizeof headers);
	return length + sizeof headers;
}

static void a_flow_has_one_lane_in_both_directions_and_behind_extension_headers(void **state)
{
	(void)state;
	unsigned used[COUNT] = {0}, kinds = 0;
	start(1, COUNT, false);
	for (uint16_t port = 1; port <= 24; port++) {
		struct rig_flow flow = {.version = port % 2 ? 4 : 6, .protocol = port % 4 < 2 ? 6 : 17, .port = port};
		flow.flags = 0x10;
		size_t ip = port % 2 ? 20 : 40, length = rig_build(&flow, 50, port, packet);
		unsigned lane = lane_of(length);
		used[lane]++;
		flow.sequence += 50;
		length = rig_build(&flow, 100, port, packet);
		assert_int_equal(lane_of(length), lane);
		swap_ends(ip == 20 ? 12 : 8, ip == 20 ? 4 : 16, ip);
		assert_int_equal(lane_of(length), lane);
		if (flow.version == 6 && flow.protocol == 17)
			assert_int_equal(lane_of(put_extensions(length)), lane);
	}
	for (unsigned i = 0; i < COUNT; i++)
		kinds += used[i] > 0;
	assert_int_equal(kinds, COUNT); // spread over all
	stop();
}

static void fragments_of_a_packet_share_a_lane(void **state)
{
	(void)state;
	start(1, COUNT, false);
	for (uint16_t port = 1; port <= 8; port++) {
		struct rig_flow flow = {.version = 4, .protocol = 17, .port = port, .id = port};
		size_t length = rig_build(&flow, 200, 0, packet);
		packet[15] = (uint8_t)port; // source
		rig_put16(packet + 6, 0x2000);
		unsigned lane = lane_of(length);
		// A later one has no ports; what stands there must not matter.
		for (unsigned i = 0; i < 4; i++) {
			rig_put16(packet + 6, i == 3 ? 30 * i : 0x2000 + 30 * (i + 1));
			rig_put16(packet + 20, 1000u * i);
			assert_int_equal(lane_of(length), lane);
		}
	}
	stop();
}

static void packets_without_ports_go_to_each_lane_in_turn(void **state)
{
	(void)state;
	struct rig_flow flow = {.version = 4, .protocol = 17};
	unsigned used[COUNT] = {0};
	start(1, COUNT, false);
	size_t length = rig_build(&flow, 56, 0, packet);
	packet[9] = 1; // ICMP
	for (unsigned i = 0; i < 3 * COUNT; i++)
		used[lane_of(length)]++;
	for (unsigned i = 0; i < COUNT; i++)
		assert_int_equal(used[i], 3);
	stop();
}

static void without_any_lane_packets_are_dropped_and_counted(void **state)
{
	(void)state;
	uint64_t before = counter_read(COUNTER_PACKET_NO_SESSION);
	start(1, COUNT, false);
	assert_int_equal(lanes_set_link(lanes, 0, NULL), 0);
	lanes_drop(lanes, 0, NULL, NULL);
	assert_int_equal(lanes_up(lanes), 0);
	assert_true(
		device_give(&device, 0, packet, rig_build(&(struct rig_flow){.version = 4, .protocol = 17}, 9, 0, packet)));
	link_rig_turn(&rig, 5);
	assert_int_equal(counter_read(COUNTER_PACKET_NO_SESSION), before + 1);
	stop();
}

// ---- when the wire is full

static size_t numbered(uint16_t port, uint32_t number)
{
	struct rig_flow flow = {.version = 4, .protocol = 17, .port = port};
	size_t length = rig_build(&flow, 1400, 0, packet);
	rig_put16(packet + 28, number >> 16);
	rig_put16(packet + 30, number & 0xffff);
	return length;
}

static uint32_t number_of(const uint8_t *bytes)
{
	return (uint32_t)rig_get16(bytes + 28) << 16 | rig_get16(bytes + 30);
}

static void a_lane_that_takes_no_more_holds_its_queue_and_goes_on_in_order(void **state)
{
	(void)state;
	uint32_t given = 0, seen = 0;
	struct parcel parcel;
	uint64_t congested = counter_read(COUNTER_PACKET_CONGESTED);
	start(1, 1, false);
	far_set_deaf(&fars[0], true);
	// Until nothing of the device is read any more.
	for (unsigned quiet = 0; quiet < 20;) {
		bool is_taken = device_give(&device, 0, packet, numbered(7, given));
		given += is_taken;
		quiet = is_taken ? 0 : quiet + 1;
		if (!is_taken)
			link_rig_turn(&rig, 1);
	}
	assert_true(given > 100);
	far_set_deaf(&fars[0], false);
	for (unsigned i = 0; i < 200; i++, given++)
		while (!device_give(&device, 0, packet, numbered(7, given)))
			link_rig_turn(&rig, 1);
	wait_parcels(given);
	for (; far_next(&fars[0], false, &parcel); seen++)
		assert_int_equal(number_of(parcel.packet), seen);
	assert_int_equal(seen, given);
	assert_int_equal(counter_read(COUNTER_PACKET_CONGESTED), congested);
	stop();
}

// ---- workers

static void a_packet_of_another_workers_lane_is_passed_on_to_it(void **state)
{
	(void)state;
	uint64_t passed = counter_read(COUNTER_PACKET_PASSED), congested = counter_read(COUNTER_PACKET_CONGESTED);
	start(2, 2, false);
	bool used[2] = {false};
	for (uint16_t port = 1; port <= 16; port++)
		used[lane_of(numbered(port, port))] = true; // all from queue 0
	assert_true(used[0] && used[1]);
	uint64_t now = counter_read(COUNTER_PACKET_PASSED);
	assert_true(now > passed && now < passed + 16);
	assert_int_equal(counter_read(COUNTER_PACKET_CONGESTED), congested);
	stop();
}

static void packets_without_ports_stay_on_the_worker_that_read_them(void **state)
{
	(void)state;
	struct rig_flow flow = {.version = 4, .protocol = 17};
	uint64_t passed = counter_read(COUNTER_PACKET_PASSED);
	start(2, 4, false);
	size_t length = rig_build(&flow, 56, 0, packet);
	packet[9] = 1;
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(lane_of(length) % 2, 0); // of worker 0
	assert_int_equal(counter_read(COUNTER_PACKET_PASSED), passed);
	stop();
}

// ---- from the far end

static void parcels_cut_anywhere_become_packets_of_the_device(void **state)
{
	(void)state;
	static uint8_t text[8192];
	size_t used = 0;
	start(1, 1, false);
	device.refuses_super = true; // nothing is to be joined
	for (unsigned i = 0; i < 5; i++) {
		size_t length = rig_build(&(struct rig_flow){.version = 4, .protocol = 17, .port = 9}, 100 * i + 1, i,
		                          text + used + PARCEL_HEAD_BYTES);
		parcel_write_head(text + used, false, length, NULL);
		used += PARCEL_HEAD_BYTES + length;
	}
	for (size_t at = 0; at < used; at += 97) {
		assert_int_equal(stream_send(fars[0].stream, text + at, used - at < 97 ? used - at : 97), 0);
		link_rig_turn(&rig, 2);
	}
	for (unsigned tries = 0; device.written < 5 && tries < 1000; tries++)
		link_rig_turn(&rig, 1);
	assert_int_equal(device.written, 5);
	for (size_t i = 0, at = 0; i < 5; i++) {
		size_t length = 28 + 100 * i + 1;
		assert_int_equal(device.list[i].length, length);
		assert_memory_equal(device.list[i].bytes, text + at + PARCEL_HEAD_BYTES, length);
		at += PARCEL_HEAD_BYTES + length;
	}
	stop();
}

static bool is_dialled_again(void *owner)
{
	unsigned *before = owner;
	return far_count > *before && lanes_up(lanes) == 1;
}

static void what_is_no_parcel_ends_the_lane_and_nothing_else(void **state)
{
	(void)state;
	static const uint8_t nothing[PARCEL_SUPER_HEAD_BYTES];
	static const uint8_t kind[PARCEL_SUPER_HEAD_BYTES] = {0, 0, 0, 20, 0, 9},
						 flag[PARCEL_SUPER_HEAD_BYTES] = {0, 0, 0, 20, 8};
	static const uint8_t length[PARCEL_SUPER_HEAD_BYTES] = {0, 1, 0, 0};
	const uint8_t *bad[] = {nothing, kind, flag, length};
	for (unsigned i = 0; i < COUNT_OF(bad); i++) {
		start(1, 1, true);
		unsigned before = far_count;
		assert_int_equal(stream_send(fars[0].stream, bad[i], PARCEL_SUPER_HEAD_BYTES), 0);
		link_rig_wait(&rig, is_dialled_again, &before);
		assert_true(fars[0].is_broken && device.written == 0 && refusals == 0);
		far_say(&fars[before], true, &(struct offload){0}, packet, numbered(1, 1));
		for (unsigned tries = 0; device.written < 1 && tries < 1000; tries++)
			link_rig_turn(&rig, 1);
		assert_int_equal(device.written, 1);
		stop();
	}
}

// 10 segments of 100 bytes in one super-packet.
static size_t super_packet(struct offload *offload)
{
	size_t length = rig_build(&(struct rig_flow){.version = 4, .protocol = 6, .flags = 0x10}, 1000, 0, packet);
	*offload = (struct offload){.kind = OFFLOAD_TCP4,
	                            .needs_checksum = true,
	                            .segment_bytes = 100,
	                            .header_bytes = 40,
	                            .checksum_start = 20,
	                            .checksum_offset = 16};
	return length;
}

static void a_super_packet_crosses_whole_and_is_cut_where_the_kernel_does_not_take_it(void **state)
{
	(void)state;
	struct offload offload;
	struct parcel parcel;
	size_t length = super_packet(&offload);
	start(1, 1, true);
	assert_true(device_give_as(&device, 0, &offload, packet, length));
	for (unsigned tries = 0; !far_next(&fars[0], true, &parcel); tries++) {
		assert_true(tries < 1000);
		link_rig_turn(&rig, 1);
	}
	assert_true(parcel.length == length && parcel.offload.kind == OFFLOAD_TCP4 && parcel.offload.segment_bytes == 100);
	assert_memory_equal(parcel.packet, packet, length);
	for (unsigned pass = 0; pass < 2; pass++) {
		unsigned count = pass == 0 ? 1 : 10;
		device.written = 0;
		device.refuses_super = pass == 1;
		far_say(&fars[0], true, &offload, packet, length);
		for (unsigned tries = 0; device.written < count && tries < 1000; tries++)
			link_rig_turn(&rig, 1);
		assert_int_equal(device.written, count);
		assert_int_equal(device.list[0].length, pass == 0 ? length : 140);
		assert_int_equal(device.list[0].offload.kind, pass == 0 ? OFFLOAD_TCP4 : OFFLOAD_NONE);
	}
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(rig_transport_sum(device.list[i].bytes, 140), 0xffff);
	stop();
}

// One byte each: refused of a peer, and what our own kernel has joined so goes one by one.
static void packets_of_a_few_bytes_do_not_cross_as_one(void **state)
{
	(void)state;
	struct offload offload;
	struct parcel parcel;
	uint64_t before = counter_read(COUNTER_PACKET_MALFORMED);
	start(1, 1, true);
	device.refuses_super = true;
	size_t length = super_packet(&offload);
	offload.segment_bytes = LIMIT_SEGMENT_BYTES - 1;
	far_say(&fars[0], true, &offload, packet, length);
	offload.segment_bytes = LIMIT_SEGMENT_BYTES;
	far_say(&fars[0], true, &offload, packet, length);
	for (unsigned tries = 0; device.written < 21 && tries < 1000; tries++)
		link_rig_turn(&rig, 1);
	assert_int_equal(device.written, 21);
	assert_int_equal(counter_read(COUNTER_PACKET_MALFORMED), before + 1);
	offload.segment_bytes = 10;
	assert_true(device_give_as(&device, 0, &offload, packet, length));
	for (unsigned i = 0; i < 100; i++) {
		for (unsigned tries = 0; !far_next(&fars[0], true, &parcel); tries++) {
			assert_true(tries < 1000);
			link_rig_turn(&rig, 1);
		}
		assert_true(parcel.length == 50 && parcel.offload.kind == OFFLOAD_NONE && !parcel.offload.needs_checksum);
		assert_int_equal(rig_transport_sum(parcel.packet, 50), 0xffff);
	}
	stop();
}

static void what_does_not_fit_its_offload_is_left_out_and_the_lane_goes_on(void **state)
{
	(void)state;
	struct offload offload;
	uint64_t before = counter_read(COUNTER_PACKET_MALFORMED);
	start(1, 1, true);
	size_t length = super_packet(&offload);
	offload.kind = OFFLOAD_UDP;
	far_say(&fars[0], true, &offload, packet, length);
	offload = (struct offload){.needs_checksum = true, .checksum_start = 1500, .checksum_offset = 16};
	far_say(&fars[0], true, &offload, packet, length);
	// Into the source address, after that has been judged.
	offload = (struct offload){.needs_checksum = true, .checksum_start = 0, .checksum_offset = 12};
	far_say(&fars[0], true, &offload, packet, length);
	far_say(&fars[0], true, &(struct offload){0}, (const uint8_t *)"no packet", 9);
	far_say(&fars[0], true, &(struct offload){0}, packet, numbered(1, 1));
	for (unsigned tries = 0; device.written < 1 && tries < 1000; tries++)
		link_rig_turn(&rig, 1);
	assert_int_equal(device.written, 1);
	assert_int_equal(counter_read(COUNTER_PACKET_MALFORMED), before + 4);
	assert_int_equal(lanes_up(lanes), 1);
	stop();
}

// ---- make before break

static bool second_has_come(void *owner)
{
	(void)owner;
	return far_count == 2;
}

static bool first_has_ended(void *owner)
{
	(void)owner;
	return fars[0].is_ended;
}

static void a_lane_goes_on_until_its_successor_is_taken_and_ends_in_order(void **state)
{
	(void)state;
	struct parcel parcel;
	start(1, 1, false);
	far_decides_later = true;
	lanes_set_dialling(lanes, 0, &(struct lanes_dialling){.handshake_ms = 9000});
	link_rig_wait(&rig, second_has_come, NULL);
	assert_true(device_give(&device, 0, packet, numbered(1, 1)));
	wait_parcels(1);
	assert_true(far_next(&fars[0], false, &parcel)); // the successor is not taken yet
	far_confirm(&fars[1]);
	link_rig_wait(&rig, first_has_ended, NULL);
	assert_int_equal(lanes_up(lanes), 1);
	assert_true(device_give(&device, 0, packet, numbered(1, 2)));
	wait_parcels(2);
	assert_true(!far_next(&fars[0], false, &parcel) && far_next(&fars[1], false, &parcel));
	// What is still said on the old one counts.
	unsigned before = device.written;
	far_say(&fars[0], false, NULL, packet, numbered(1, 3));
	assert_int_equal(stream_finish(fars[0].stream), 0);
	for (unsigned tries = 0; (device.written == before || lanes_of(lanes, 0) > 1) && tries < 1000; tries++)
		link_rig_turn(&rig, 1);
	assert_int_equal(device.written, before + 1);
	assert_int_equal(lanes_of(lanes, 0), 1);
	stop();
}

static void a_successor_that_is_refused_leaves_the_lane_as_it_is(void **state)
{
	(void)state;
	start(1, 1, false);
	far_decides_later = true;
	lanes_set_dialling(lanes, 0, &(struct lanes_dialling){.handshake_ms = 9000});
	link_rig_wait(&rig, second_has_come, NULL);
	stream_refuse(&fars[1].stream, HEADER_LIMIT, "not now");
	for (unsigned tries = 0; refusals == 0 && tries < 1000; tries++)
		link_rig_turn(&rig, 1);
	assert_true(refusals == 1 && lanes_up(lanes) == 1 && !fars[0].is_ended);
	assert_true(device_give(&device, 0, packet, numbered(1, 1)));
	wait_parcels(1);
	stop();
}

// ---- the taking side

static struct lanes *taking;
static struct tun taking_device;
static struct stream *waiting; // a data connection that is to be taken later
static bool takes_later;

static void on_header_taken(void *owner, struct stream *stream, const struct header *header)
{
	(void)owner;
	if (takes_later && !waiting && header->port == 1)
		waiting = stream;
	else
		lanes_take(taking, 0, lanes_only(taking), stream, header->port);
}

static bool first_have_ended(void *owner)
{
	const unsigned *count = owner;
	unsigned ended = 0;
	for (unsigned i = 0; i < far_count; i++)
		ended += fars[i].is_ended;
	return ended == *count;
}

// Lanes on both sides; the taking side has `taken` of them and gives all that it takes at once to worker 0.
static void start_both(unsigned workers, unsigned count, unsigned taken)
{
	static const struct lanes_ops ops = {.on_gone = on_gone, .on_refused = on_refused};
	start(1, count, false);
	device_open(&taking_device, workers);
	taking_device.refuses_super = device.refuses_super = true; // nothing is joined
	struct lanes_settings settings = {.tun = &taking_device, .workers = workers, .count = taken};
	assert_int_equal(lanes_new(&settings, &ops, NULL, &taking), 0);
	for (unsigned i = 0; i < workers; i++)
		assert_int_equal(lanes_open(taking, i, rig.loop), 0);
	link_rig_on_header = on_header_taken;
	lanes_set_dialling(lanes, 0, &(struct lanes_dialling){.handshake_ms = 9000});
	link_rig_wait(&rig, first_have_ended, &taken);
	for (unsigned i = 0; i < far_count; i++)
		if (fars[i].is_ended)
			assert_int_equal(stream_finish(fars[i].stream), 0);
}

static void stop_both(void)
{
	stream_close(&waiting);
	takes_later = false;
	for (unsigned i = 0; i < taking_device.queues; i++)
		lanes_close(taking, i);
	link_rig_turn(&rig, 2);
	stop();
	lanes_free(&taking);
	device_close(&taking_device);
}

static bool near_is_taken(void *owner)
{
	(void)owner;
	return lanes_up(taking) > 0 && lanes_up(taking) == lanes_up(lanes) && lanes_of(lanes, 0) == lanes_up(lanes);
}

static void a_number_that_is_no_lanes_is_refused(void **state)
{
	(void)state;
	start_both(1, 3, 2);
	for (unsigned tries = 0; (refusals == 0 || lanes_up(taking) < 2) && tries < 2000; tries++)
		link_rig_turn(&rig, 1);
	assert_true(refusals == 1 && lanes_up(taking) == 2); // number 3
	assert_int_equal(lanes_up(lanes), 3);
	stop_both();
}

static void a_number_has_only_so_many_connections_and_each_is_given_back(void **state)
{
	(void)state;
	start_both(1, 2, 2);
	link_rig_wait(&rig, near_is_taken, NULL);
	_Atomic uint16_t *made = lanes_only(taking)->made;
	// Predecessors that the client does not end: all but one.
	made[0] = LIMIT_LANES_PER_NUMBER;
	lanes_set_dialling(lanes, 0, &(struct lanes_dialling){.handshake_ms = 8000});
	for (unsigned tries = 0; (refusals == 0 || lanes_of(lanes, 0) > 2) && tries < 2000; tries++)
		link_rig_turn(&rig, 1);
	assert_true(refusals == 1 && lanes_up(taking) == 2 && lanes_up(lanes) == 2);
	for (unsigned tries = 0; made[1] > 1 && tries < 2000; tries++)
		link_rig_turn(&rig, 1);
	assert_int_equal(made[0], LIMIT_LANES_PER_NUMBER);
	assert_int_equal(made[1], 1); // the other was dialled again
	made[0] = 1;
	assert_true(device_give(&device, 0, packet, numbered(1, 1)));
	for (unsigned tries = 0; taking_device.written < 1 && tries < 1000; tries++)
		link_rig_turn(&rig, 1);
	assert_int_equal(taking_device.written, 1); // nothing broke
	lanes_drop(taking, 0, NULL, NULL);
	assert_int_equal(made[0] + made[1], 0);
	stop_both();
}

static void nothing_is_lost_while_all_lanes_are_dialled_again_and_again(void **state)
{
	(void)state;
	uint64_t no_session = counter_read(COUNTER_PACKET_NO_SESSION), congested = counter_read(COUNTER_PACKET_CONGESTED);
	unsigned given = 0;
	start_both(1, 3, 3);
	link_rig_wait(&rig, near_is_taken, NULL);
	for (uint32_t i = 0; i < 400; i++) {
		if (i % 20 == 0)
			lanes_set_dialling(lanes, 0, &(struct lanes_dialling){.handshake_ms = 9001 + i});
		assert_true(device_give(&device, 0, packet, numbered((uint16_t)i, i)));
		assert_true(device_give(&taking_device, 0, packet, numbered((uint16_t)i, i)));
		given++;
		link_rig_turn(&rig, 1);
	}
	for (unsigned tries = 0; (taking_device.written < given || device.written < given) && tries < 2000; tries++)
		link_rig_turn(&rig, 1);
	assert_int_equal(taking_device.written, given);
	assert_int_equal(device.written, given);
	assert_int_equal(counter_read(COUNTER_PACKET_NO_SESSION), no_session);
	assert_int_equal(counter_read(COUNTER_PACKET_CONGESTED), congested);
	stop_both();
}

// Between the moment when worker 1 passes its packet on to worker 0 and the one when that takes it.
static void move_lane(unsigned queue)
{
	assert_int_equal(queue, 1);
	lanes_take(taking, 1, lanes_only(taking), waiting, 1);
	waiting = NULL;
	lanes_drop(taking, 0, NULL, NULL);
	assert_int_equal(lanes_of(taking, 1), 1);
}

static bool one_waits(void *owner)
{
	(void)owner;
	return waiting != NULL;
}

static void a_packet_passed_to_a_worker_whose_lane_has_moved_follows_it(void **state)
{
	(void)state;
	uint64_t passed = counter_read(COUNTER_PACKET_PASSED), congested = counter_read(COUNTER_PACKET_CONGESTED);
	start_both(2, 1, 1);
	link_rig_wait(&rig, near_is_taken, NULL);
	takes_later = true;
	lanes_set_dialling(lanes, 0, &(struct lanes_dialling){.handshake_ms = 8000});
	link_rig_wait(&rig, one_waits, NULL);
	taking_device.on_empty = move_lane;
	assert_true(device_give(&taking_device, 1, packet, numbered(1, 77)));
	for (unsigned tries = 0; device.written < 1 && tries < 1000; tries++)
		link_rig_turn(&rig, 1);
	assert_int_equal(device.written, 1);
	assert_int_equal(number_of(device.list[0].bytes), 77);
	assert_int_equal(counter_read(COUNTER_PACKET_PASSED), passed + 2);
	assert_int_equal(counter_read(COUNTER_PACKET_CONGESTED), congested);
	stop_both();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_flow_has_one_lane_in_both_directions_and_behind_extension_headers),
		cmocka_unit_test(fragments_of_a_packet_share_a_lane),
		cmocka_unit_test(packets_without_ports_go_to_each_lane_in_turn),
		cmocka_unit_test(without_any_lane_packets_are_dropped_and_counted),
		cmocka_unit_test(a_lane_that_takes_no_more_holds_its_queue_and_goes_on_in_order),
		cmocka_unit_test(a_packet_of_another_workers_lane_is_passed_on_to_it),
		cmocka_unit_test(packets_without_ports_stay_on_the_worker_that_read_them),
		cmocka_unit_test(parcels_cut_anywhere_become_packets_of_the_device),
		cmocka_unit_test(what_is_no_parcel_ends_the_lane_and_nothing_else),
		cmocka_unit_test(a_super_packet_crosses_whole_and_is_cut_where_the_kernel_does_not_take_it),
		cmocka_unit_test(packets_of_a_few_bytes_do_not_cross_as_one),
		cmocka_unit_test(what_does_not_fit_its_offload_is_left_out_and_the_lane_goes_on),
		cmocka_unit_test(a_lane_goes_on_until_its_successor_is_taken_and_ends_in_order),
		cmocka_unit_test(a_successor_that_is_refused_leaves_the_lane_as_it_is),
		cmocka_unit_test(a_number_that_is_no_lanes_is_refused),
		cmocka_unit_test(a_number_has_only_so_many_connections_and_each_is_given_back),
		cmocka_unit_test(nothing_is_lost_while_all_lanes_are_dialled_again_and_again),
		cmocka_unit_test(a_packet_passed_to_a_worker_whose_lane_has_moved_follows_it),
	};
	return cmocka_run_group_tests(tests, link_rig_once, link_rig_end);
}
