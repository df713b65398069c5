// A device in a network of its own; the test is the peer. Skipped without the right to make one.

#include "flow/packets.h"

#include "core/allocation_rig.h"
#include "core/counter.h"
#include "core/loop_rig.h"
#include "edge/netlink.h"
#include "net/socket.h"
#include "packet/checksum.h"
#include "packet/packet.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

static struct tun *tun;
static struct netlink *netlink;
static struct packets *packets;
static struct ttun *peer;
static int sender; // UDP to 10.1.1.2:9 from 10.1.1.1:7
static unsigned lost;
static char reason[100];
static uint8_t heard[1 << 20];
static size_t heard_length;

static void on_lost(void *owner, const char *why)
{
	lost++;
	snprintf(reason, sizeof reason, "%s", why);
	loop_stop(((struct bench *)owner)->loop);
}

static struct ttun *engine(enum ttun_role role)
{
	static const uint8_t nonce[TTUN_NONCE_BYTES];
	struct secret key = {0};
	struct ttun *ttun = NULL;
	assert_int_equal(secret_start(), 0);
	assert_int_equal(ttun_key("k", 1, &key), 0);
	assert_int_equal(ttun_new(role, AEAD_AES_256_GCM, &key, nonce, &ttun), 0);
	secret_fini(&key);
	return ttun;
}

static void hand_over(struct ttun *from, struct ttun *to)
{
	uint8_t bytes[TTUN_SPEAK_BYTES];
	size_t used, length = ttun_speak(from, bytes);
	assert_int_equal(ttun_hear(to, bytes, length, &used), 0);
}

static void attach(struct bench *bench)
{
	struct ttun *ours = engine(TTUN_SERVER);
	peer = engine(TTUN_CLIENT);
	for (int i = 0; i < 2; i++) {
		hand_over(peer, ours);
		hand_over(ours, peer);
	}
	assert_int_equal(packets_attach(packets, &bench->fds[0], &ours), 0);
	assert_true(packets_has_session(packets) && bench->fds[0] == -1 && ours == NULL);
}

static void attach_hybrid(struct bench *bench)
{
	struct ttun *ours = engine(TTUN_SERVER);
	peer = engine(TTUN_CLIENT);
	ttun_use_hybrid(ours);
	ttun_use_hybrid(peer);
	hand_over(peer, ours);
	hand_over(ours, peer);
	hand_over(peer, ours);
	assert_int_equal(packets_attach(packets, &bench->fds[0], &ours), 0);
}

// False: not possible here.
static bool open_queues(struct bench *bench, unsigned queues)
{
	struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(7), .sin_addr.s_addr = htonl(0x0a010101)};
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(0x0a010102)};
	struct netlink_address address;
	if (unshare(CLONE_NEWNET) != 0 ||
	    tun_open(&(struct tun_settings){.name = "pt%d", .offload = true, .queues = queues}, &tun) < 0)
		return false;
	assert_int_equal(netlink_parse("10.1.1.1/24", &address), 0);
	assert_int_equal(netlink_open(tun_name(tun), &netlink), 0);
	assert_int_equal(netlink_bring_up(netlink, 1280, 65535), 0);
	assert_int_equal(netlink_add_address(netlink, &address, NULL), 0);
	assert_int_equal(packets_new(bench->loop, tun, on_lost, bench, &packets), 0);
	assert_int_equal(packets_open(packets, 0, bench->loop), 0);
	sender = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(sender, (void *)&own, sizeof own), 0);
	assert_int_equal(connect(sender, (void *)&to, sizeof to), 0);
	lost = 0;
	heard_length = 0;
	return true;
}

static bool open_all(struct bench *bench)
{
	return open_queues(bench, 1);
}

static void close_all(struct bench *bench)
{
	packets_close(packets, 0);
	run_what_is_ready(bench);
	packets_free(&packets);
	netlink_close(&netlink);
	tun_close(&tun);
	ttun_free(&peer);
	close(sender);
}

// The IPv4 packets that the peer finds in its socket; the last one is left in `last`. Part of a frame waits for the
// rest.
static unsigned receive_all(struct bench *bench, uint8_t *last, size_t *last_length)
{
	ssize_t got = recv(bench->fds[1], heard + heard_length, sizeof heard - heard_length, 0);
	size_t at = 0;
	unsigned count = 0;
	struct ttun_packet packet;
	heard_length += got > 0 ? (size_t)got : 0;
	for (int result; (result = ttun_open(peer, heard + at, heard_length - at, &packet)) != TTUN_MORE;
	     at += packet.used) {
		assert_int_equal(result, 0);
		if (packet.bytes[0] >> 4 != 4)
			continue;
		count++;
		memcpy(last, packet.bytes, packet.length);
		*last_length = packet.length;
	}
	memmove(heard, heard + at, heard_length - at);
	heard_length -= at;
	return count;
}

static uint8_t payload[24000], last[2000];

static void a_super_packet_leaves_as_frames_in_one_piece(void **state)
{
	struct bench *bench = *state;
	size_t length = 0;
	int size = 1200;
	if (!open_all(bench))
		skip();
	attach(bench);
	assert_int_equal(setsockopt(sender, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof size), 0);
	assert_int_equal(send(sender, payload, sizeof payload, 0), sizeof payload);
	run_what_is_ready(bench);
	assert_int_equal(receive_all(bench, last, &length), 20);
	assert_int_equal(length, 1228);
	struct packets_state now;
	packets_read(packets, &now);
	assert_true(now.packets_outward >= 20 && now.bytes_outward >= 20 * 1228);
	close_all(bench);
}

// 10.1.1.2:9 to 10.1.1.1:7, with or without a checksum of its payload.
static size_t build_as(uint8_t *frame, uint8_t fill, size_t size, bool has_checksum)
{
	uint8_t *ip = frame + TTUN_LENGTH_BYTES;
	static const uint8_t head[] = {0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 1, 1, 2, 10, 1, 1, 1, 0, 9, 0, 7};
	uint32_t sum = 0;
	memset(ip, 0, 28);
	memcpy(ip, head, sizeof head);
	packet_write16(ip + 2, 28 + size);
	packet_write16(ip + 24, 8 + size);
	for (int i = 0; i < 20; i += 2)
		sum += packet_read16(ip + i);
	packet_write16(ip + 10, 0xffff - (sum % 0xffff));
	memset(ip + 28, fill, size);
	if (has_checksum) {
		uint64_t all = checksum_add(checksum_pseudo(ip, PACKET_UDP, 8 + size), ip + 20, 8 + size);
		uint16_t check = (uint16_t)~checksum_fold(all);
		memcpy(ip + 26, &check, sizeof check);
	}
	ttun_seal(peer, frame, 28 + size);
	return 28 + size + TTUN_OVERHEAD_BYTES;
}

static size_t build(uint8_t *frame, uint8_t fill, size_t size)
{
	return build_as(frame, fill, size, false);
}

static void frames_cut_anywhere_become_packets_of_the_device(void **state)
{
	struct bench *bench = *state;
	uint8_t frames[3000], got[2000];
	if (!open_all(bench))
		skip();
	attach(bench);
	size_t length = build(frames, 'a', 500);
	length += build(frames + length, 'b', 700);
	for (size_t at = 0; at < length;) {
		size_t part = at == 0 ? 1 : at < length - at ? at : length - at; // 1, 1, 2, 4, ...
		assert_int_equal(send(bench->fds[1], frames + at, part, 0), part);
		run_what_is_ready(bench);
		at += part;
	}
	assert_int_equal(recv(sender, got, sizeof got, 0), 500);
	assert_int_equal(got[0], 'a');
	assert_int_equal(recv(sender, got, sizeof got, 0), 700);
	assert_int_equal(got[699], 'b');
	assert_int_equal(lost, 0);
	close_all(bench);
}

static void what_is_forged_ends_the_session_and_what_is_no_packet_does_not(void **state)
{
	struct bench *bench = *state;
	uint8_t frame[200] = {0};
	if (!open_all(bench))
		skip();
	attach(bench);
	frame[2] = 0x10;
	ttun_seal(peer, frame, 30);
	assert_int_equal(send(bench->fds[1], frame, 48, 0), 48);
	run_what_is_ready(bench);
	assert_int_equal(lost, 0);
	frame[10] ^= 1;
	assert_int_equal(send(bench->fds[1], frame, 48, 0), 48);
	run(bench);
	assert_int_equal(lost, 1);
	assert_string_equal(reason, "what arrived is damaged or forged");
	assert_false(packets_has_session(packets));
	close_all(bench);
}

static void the_end_of_the_peer_is_told_once(void **state)
{
	struct bench *bench = *state;
	if (!open_all(bench))
		skip();
	attach(bench);
	socket_close(&bench->fds[1]);
	run(bench);
	assert_int_equal(lost, 1);
	assert_false(packets_has_session(packets)); // found out by reading or by writing
	run_what_is_ready(bench);
	assert_int_equal(lost, 1);
	close_all(bench);
}

static void without_a_session_packets_are_dropped_and_counted(void **state)
{
	struct bench *bench = *state;
	if (!open_all(bench))
		skip();
	uint64_t before = counter_read(COUNTER_PACKET_NO_SESSION);
	for (int i = 0; i < 10; i++)
		assert_int_equal(send(sender, payload, 100, 0), 100);
	run_what_is_ready(bench);
	assert_true(counter_read(COUNTER_PACKET_NO_SESSION) >= before + 10);
	close_all(bench);
}

static void a_peer_that_does_not_read_stops_the_device_and_loses_nothing_that_was_taken(void **state)
{
	struct bench *bench = *state;
	size_t length = 0;
	if (!open_all(bench))
		skip();
	attach(bench);
	struct packets_state now = {0};
	for (unsigned i = 0; i < 4000; i++) {
		(void)!send(sender, payload, 1200, 0);
		if (i % 50 == 0)
			run_what_is_ready(bench);
	}
	unsigned count = 0;
	for (int i = 0; i < 200; i++) {
		count += receive_all(bench, last, &length);
		run_what_is_ready(bench);
	}
	packets_read(packets, &now);
	assert_true(count > 100 && count <= now.packets_outward);
	assert_int_equal(lost, 0);
	close_all(bench);
}

// The clocks of both sides run alike, so that the client's offer arrives when the server's own time is up as well.
static void a_renewal_under_way_when_the_time_is_up_has_until_the_next(void **state)
{
	struct bench *bench = *state;
	uint8_t offer[TTUN_SPEAK_BYTES];
	if (!open_all(bench))
		skip();
	packets_set_renewal(packets, 1000, 0);
	attach_hybrid(bench);
	assert_true(ttun_renew(peer));
	size_t length = ttun_speak_control(peer, offer);
	assert_int_equal(send(bench->fds[1], offer, length, 0), length);
	assert_int_equal(loop_timer_open(bench->loop, stop_now, bench, &bench->timer), 0);
	loop_timer_arm(bench->timer, 1400, 0);
	assert_int_equal(loop_run(bench->loop), 0);
	assert_int_equal(lost, 0);
	run(bench);
	assert_int_equal(lost, 1);
	assert_string_equal(reason, "the peer does not renew the keys");
	close_all(bench);
}

// A frame that begins with 0 would be one of the renewal of keys; ttun ends the session over any that is no IP.
static void what_the_device_gives_and_is_no_ip_stays_here(void **state)
{
	struct bench *bench = *state;
	uint8_t forged[40] = {0, 3};
	struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP)};
	struct ttun_packet packet;
	if (!open_all(bench))
		skip();
	attach(bench);
	int raw = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	to.sll_ifindex = (int)if_nametoindex(tun_name(tun));
	uint64_t before = counter_read(COUNTER_PACKET_STRANGE);
	assert_int_equal(sendto(raw, forged, sizeof forged, 0, (void *)&to, sizeof to), sizeof forged);
	run_what_is_ready(bench);
	assert_int_equal(counter_read(COUNTER_PACKET_STRANGE), before + 1);
	ssize_t got = recv(bench->fds[1], heard, sizeof heard, MSG_DONTWAIT);
	size_t length = got > 0 ? (size_t)got : 0, at = 0;
	for (; ttun_open(peer, heard + at, length - at, &packet) == 0; at += packet.used)
		assert_true(packet.bytes[0] >> 4 == 4 || packet.bytes[0] >> 4 == 6);
	close(raw);
	close_all(bench);
}

static void the_way_of_a_packet_allocates_nothing(void **state)
{
	struct bench *bench = *state;
	uint8_t frame[1400], got[1400];
	size_t length = 0;
	unsigned long before = 0;
	SKIP_UNLESS_COUNTED();
	if (!open_all(bench))
		skip();
	attach(bench);
	assert_int_equal(loop_timer_open(bench->loop, stop_now, bench, &bench->timer), 0);
	for (unsigned i = 0; i < 200; i++) {
		if (i == 20)
			before = allocations;
		assert_int_equal(send(sender, payload, 1200, 0), 1200);
		assert_true(send(bench->fds[1], frame, build(frame, 'x', 1000), 0) > 0);
		loop_timer_arm(bench->timer, 1, 0);
		assert_int_equal(loop_run(bench->loop), 0);
		assert_true(recv(sender, got, sizeof got, 0) == 1000);
		(void)receive_all(bench, last, &length);
	}
	assert_int_equal(allocations, before);
	close_all(bench);
}

// ---- a second queue on a thread of its own

struct second {
	pthread_t thread;
	struct loop *loop;
	struct loop_task task;
	pthread_barrier_t is_open;
	int result;
};
static struct second second;

static void close_second(struct loop_task *task)
{
	(void)task;
	packets_close(packets, 1);
	loop_stop(second.loop);
}

static void *run_second(void *argument)
{
	(void)argument;
	second.result = packets_open(packets, 1, second.loop);
	pthread_barrier_wait(&second.is_open);
	if (second.result == 0)
		second.result = loop_run(second.loop);
	return NULL;
}

static bool open_two(struct bench *bench)
{
	if (!open_queues(bench, 2))
		return false;
	assert_int_equal(tun_queue_count(tun), 2);
	assert_int_equal(loop_new(&second.loop), 0);
	second.task.run = close_second;
	assert_int_equal(pthread_barrier_init(&second.is_open, NULL, 2), 0);
	assert_int_equal(pthread_create(&second.thread, NULL, run_second, NULL), 0);
	pthread_barrier_wait(&second.is_open);
	return true;
}

static void close_two(struct bench *bench)
{
	loop_post(second.loop, &second.task);
	pthread_join(second.thread, NULL);
	pthread_barrier_destroy(&second.is_open);
	assert_int_equal(second.result, 0);
	packets_close(packets, 0);
	run_what_is_ready(bench);
	loop_free(&second.loop);
	close_all(bench);
}

static int sender_from(uint16_t port)
{
	struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(0x0a010101)};
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(0x0a010102)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(fd, (void *)&own, sizeof own), 0);
	assert_int_equal(connect(fd, (void *)&to, sizeof to), 0);
	return fd;
}

// The peer opens every frame (in the order of its counter), whoever sealed it, while its socket is full again and
// again; and what comes back is opened by the second thread meanwhile.
static void slices_of_two_threads_leave_as_one_sequence(void **state)
{
	struct bench *bench = *state;
	uint8_t frame[1400], got[1400];
	size_t length = 0;
	unsigned count = 0, came = 0;
	int senders[16];
	if (!open_two(bench))
		skip();
	attach(bench);
	for (unsigned i = 0; i < 16; i++)
		senders[i] = sender_from((uint16_t)(100 + i));
	for (unsigned turn = 0; turn < 300; turn++) {
		for (unsigned i = 0; i < 16; i++)
			(void)!send(senders[i], payload, 1200, 0);
		struct pollfd room = {.fd = bench->fds[1], .events = POLLOUT};
		assert_int_equal(poll(&room, 1, WATCHDOG_MS), 1);
		assert_true(send(bench->fds[1], frame, build(frame, 'x', 1000), 0) > 0);
		run_what_is_ready(bench);
		if (turn % 4 == 0)
			count += receive_all(bench, last, &length);
		came += recv(sender, got, sizeof got, 0) == 1000;
	}
	struct packets_state now;
	for (unsigned i = 0; i < 500; i++) {
		packets_read(packets, &now);
		count += receive_all(bench, last, &length);
		came += recv(sender, got, sizeof got, 0) == 1000;
		run_what_is_ready(bench);
	}
	assert_int_equal(lost, 0);
	assert_int_equal(came, 300);
	assert_true(count > 1000 && count <= now.packets_outward);
	for (unsigned i = 0; i < 16; i++)
		close(senders[i]);
	close_two(bench);
}

// Attached, ended and attached again while both threads are busy with packets.
static void sessions_come_and_go_under_two_threads(void **state)
{
	struct bench *bench = *state;
	int senders[16];
	if (!open_two(bench))
		skip();
	for (unsigned i = 0; i < 16; i++)
		senders[i] = sender_from((uint16_t)(100 + i));
	for (unsigned turn = 0; turn < 60; turn++) {
		heard_length = 0;
		ttun_free(&peer);
		if (bench->fds[0] < 0) {
			close(bench->fds[1]);
			make_sockets(bench->fds);
		}
		attach(bench);
		for (unsigned i = 0; i < 16 * 8; i++)
			(void)!send(senders[i % 16], payload, 1200, 0);
		run_what_is_ready(bench);
		if (turn % 3 == 0)
			packets_detach(packets);
	}
	assert_true(lost == 0);
	for (unsigned i = 0; i < 16; i++)
		close(senders[i]);
	close_two(bench);
}

// ---- renewal by bytes, sources

static void what_is_sent_uses_up_the_keys_too(void **state)
{
	struct bench *bench = *state;
	if (!open_all(bench))
		skip();
	struct ttun *ours = engine(TTUN_CLIENT);
	peer = engine(TTUN_SERVER);
	ttun_use_hybrid(ours);
	ttun_use_hybrid(peer);
	hand_over(ours, peer);
	hand_over(peer, ours);
	hand_over(ours, peer);
	packets_set_renewal(packets, 3600000, 10000);
	assert_int_equal(packets_attach(packets, &bench->fds[0], &ours), 0);
	for (unsigned i = 0; i < 12; i++)
		assert_int_equal(send(sender, payload, 1000, 0), 1000);
	run_what_is_ready(bench);
	ssize_t got = recv(bench->fds[1], heard, sizeof heard, 0);
	struct ttun_packet packet;
	size_t at = 0;
	int result = 0;
	while ((result = ttun_open(peer, heard + at, (size_t)got - at, &packet)) == 0)
		at += packet.used;
	assert_int_equal(result, TTUN_CONTROL);
	assert_int_equal(ttun_hear_control(peer, &packet), 0);
	close_all(bench);
}

static void only_allowed_sources_come_in(void **state)
{
	struct bench *bench = *state;
	uint8_t frames[1000], got[1000];
	struct cidr sources[2];
	if (!open_all(bench))
		skip();
	attach(bench);
	assert_int_equal(cidr_parse("10.2.0.0/16", &sources[0]), 0);
	assert_int_equal(cidr_parse("fd00::/8", &sources[1]), 0);
	uint64_t before = counter_read(COUNTER_PACKET_SOURCE);
	assert_int_equal(packets_set_sources(packets, sources, 2), 0);
	size_t length = build(frames, 'a', 300);
	assert_int_equal(send(bench->fds[1], frames, length, 0), length);
	run_what_is_ready(bench);
	assert_int_equal(recv(sender, got, sizeof got, 0), -1);
	assert_int_equal(counter_read(COUNTER_PACKET_SOURCE), before + 1);
	assert_int_equal(cidr_parse("10.1.1.2", &sources[0]), 0);
	assert_int_equal(packets_set_sources(packets, sources, 2), 0);
	length = build(frames, 'b', 300);
	assert_int_equal(send(bench->fds[1], frames, length, 0), length);
	run_what_is_ready(bench);
	assert_int_equal(recv(sender, got, sizeof got, 0), 300);
	assert_int_equal(counter_read(COUNTER_PACKET_SOURCE), before + 1);
	close_all(bench);
}

static void set_up_flag(bool is_up)
{
	struct ifreq request = {.ifr_flags = (short)(is_up ? IFF_UP : 0)};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	memcpy(request.ifr_name, tun_name(tun), IFNAMSIZ);
	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &request), 0);
	close(fd);
}

// A device that is down for a moment refuses everything; it goes on being given joined packets when it is up again.
static void a_device_that_is_down_for_a_moment_loses_no_offload(void **state)
{
	struct bench *bench = *state;
	uint8_t frames[4000];
	if (!open_all(bench))
		skip();
	attach(bench);
	for (unsigned turn = 0; turn < 2; turn++) {
		uint64_t refused = counter_read(COUNTER_PACKET_REFUSED), super = counter_read(COUNTER_SUPER_INWARD);
		size_t length = 0;
		if (turn == 0)
			set_up_flag(false);
		for (unsigned i = 0; i < 3; i++)
			length += build_as(frames + length, 'a', 500, true);
		assert_int_equal(send(bench->fds[1], frames, length, 0), length);
		run_what_is_ready(bench);
		assert_int_equal(counter_read(COUNTER_SUPER_INWARD), super + 1);
		assert_int_equal(counter_read(COUNTER_PACKET_REFUSED), refused + (turn == 0));
		set_up_flag(true);
	}
	close_all(bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_A_LOOP(a_super_packet_leaves_as_frames_in_one_piece),
		IN_A_LOOP(frames_cut_anywhere_become_packets_of_the_device),
		IN_A_LOOP(what_is_forged_ends_the_session_and_what_is_no_packet_does_not),
		IN_A_LOOP(the_end_of_the_peer_is_told_once),
		IN_A_LOOP(without_a_session_packets_are_dropped_and_counted),
		IN_A_LOOP(a_peer_that_does_not_read_stops_the_device_and_loses_nothing_that_was_taken),
		IN_A_LOOP(a_renewal_under_way_when_the_time_is_up_has_until_the_next),
		IN_A_LOOP(what_the_device_gives_and_is_no_ip_stays_here),
		IN_A_LOOP(the_way_of_a_packet_allocates_nothing),
		IN_A_LOOP(slices_of_two_threads_leave_as_one_sequence),
		IN_A_LOOP(sessions_come_and_go_under_two_threads),
		IN_A_LOOP(what_is_sent_uses_up_the_keys_too),
		IN_A_LOOP(only_allowed_sources_come_in),
		IN_A_LOOP(a_device_that_is_down_for_a_moment_loses_no_offload),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
