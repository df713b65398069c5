// Needs the right to make a TUN device in a network of its own; skipped without.

#include "edge/tun.h"

#include "edge/netlink.h"
#include "packet/packet.h"
#include "packet/segment.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_tun.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

static struct netlink *netlink;

static struct tun *open_queues(bool offload, unsigned queues)
{
	struct tun *tun = NULL;
	struct netlink_address address;
	struct tun_settings settings = {.name = "tt%d", .offload = offload, .queues = queues};
	netlink_close(&netlink);
	if (unshare(CLONE_NEWNET) != 0 || tun_open(&settings, &tun) < 0)
		return NULL;
	assert_int_equal(netlink_parse("10.1.1.1/24", &address), 0);
	assert_int_equal(netlink_open(tun_name(tun), &netlink), 0);
	assert_int_equal(netlink_bring_up(netlink, 1400, 65535), 0);
	assert_int_equal(netlink_add_address(netlink, &address, NULL), 0);
	return tun;
}

static struct tun *open_one(bool offload)
{
	return open_queues(offload, 1);
}

static int make_sender(uint16_t segment_bytes)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(0x0a010102)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), size = segment_bytes;
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (void *)&to, sizeof to), 0);
	if (segment_bytes > 0)
		assert_int_equal(setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof size), 0);
	return fd;
}

// The next IPv4 packet; what the kernel says of itself in IPv6 is passed over.
static size_t read_one(struct tun *tun, uint8_t *packet, struct offload *offload)
{
	struct pollfd ready = {.fd = tun_descriptor(tun, 0), .events = POLLIN};
	size_t length = 0;
	for (;;) {
		assert_int_equal(poll(&ready, 1, 10000), 1);
		if (tun_read(tun, 0, packet, &length, offload) == 0 && packet[0] >> 4 == 4)
			return length;
	}
}

static uint8_t packet[TUN_PACKET_BYTES], data[60000], out[2000];

static void datagrams_come_as_one_super_packet_and_can_be_cut(void **state)
{
	(void)state;
	struct offload offload;
	struct segment segment;
	struct tun *tun = open_one(true);
	if (!tun || !tun_joins_udp(tun))
		skip();
	int fd = make_sender(1200);
	assert_int_equal(send(fd, data, 24000, 0), 24000);
	size_t length = read_one(tun, packet, &offload), count = 0;
	assert_int_equal(offload.kind, OFFLOAD_UDP);
	assert_int_equal(offload.segment_bytes, 1200);
	assert_int_equal(segment_begin(&segment, packet, length, &offload), 0);
	for (size_t room; (room = segment_room(&segment)) > 0; count++) {
		assert_int_equal(room, 1228);
		segment_next(&segment, out);
	}
	assert_int_equal(count, 20);
	assert_int_equal(tun_read(tun, 0, packet, &length, &offload), TUN_NONE);
	close(fd);
	tun_close(&tun);
}

static void without_offload_packets_come_one_by_one_and_complete(void **state)
{
	(void)state;
	struct offload offload;
	struct tun *tun = open_one(false);
	if (!tun)
		skip();
	assert_false(tun_joins_tcp(tun) || tun_joins_udp(tun));
	int fd = make_sender(1200);
	assert_int_equal(send(fd, data, 12000, 0), 12000);
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(read_one(tun, packet, &offload), 1228);
		assert_int_equal(offload.kind, OFFLOAD_NONE);
		assert_false(offload.needs_checksum);
	}
	close(fd);
	tun_close(&tun);
}

static void a_device_takes_packets_and_refuses_what_is_none(void **state)
{
	(void)state;
	struct offload none = {0};
	struct tun *tun = open_one(true);
	uint8_t garbage[100] = {0x10};
	if (!tun)
		skip();
	int fd = make_sender(0);
	assert_int_equal(send(fd, data, 100, 0), 100);
	size_t length = read_one(tun, packet, &none);
	struct segment segment;
	assert_int_equal(segment_begin(&segment, packet, length, &none), 0);
	segment_next(&segment, out);
	struct iovec pieces[] = {{out, 28}, {out + 28, 100}};
	assert_int_equal(tun_write(tun, 0, &(struct offload){0}, pieces, 2), 0);
	struct iovec bad = {garbage, sizeof garbage};
	assert_int_equal(tun_write(tun, 0, &(struct offload){0}, &bad, 1), TUN_UNFIT);
	close(fd);
	tun_close(&tun);
	assert_null(tun);
	tun_close(&tun);
}

static void names_are_numbered_or_taken(void **state)
{
	(void)state;
	struct tun *first = open_one(true), *second = NULL, *third = NULL;
	if (!first)
		skip();
	assert_string_equal(tun_name(first), "tt0");
	assert_int_equal(tun_open(&(struct tun_settings){.name = "tt%d"}, &second), 0);
	assert_string_equal(tun_name(second), "tt1");
	assert_int_equal(tun_open(&(struct tun_settings){.name = "tt1"}, &third), -EBUSY);
	assert_int_equal(tun_open(&(struct tun_settings){.name = "a-name-of-16-byt"}, &third), -ENAMETOOLONG);
	tun_close(&second);
	assert_int_equal(tun_open(&(struct tun_settings){.name = "tt1"}, &third), 0);
	tun_close(&third);
	tun_close(&first);
}

// The kernel says EINVAL of a packet that it cannot describe (here: for want of room for its header) and drops it.
static void a_packet_that_the_kernel_cannot_give_is_left_out(void **state)
{
	(void)state;
	struct offload offload;
	struct tun *tun = open_one(false);
	int much = 1 << 20;
	size_t length = 0;
	if (!tun)
		skip();
	int fd = make_sender(0);
	assert_int_equal(ioctl(tun_descriptor(tun, 0), TUNSETVNETHDRSZ, &much), 0);
	assert_int_equal(send(fd, data, 100, 0), 100);
	assert_int_equal(tun_read(tun, 0, packet, &length, &offload), TUN_STRANGE);
	close(fd);
	tun_close(&tun);
}

// ---- several queues

// From 10.1.1.1 port `port`; what the kernel says of itself is passed over. -1: nothing there.
static int next_port(struct tun *tun, unsigned queue)
{
	struct offload offload;
	size_t length = 0;
	while (tun_read(tun, queue, packet, &length, &offload) == 0)
		if (packet[0] >> 4 == 4)
			return packet_read16(packet + 20);
	return -1;
}

static int send_from(uint16_t port)
{
	struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(0x0a010101)};
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(0x0a010102)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (void *)&own, sizeof own), 0);
	assert_int_equal(sendto(fd, data, 100, 0, (void *)&to, sizeof to), 100);
	return fd;
}

// Datagrams of ports 1000 and up, until every queue has had one.
static void flows_are_spread_over_the_queues_and_each_stays_in_one(void **state)
{
	(void)state;
	struct tun *tun = open_queues(true, 3);
	unsigned count[3] = {0}, total = 0;
	uint8_t seen_in[100] = {0};
	if (!tun)
		skip();
	assert_int_equal(tun_queue_count(tun), 3);
	for (unsigned i = 0; i < 200; i++)
		close(send_from((uint16_t)(1000 + i % 100)));
	for (unsigned queue = 0; queue < 3; queue++)
		for (int port; (port = next_port(tun, queue)) >= 0; total++, count[queue]++) {
			assert_true(seen_in[port - 1000] == 0 || seen_in[port - 1000] == queue + 1);
			seen_in[port - 1000] = (uint8_t)(queue + 1);
		}
	assert_int_equal(total, 200);
	assert_true(count[0] > 0 && count[1] > 0 && count[2] > 0);
	tun_close(&tun);
}

static void answers_come_to_the_queue_into_which_a_flow_is_written(void **state)
{
	(void)state;
	struct tun *tun = open_queues(true, 2);
	if (!tun)
		skip();
	for (unsigned queue = 0; queue < 2; queue++)
		for (uint16_t port = 2000; port < 2020; port++) {
			int fd = send_from(port);
			(void)next_port(tun, 0);
			(void)next_port(tun, 1);
			// From 10.1.1.2:9 to 10.1.1.1:port, without a checksum.
			uint8_t answer[128] = {0x45, 0, 0, 128, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 1, 1, 2, 10, 1, 1, 1, 0, 9};
			uint32_t sum = 0;
			packet_write16(answer + 22, port);
			packet_write16(answer + 24, 108);
			for (int i = 0; i < 20; i += 2)
				sum += packet_read16(answer + i);
			packet_write16(answer + 10, 0xffff - sum % 0xffff);
			struct iovec piece = {answer, sizeof answer};
			assert_int_equal(tun_write(tun, queue, &(struct offload){0}, &piece, 1), 0);
			close(fd);
			close(send_from(port));
			assert_int_equal(next_port(tun, queue), port);
			assert_int_equal(next_port(tun, 1 - queue), -1);
		}
	tun_close(&tun);
}

static void a_queue_at_rest_leaves_its_flows_to_the_others(void **state)
{
	(void)state;
	struct tun *tun = open_queues(true, 2);
	unsigned total = 0;
	if (!tun)
		skip();
	assert_int_equal(tun_queue_rest(tun, 1, true), 0);
	for (unsigned i = 0; i < 50; i++)
		close(send_from((uint16_t)(3000 + i)));
	while (next_port(tun, 0) >= 0)
		total++;
	assert_int_equal(total, 50);
	assert_int_equal(tun_queue_rest(tun, 1, false), 0);
	for (unsigned i = 0; i < 50; i++)
		close(send_from((uint16_t)(3000 + i)));
	for (total = 0; next_port(tun, 1) >= 0; total++)
		;
	assert_true(total > 0 && total < 50);
	tun_close(&tun);
}

// Somebody else's device of several queues would let us in.
static void a_device_with_readers_is_not_shared(void **state)
{
	(void)state;
	struct tun *tun = open_queues(true, 2), *other = NULL;
	if (!tun)
		skip();
	assert_int_equal(tun_open(&(struct tun_settings){.name = "tt0", .queues = 2}, &other), -EBUSY);
	assert_int_equal(tun_open(&(struct tun_settings){.name = "tt0"}, &other), -EBUSY);
	tun_close(&tun);
}

// One that outlives its users, made beforehand with one queue or with several, is used as it is.
static void a_device_made_beforehand_decides_about_its_queues(void **state)
{
	(void)state;
	for (unsigned made = 1; made <= 2; made++)
		for (unsigned asked = 1; asked <= 2; asked++) {
			struct tun *first = open_queues(true, made), *second = NULL;
			if (!first)
				skip();
			assert_int_equal(ioctl(tun_descriptor(first, 0), TUNSETPERSIST, 1UL), 0);
			tun_close(&first);
			int result = -EBUSY;
			// The kernel notices a little later that nobody reads it any more.
			for (unsigned i = 0; i < 1000 && result == -EBUSY; i++) {
				result = tun_open(&(struct tun_settings){.name = "tt0", .queues = asked}, &second);
				usleep(result == -EBUSY ? 5000 : 0);
			}
			assert_int_equal(result, 0);
			assert_int_equal(tun_queue_count(second), made == 2 ? asked : 1);
			assert_int_equal(ioctl(tun_descriptor(second, 0), TUNSETPERSIST, 0UL), 0);
			tun_close(&second);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(datagrams_come_as_one_super_packet_and_can_be_cut),
		cmocka_unit_test(without_offload_packets_come_one_by_one_and_complete),
		cmocka_unit_test(a_device_takes_packets_and_refuses_what_is_none),
		cmocka_unit_test(names_are_numbered_or_taken),
		cmocka_unit_test(a_packet_that_the_kernel_cannot_give_is_left_out),
		cmocka_unit_test(flows_are_spread_over_the_queues_and_each_stays_in_one),
		cmocka_unit_test(answers_come_to_the_queue_into_which_a_flow_is_written),
		cmocka_unit_test(a_queue_at_rest_leaves_its_flows_to_the_others),
		cmocka_unit_test(a_device_with_readers_is_not_shared),
		cmocka_unit_test(a_device_made_beforehand_decides_about_its_queues),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	netlink_close(&netlink);
	return failed;
}
