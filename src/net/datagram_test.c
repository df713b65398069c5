#include "net/datagram.h"

#include "core/allocation_rig.h"
#include "core/counter.h"
#include "limits.h"
#include "net/socket.h"

#include <errno.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <string.h>

struct scene {
	struct datagram_socket port, client;
	struct address address;
};

static uint8_t bytes[256][2048];
static struct iovec list[256];

static int begin(void **state)
{
	static struct scene scene;
	scene = (struct scene){.port = {.fd = -1}, .client = {.fd = -1}};
	*state = &scene;
	return address_from_ip("127.0.0.1", 0, &scene.address) |
	       datagram_bind(&scene.address, DATAGRAM_ALONE, &scene.port) | datagram_connect(&scene.address, &scene.client);
}

static int end(void **state)
{
	struct scene *scene = *state;
	datagram_close(&scene->port);
	datagram_close(&scene->client);
	datagram_trim();
	return 0;
}

static void make_list(size_t count, const size_t *sizes, size_t size_count)
{
	for (size_t i = 0; i < count; i++) {
		memset(bytes[i], (int)i, sizeof bytes[i]);
		list[i] = (struct iovec){bytes[i], sizes[i % size_count]};
	}
}

// What waits, in order; fails when it is not `count` datagrams of the list.
static void assert_arrives(struct datagram_socket *at, size_t count, struct address *peer)
{
	size_t n = 0, run_count;
	const struct datagram_run *runs;
	while (n < count) {
		struct pollfd look = {.fd = at->fd, .events = POLLIN};
		assert_int_equal(poll(&look, 1, 5000), 1);
		assert_int_equal(datagram_recv(at, &runs, &run_count), 0);
		for (size_t i = 0; i < run_count; i++) {
			size_t from = 0;
			*peer = runs[i].peer;
			do {
				size_t left = runs[i].length - from, size = left < runs[i].each ? left : runs[i].each;
				assert_true(n < count);
				assert_int_equal(size, list[n].iov_len);
				assert_memory_equal(runs[i].bytes + from, list[n].iov_base, size);
				from += size;
				n++;
			} while (from < runs[i].length);
		}
	}
	assert_int_equal(datagram_recv(at, &runs, &run_count), DATAGRAM_NONE);
}

static void a_batch_keeps_its_boundaries_there_and_back(void **state)
{
	struct scene *scene = *state;
	static const size_t mixed[] = {0, 1, 1200, 1200, 1200, 300, 7, 0, 0, 512};
	struct address peer;
	make_list(200, mixed, COUNT_OF(mixed));
	assert_int_equal(datagram_send(&scene->client, NULL, NULL, list, 200, NULL), 200);
	assert_arrives(&scene->port, 200, &peer);
	assert_int_equal(datagram_send(&scene->port, &(struct datagram_to){.peer = &peer}, NULL, list, 200, NULL), 200);
	assert_arrives(&scene->client, 200, &peer);
	assert_true(address_is_same_host(&peer, &scene->address));
}

static void equal_ones_go_as_one_message_and_arrive_as_many(void **state)
{
	struct scene *scene = *state;
	static const size_t equal[] = {1000};
	struct address peer;
	make_list(256, equal, 1);
	list[255].iov_len = 10; // the last of a run may be shorter
	int without = 0;
	assert_int_equal(datagram_send(&scene->client, NULL, NULL, list, 256, NULL), 256);
	assert_arrives(&scene->port, 256, &peer);
	// To a socket that does not take runs the kernel hands them one by one.
	assert_int_equal(setsockopt(scene->port.fd, SOL_UDP, UDP_GRO, &without, sizeof without), 0);
	assert_int_equal(datagram_send(&scene->client, NULL, NULL, list, 256, NULL), 256);
	assert_arrives(&scene->port, 256, &peer);
}

static void a_socket_that_cannot_segment_sends_one_by_one(void **state)
{
	struct scene *scene = *state;
	static const size_t equal[] = {1000};
	int off = 1;
	struct address peer;
	// Without checksums the kernel refuses to segment.
	assert_int_equal(setsockopt(scene->client.fd, SOL_SOCKET, SO_NO_CHECK, &off, sizeof off), 0);
	make_list(100, equal, 1);
	assert_int_equal(datagram_send(&scene->client, NULL, NULL, list, 100, NULL), 100);
	assert_true(scene->client.segment_max < 1000);
	assert_arrives(&scene->port, 100, &peer);
}

static void a_prefix_goes_in_front_of_each(void **state)
{
	struct scene *scene = *state;
	struct iovec prefix = {.iov_base = (void *)"head", .iov_len = 4};
	const struct datagram_run *runs;
	size_t count, seen = 0;
	static const size_t equal[] = {6};
	make_list(3, equal, 1);
	assert_int_equal(datagram_send(&scene->client, NULL, &prefix, list, 3, NULL), 3);
	while (seen < 3) {
		assert_int_equal(datagram_recv(&scene->port, &runs, &count), 0);
		for (size_t i = 0; i < count; i++, seen++) {
			assert_int_equal(runs[i].length, 10);
			assert_memory_equal(runs[i].bytes, "head", 4);
			assert_memory_equal(runs[i].bytes + 4, bytes[seen], 6);
		}
	}
}

static void the_largest_datagram_arrives_and_a_larger_one_is_counted(void **state)
{
	struct scene *scene = *state;
	static uint8_t large[LIMIT_DATAGRAM_BYTES + 1];
	const struct datagram_run *runs;
	size_t count;
	uint64_t before = counter_read(COUNTER_DATAGRAM_TOO_LARGE);
	struct iovec two[] = {{large, sizeof large}, {large, sizeof large - 1}};
	assert_int_equal(datagram_send(&scene->client, NULL, NULL, two, 2, NULL), 1);
	assert_int_equal(counter_read(COUNTER_DATAGRAM_TOO_LARGE), before + 1);
	assert_int_equal(datagram_recv(&scene->port, &runs, &count), 0);
	assert_int_equal(count, 1);
	assert_int_equal(runs[0].length, LIMIT_DATAGRAM_BYTES);
}

static void a_target_that_is_down_is_reported_and_sending_goes_on(void **state)
{
	struct scene *scene = *state;
	static const size_t equal[] = {10};
	bool unreachable = false;
	make_list(1, equal, 1);
	datagram_close(&scene->port);
	assert_int_equal(datagram_send(&scene->client, NULL, NULL, list, 1, &unreachable), 1);
	assert_false(unreachable);
	assert_int_equal(datagram_send(&scene->client, NULL, NULL, list, 1, &unreachable), 1);
	assert_true(unreachable);
	const struct datagram_run *runs;
	size_t count;
	assert_int_equal(datagram_recv(&scene->client, &runs, &count), DATAGRAM_UNREACHABLE);
	assert_int_equal(datagram_recv(&scene->client, &runs, &count), DATAGRAM_NONE);
}

// A router's word on a datagram that `from` has sent to `to`: ICMP "destination unreachable" with this code.
static void report(const struct address *from, const struct address *to, uint8_t code)
{
	struct {
		struct icmphdr icmp;
		struct iphdr ip;
		struct udphdr udp;
	} report = {.icmp = {.type = ICMP_DEST_UNREACH, .code = code, .un.frag.mtu = htons(1280)},
	            .ip = {.version = 4,
	                   .ihl = 5,
	                   .protocol = IPPROTO_UDP,
	                   .saddr = from->in4.sin_addr.s_addr,
	                   .daddr = to->in4.sin_addr.s_addr},
	            .udp = {.source = from->in4.sin_port, .dest = to->in4.sin_port, .len = htons(8)}};
	uint16_t words[sizeof report / 2];
	uint32_t sum = 0;
	memcpy(words, &report, sizeof report);
	for (size_t i = 0; i < COUNT_OF(words); i++)
		sum += words[i];
	sum = (sum >> 16) + (sum & 0xffff);
	report.icmp.checksum = (uint16_t)(0xffff ^ (sum + (sum >> 16)));
	int raw = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
	if (raw < 0) {
		print_message("skipped: a report takes CAP_NET_RAW\n");
		skip();
	}
	struct sockaddr_in host = {.sin_family = AF_INET, .sin_addr = from->in4.sin_addr};
	assert_int_equal(sendto(raw, &report, sizeof report, 0, (struct sockaddr *)&host, sizeof host), sizeof report);
	socket_close(&raw);
}

static void whatever_a_router_reports_breaks_nothing(void **state)
{
	struct scene *scene = *state;
	static const uint8_t codes[] = {ICMP_NET_UNREACH,    ICMP_HOST_UNREACH, ICMP_PROT_UNREACH, ICMP_PORT_UNREACH,
	                                ICMP_FRAG_NEEDED,    ICMP_SR_FAILED,    ICMP_NET_UNKNOWN,  ICMP_HOST_UNKNOWN,
	                                ICMP_HOST_ISOLATED,  ICMP_NET_ANO,      ICMP_HOST_ANO,     ICMP_PKT_FILTERED,
	                                ICMP_PREC_VIOLATION, ICMP_PREC_CUTOFF};
	struct address client = {.length = sizeof client.storage};
	const struct datagram_run *runs;
	size_t count, told = 0;
	assert_int_equal(getsockname(scene->client.fd, &client.any, &client.length), 0);
	for (size_t i = 0; i < COUNT_OF(codes); i++) {
		report(&client, &scene->address, codes[i]);
		int r = datagram_recv(&scene->client, &runs, &count);
		assert_true(r == DATAGRAM_UNREACHABLE || r == DATAGRAM_NONE); // those that may pass are not told
		told += r == DATAGRAM_UNREACHABLE;
	}
	assert_true(told >= 8);
}

static void what_the_kernel_drops_is_counted(void **state)
{
	struct scene *scene = *state;
	static const size_t equal[] = {1000};
	const struct datagram_run *runs;
	size_t count, arrived = 0, sent = 0;
	int small = 4096;
	uint64_t before = counter_read(COUNTER_DATAGRAM_OVERFLOW);
	make_list(100, equal, 1);
	scene->client.segment_max = 0;
	assert_int_equal(setsockopt(scene->port.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small), 0);
	sent += datagram_send(&scene->client, NULL, NULL, list, 100, NULL);
	while (datagram_recv(&scene->port, &runs, &count) == 0)
		arrived += count;
	assert_true(arrived < sent);
	// The next one brings the count along.
	sent += datagram_send(&scene->client, NULL, NULL, list, 1, NULL);
	assert_int_equal(datagram_recv(&scene->port, &runs, &count), 0);
	arrived += count;
	assert_int_equal(counter_read(COUNTER_DATAGRAM_OVERFLOW) - before, sent - arrived);
}

static void a_taken_port_is_found_also_by_one_who_would_share_it(void **state)
{
	(void)state;
	struct datagram_socket first = {.fd = -1}, second = {.fd = -1}, third = {.fd = -1};
	struct address address;
	assert_int_equal(address_from_ip("127.0.0.1", 0, &address), 0);
	assert_int_equal(datagram_bind(&address, DATAGRAM_FIRST, &first), 0);
	assert_int_equal(datagram_bind(&address, DATAGRAM_FIRST, &second), -EADDRINUSE);
	assert_int_equal(datagram_bind(&address, DATAGRAM_ALONE, &second), -EADDRINUSE);
	assert_int_equal(second.fd, -1);
	assert_int_equal(datagram_bind(&address, DATAGRAM_JOINS, &second), 0);
	assert_int_equal(datagram_bind(&address, DATAGRAM_JOINS, &third), 0);
	datagram_close(&first);
	datagram_close(&second);
	datagram_close(&third);
}

static void last_descriptors_are_not_for_associations(void **state)
{
	(void)state;
	struct datagram_socket port = {.fd = -1}, relay = {.fd = -1}, target = {.fd = -1};
	struct address address, other;
	assert_int_equal(address_from_ip("127.0.0.1", 0, &address), 0);
	assert_int_equal(address_from_ip("127.0.0.1", 0, &other), 0);
	socket_reserve_from(3);
	int bound = datagram_bind(&address, DATAGRAM_FIRST, &port); // of the configuration: not a stranger's
	int alone = datagram_bind(&other, DATAGRAM_ALONE, &relay);
	int connected = datagram_connect(&address, &target);
	socket_reserve_from(INT32_MAX);
	assert_int_equal(bound, 0);
	assert_int_equal(alone, -EMFILE);
	assert_int_equal(connected, -EMFILE);
	assert_int_equal(relay.fd, -1);
	assert_int_equal(target.fd, -1);
	datagram_close(&port);
}

static void moving_datagrams_allocates_nothing(void **state)
{
	SKIP_UNLESS_COUNTED();
	struct scene *scene = *state;
	static const size_t equal[] = {100};
	struct address peer;
	make_list(64, equal, 1);
	assert_int_equal(datagram_send(&scene->client, NULL, NULL, list, 64, NULL), 64);
	assert_arrives(&scene->port, 64, &peer);
	unsigned long before = atomic_load(&allocations);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(datagram_send(&scene->client, NULL, NULL, list, 64, NULL), 64);
		assert_arrives(&scene->port, 64, &peer);
	}
	assert_int_equal(atomic_load(&allocations), before);
}

// A client that takes answers from `to` only hears one, in a run that is segmented too, of a port bound to `any`.
static void assert_answers_from(const char *any, const char *to)
{
	struct datagram_socket port = {.fd = -1}, client = {.fd = -1};
	struct address bound, target, peer;
	const struct datagram_run *runs;
	size_t count;
	static const size_t equal[] = {100};
	make_list(20, equal, 1);
	assert_int_equal(address_from_ip(any, 0, &bound), 0);
	assert_int_equal(datagram_bind(&bound, DATAGRAM_ALONE, &port), 0);
	uint16_t number = ntohs(bound.any.sa_family == AF_INET ? bound.in4.sin_port : bound.in6.sin6_port);
	assert_int_equal(address_from_ip(to, number, &target), 0);
	assert_int_equal(datagram_connect(&target, &client), 0);
	assert_int_equal(datagram_send(&client, NULL, NULL, list, 1, NULL), 1);
	assert_int_equal(datagram_recv(&port, &runs, &count), 0);
	struct datagram_run run = runs[0];
	struct datagram_to back = {.peer = &run.peer, .local = &run.local};
	assert_int_equal(datagram_send(&port, &back, NULL, list, 20, NULL), 20);
	assert_arrives(&client, 20, &peer);
	// An address that was ours costs neither the datagrams nor the segmentation.
	run.local = (struct datagram_local){.family = bound.any.sa_family};
	if (run.local.family == AF_INET)
		run.local.in4.s_addr = htonl(0xc0000201);
	else
		run.local.in6 = (struct in6_addr){{{0x20, 0x01, 0x0d, 0xb8, [15] = 1}}};
	assert_int_equal(datagram_send(&port, &back, NULL, list, 20, NULL), 20);
	assert_true(port.segment_max >= 100);
	datagram_close(&port);
	datagram_close(&client);
}

static void an_answer_leaves_from_where_the_question_came(void **state)
{
	(void)state;
	assert_answers_from("0.0.0.0", "127.0.0.1");
	assert_answers_from("0.0.0.0", "127.0.0.2");
}

static void an_answer_of_a_port_for_both_families_does_so_too(void **state)
{
	(void)state;
	struct datagram_socket port = {.fd = -1};
	struct address address;
	assert_int_equal(address_from_ip("::1", 0, &address), 0);
	if (datagram_bind(&address, DATAGRAM_ALONE, &port) != 0) {
		print_message("skipped: no IPv6 loopback address\n");
		skip();
	}
	datagram_close(&port);
	assert_answers_from("::", "::1");
	assert_answers_from("::", "127.0.0.2");
}

static void addresses_of_ip6_work_alike(void **state)
{
	(void)state;
	struct datagram_socket port = {.fd = -1}, client = {.fd = -1};
	struct address address, peer;
	static const size_t mixed[] = {0, 1200, 1200, 9};
	assert_int_equal(address_from_ip("::1", 0, &address), 0);
	if (datagram_bind(&address, DATAGRAM_ALONE, &port) != 0) {
		print_message("skipped: no IPv6 loopback address\n");
		skip();
	}
	assert_int_equal(datagram_connect(&address, &client), 0);
	make_list(40, mixed, COUNT_OF(mixed));
	assert_int_equal(datagram_send(&client, NULL, NULL, list, 40, NULL), 40);
	assert_arrives(&port, 40, &peer);
	assert_int_equal(datagram_send(&port, &(struct datagram_to){.peer = &peer}, NULL, list, 40, NULL), 40);
	assert_arrives(&client, 40, &peer);
	datagram_close(&port);
	datagram_close(&client);
}

#define WITH_SOCKETS(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_SOCKETS(a_batch_keeps_its_boundaries_there_and_back),
		WITH_SOCKETS(equal_ones_go_as_one_message_and_arrive_as_many),
		WITH_SOCKETS(a_socket_that_cannot_segment_sends_one_by_one),
		WITH_SOCKETS(a_prefix_goes_in_front_of_each),
		WITH_SOCKETS(the_largest_datagram_arrives_and_a_larger_one_is_counted),
		WITH_SOCKETS(a_target_that_is_down_is_reported_and_sending_goes_on),
		WITH_SOCKETS(whatever_a_router_reports_breaks_nothing),
		WITH_SOCKETS(what_the_kernel_drops_is_counted),
		WITH_SOCKETS(a_taken_port_is_found_also_by_one_who_would_share_it),
		WITH_SOCKETS(last_descriptors_are_not_for_associations),
		WITH_SOCKETS(moving_datagrams_allocates_nothing),
		WITH_SOCKETS(an_answer_leaves_from_where_the_question_came),
		WITH_SOCKETS(an_answer_of_a_port_for_both_families_does_so_too),
		WITH_SOCKETS(addresses_of_ip6_work_alike),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
