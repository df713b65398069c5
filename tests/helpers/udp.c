// UDP at a high rate, every datagram checked.
//
//   udp serve ADDRESS                                 prints "listening on ADDRESS", serves until killed
//   udp blast ADDRESS [--size N] [--seconds S] [--rate PPS] [--segments N] [--ask 0]
//                                                     one way, as fast as it goes or PPS datagrams a second; then asks
//                                                     the server what arrived (not with --ask 0: nobody has to answer)
//   udp latency ADDRESS [--size N] [--count N]        there and back, one at a time
//   udp many ADDRESS [--clients N] [--count N] [--size N] [--window N]
//                                                     N sockets, each with --window datagrams under way there and back,
//                                                     until --count of them have been sent by each
//
// ADDRESS is 127.0.0.1:port or [::1]:port; port 0 for serve. --size is the payload, 24 to 65507 bytes (default 1200).
// --segments N hands the kernel N datagrams in one message (UDP_SEGMENT), as fast programs do. Each client prints one
// line of JSON:
//
//   blast    {"sent", "received", "wrong", "seconds", "gbit_per_s", "packets_per_s"}; seconds and the rates are of what
//            arrived, from the first to the last of it
//   latency  {"count", "lost", "wrong", "p50_us", "p90_us", "p99_us", "max_us"}
//   many     {"sent", "right", "wrong", "lost", "seconds", "packets_per_s"}; wrong: another client's, or another
//   content
//
// Exit status 0, also when datagrams were lost; 1 when one was wrong; 2 when nothing could be done.
//
// On the wire: "qudp" | u8 kind | 3 zero bytes | u64 client | u64 sequence | filler made of both. The server sends 'E'
// back as it is, checks and counts 'S', and answers 'Q' with the counts of its client behind the same 24 bytes.
// Whatever does not begin with "qudp" is sent back as it is, empty datagrams too.

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH 32
#define SIZE_MAX_BYTES 65507
#define COUNTED 256

struct head {
	char magic[4];
	uint8_t kind, zero[3];
	uint64_t client, sequence;
};

struct counts { // of one client, as the server has them
	uint64_t client, received, wrong, bytes, first_ns, last_ns;
};

struct options {
	uint64_t size, seconds, rate, segments, ask, count, clients, window;
};

static uint8_t slot[BATCH][65536];

_Noreturn static void die(const char *what)
{
	fprintf(stderr, "udp: %s: %s\n", what, errno != 0 ? strerror(errno) : "refused");
	exit(2);
}

static uint64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t word_of(uint64_t client, uint64_t sequence)
{
	return (client * 0x9e3779b97f4a7c15u) ^ (sequence * 0xd1b54a32d192ed03u);
}

static void fill(uint8_t *out, size_t size, uint8_t kind, uint64_t client, uint64_t sequence)
{
	struct head head = {.magic = {'q', 'u', 'd', 'p'}, .kind = kind, .client = client, .sequence = sequence};
	uint64_t word = word_of(client, sequence);
	memcpy(out, &head, sizeof head);
	size_t at = sizeof head;
	for (; at + sizeof word <= size; at += sizeof word)
		memcpy(out + at, &word, sizeof word);
	memcpy(out + at, &word, size - at);
}

static bool is_right(const uint8_t *bytes, size_t size, struct head *head)
{
	if (size < sizeof *head)
		return false;
	memcpy(head, bytes, sizeof *head);
	uint64_t word = word_of(head->client, head->sequence), read;
	size_t at = sizeof *head;
	for (; at + sizeof word <= size; at += sizeof word) {
		memcpy(&read, bytes + at, sizeof read);
		if (read != word)
			return false;
	}
	return memcmp(bytes + at, &word, size - at) == 0;
}

static bool is_ours(const uint8_t *bytes, size_t size)
{
	return size >= sizeof(struct head) && memcmp(bytes, "qudp", 4) == 0;
}

// ---- addresses -----------------------------------------------------------------------------------------------------

static socklen_t parse(const char *text, struct sockaddr_storage *out)
{
	char host[64] = "";
	const char *colon = strrchr(text, ':');
	size_t length = colon ? (size_t)(colon - text) : 0;
	if (!colon || length >= sizeof host)
		die("bad address");
	memcpy(host, text, length);
	uint16_t port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
	if (host[0] == '[') {
		struct sockaddr_in6 ip6 = {.sin6_family = AF_INET6, .sin6_port = port};
		host[length - 1] = '\0';
		if (inet_pton(AF_INET6, host + 1, &ip6.sin6_addr) != 1)
			die("bad address");
		memcpy(out, &ip6, sizeof ip6);
		return sizeof ip6;
	}
	struct sockaddr_in ip4 = {.sin_family = AF_INET, .sin_port = port};
	if (inet_pton(AF_INET, host, &ip4.sin_addr) != 1)
		die("bad address");
	memcpy(out, &ip4, sizeof ip4);
	return sizeof ip4;
}

static int make(int family)
{
	int size = 4 << 20, fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		die("socket");
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
	return fd;
}

static int dial(const char *text)
{
	struct sockaddr_storage address;
	socklen_t length = parse(text, &address);
	int fd = make(address.ss_family);
	if (connect(fd, (struct sockaddr *)&address, length) != 0)
		die("connect");
	return fd;
}

// ---- the server ----------------------------------------------------------------------------------------------------

static struct counts *counts_of(uint64_t client)
{
	static struct counts table[COUNTED];
	static size_t used;
	for (size_t i = 0; i < used && i < COUNTED; i++)
		if (table[i].client == client)
			return &table[i];
	struct counts *fresh = &table[used++ % COUNTED]; // the oldest goes
	*fresh = (struct counts){.client = client};
	return fresh;
}

static void count(const uint8_t *bytes, size_t size)
{
	struct head head;
	bool right = is_right(bytes, size, &head);
	struct counts *counts = counts_of(head.client);
	uint64_t now = now_ns();
	if (counts->received == 0)
		counts->first_ns = now;
	counts->last_ns = now;
	counts->received++;
	counts->bytes += size;
	counts->wrong += !right;
}

// How many bytes of slot[i] go back; they may have been changed. -1: none.
static ssize_t answer(uint8_t *bytes, size_t size)
{
	struct head head;
	if (!is_ours(bytes, size))
		return (ssize_t)size;
	memcpy(&head, bytes, sizeof head);
	if (head.kind == 'S') {
		count(bytes, size);
		return -1;
	}
	if (head.kind == 'Q') {
		memcpy(bytes + sizeof head, counts_of(head.client), sizeof(struct counts));
		return (ssize_t)(sizeof head + sizeof(struct counts));
	}
	return (ssize_t)size;
}

// Answers messages of a batch that are to be answered, with one call.
static void send_back(int fd, struct mmsghdr *message, struct iovec *vector, int n)
{
	int answers = 0;
	for (int i = 0; i < n; i++) {
		ssize_t size = answer(slot[i], message[i].msg_len);
		if (size < 0)
			continue;
		vector[i].iov_len = (size_t)size;
		struct mmsghdr go = message[i];
		go.msg_hdr.msg_control = NULL;
		go.msg_hdr.msg_controllen = 0;
		message[answers++] = go;
	}
	for (int at = 0; at < answers;) {
		int sent = sendmmsg(fd, message + at, (unsigned)(answers - at), 0);
		at += sent > 0 ? sent : 1;
	}
}

_Noreturn static void serve(const char *text)
{
	struct sockaddr_storage address, peer[BATCH];
	struct mmsghdr message[BATCH];
	struct iovec vector[BATCH];
	char host[64];
	socklen_t length = parse(text, &address);
	int fd = make(address.ss_family);
	if (bind(fd, (struct sockaddr *)&address, length) != 0 ||
	    getsockname(fd, (struct sockaddr *)&address, &length) != 0)
		die("bind");
	bool is_ip6 = address.ss_family == AF_INET6;
	struct sockaddr_in6 ip6;
	struct sockaddr_in ip4;
	memcpy(&ip6, &address, sizeof ip6);
	memcpy(&ip4, &address, sizeof ip4);
	inet_ntop(address.ss_family, is_ip6 ? (void *)&ip6.sin6_addr : (void *)&ip4.sin_addr, host, sizeof host);
	printf(is_ip6 ? "listening on [%s]:%u\n" : "listening on %s:%u\n", host,
	       ntohs(is_ip6 ? ip6.sin6_port : ip4.sin_port));
	fflush(stdout);
	for (;;) {
		for (int i = 0; i < BATCH; i++) {
			vector[i] = (struct iovec){slot[i], sizeof slot[i]};
			message[i] = (struct mmsghdr){.msg_hdr = {.msg_name = &peer[i],
			                                          .msg_namelen = sizeof peer[i],
			                                          .msg_iov = &vector[i],
			                                          .msg_iovlen = 1}};
		}
		int n = recvmmsg(fd, message, BATCH, MSG_WAITFORONE, NULL);
		if (n > 0)
			send_back(fd, message, vector, n);
	}
}

// ---- blast ---------------------------------------------------------------------------------------------------------

static uint64_t new_client(void)
{
	return now_ns() * 1000003u + (uint64_t)getpid();
}

static bool ask(int fd, uint64_t client, struct counts *counts)
{
	uint8_t question[sizeof(struct head)], reply[65536];
	for (int i = 0; i < 50; i++) {
		struct pollfd look = {.fd = fd, .events = POLLIN};
		fill(question, sizeof question, 'Q', client, (uint64_t)i);
		if (send(fd, question, sizeof question, 0) < 0)
			usleep(10000);
		if (poll(&look, 1, 100) != 1)
			continue;
		ssize_t n = recv(fd, reply, sizeof reply, 0);
		if (n != (ssize_t)(sizeof question + sizeof *counts))
			continue;
		memcpy(counts, reply + sizeof question, sizeof *counts);
		return counts->client == client;
	}
	return false;
}

// One message for each `segments` datagrams. Returns how many datagrams went.
static uint64_t send_batch(int fd, const struct options *options, uint64_t client, uint64_t sequence)
{
	static uint8_t bytes[BATCH][65536];
	struct mmsghdr message[BATCH];
	struct iovec vector[BATCH];
	union {
		struct cmsghdr header;
		uint8_t room[CMSG_SPACE(sizeof(uint16_t))];
	} control = {.room = {0}};
	uint16_t each = (uint16_t)options->size;
	control.header = (struct cmsghdr){CMSG_LEN(sizeof each), SOL_UDP, UDP_SEGMENT};
	memcpy(CMSG_DATA(&control.header), &each, sizeof each);
	for (int i = 0; i < BATCH; i++) {
		for (uint64_t k = 0; k < options->segments; k++)
			fill(bytes[i] + k * options->size, options->size, 'S', client, sequence++);
		vector[i] = (struct iovec){bytes[i], options->size * options->segments};
		message[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &vector[i], .msg_iovlen = 1}};
		if (options->segments > 1) {
			message[i].msg_hdr.msg_control = &control;
			message[i].msg_hdr.msg_controllen = sizeof control.room;
		}
	}
	int sent = sendmmsg(fd, message, BATCH, 0);
	if (sent < 0 && errno != ECONNREFUSED && errno != EAGAIN && errno != ENOBUFS)
		die("send");
	return sent > 0 ? (uint64_t)sent * options->segments : 0;
}

static int blast(const char *address, const struct options *options)
{
	int fd = dial(address);
	uint64_t client = new_client(), sent = 0;
	struct counts counts = {0};
	if (options->ask)
		(void)ask(fd, client, &counts); // opens the way, so that the measure is of a flow that goes on
	uint64_t start = now_ns(), end = start + options->seconds * 1000000000u;
	for (uint64_t now = start; now < end; now = now_ns()) {
		if (options->rate > 0 && sent > (now - start) / 1000 * options->rate / 1000000)
			usleep(200);
		else
			sent += send_batch(fd, options, client, sent);
	}
	usleep(300000); // what is under way
	if (options->ask && !ask(fd, client, &counts))
		die("the server does not answer");
	double seconds = (double)(counts.last_ns - counts.first_ns) / 1e9;
	double per_s = seconds > 0 ? 1 / seconds : 0;
	printf("{\"sent\": %" PRIu64 ", \"received\": %" PRIu64 ", \"wrong\": %" PRIu64
	       ", \"seconds\": %.3f, \"gbit_per_s\": %.3f, \"packets_per_s\": %.0f}\n",
	       sent, counts.received, counts.wrong, seconds, (double)counts.bytes * 8 / 1e9 * per_s,
	       (double)counts.received * per_s);
	return counts.wrong > 0;
}

// ---- there and back ------------------------------------------------------------------------------------------------

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static int latency(const char *address, const struct options *options)
{
	int fd = dial(address);
	uint64_t client = new_client(), lost = 0, wrong = 0, n = 0;
	uint64_t *times = calloc(options->count, sizeof *times);
	static uint8_t out[65536], in[65536];
	for (uint64_t i = 0; times && i < options->count; i++) {
		struct pollfd look = {.fd = fd, .events = POLLIN};
		fill(out, options->size, 'E', client, i);
		uint64_t start = now_ns();
		if (send(fd, out, options->size, 0) < 0 || poll(&look, 1, 1000) != 1) {
			lost++;
			continue;
		}
		ssize_t got = recv(fd, in, sizeof in, 0);
		if (got != (ssize_t)options->size || memcmp(in, out, options->size) != 0)
			wrong++;
		else
			times[n++] = now_ns() - start;
	}
	if (n > 0)
		qsort(times, n, sizeof *times, by_value);
#define AT(percent) (n > 0 ? (double)times[(size_t)((n - 1) * (percent) / 100)] / 1000 : 0)
	printf("{\"count\": %" PRIu64 ", \"lost\": %" PRIu64 ", \"wrong\": %" PRIu64
	       ", \"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f}\n",
	       n, lost, wrong, AT(50), AT(90), AT(99), AT(100));
	free(times);
	return wrong > 0;
}

struct client {
	uint64_t id, sent, right, wrong;
};

static void take_answers(struct client *client, int fd)
{
	ssize_t n;
	struct head head;
	while ((n = recv(fd, slot[0], sizeof slot[0], MSG_DONTWAIT)) >= 0) {
		bool right = is_ours(slot[0], (size_t)n) && is_right(slot[0], (size_t)n, &head) && head.client == client->id &&
		             head.sequence < client->sent;
		client->right += right;
		client->wrong += !right;
	}
}

static int many(const char *address, const struct options *options)
{
	struct client *client = calloc(options->clients, sizeof *client);
	struct pollfd *look = calloc(options->clients, sizeof *look);
	uint64_t first = new_client(), start = now_ns(), quiet_since = start, seen = 0, now;
	if (!client || !look)
		die("memory");
	for (uint64_t i = 0; i < options->clients; i++) {
		client[i].id = first + i;
		look[i] = (struct pollfd){.fd = dial(address), .events = POLLIN};
	}
	bool done = false;
	while (!done) {
		uint64_t answered = 0, sent = 0;
		now = now_ns();
		bool stalled = now - quiet_since > 200000000u; // what is under way is lost: goes on without it
		for (uint64_t i = 0; i < options->clients; i++) {
			struct client *one = &client[i];
			uint64_t burst = 0;
			while (one->sent < options->count && burst < options->window &&
			       (stalled || one->sent - one->right - one->wrong < options->window)) {
				fill(slot[0], options->size, 'E', one->id, one->sent++);
				(void)!send(look[i].fd, slot[0], options->size, 0);
				burst++;
			}
			take_answers(one, look[i].fd);
			answered += one->right + one->wrong;
			sent += one->sent;
		}
		if (answered != seen || stalled)
			quiet_since = now;
		seen = answered;
		// All answered, or the last ones are late by a second.
		done = sent == options->clients * options->count && (answered >= sent || (stalled && answered == seen));
		if (!done)
			poll(look, options->clients, 20);
	}
	struct client sum = {0};
	for (uint64_t i = 0; i < options->clients; i++) {
		sum.sent += client[i].sent;
		sum.right += client[i].right;
		sum.wrong += client[i].wrong;
	}
	double seconds = (double)(now_ns() - start) / 1e9;
	printf("{\"sent\": %" PRIu64 ", \"right\": %" PRIu64 ", \"wrong\": %" PRIu64 ", \"lost\": %" PRIu64
	       ", \"seconds\": %.3f, \"packets_per_s\": %.0f}\n",
	       sum.sent, sum.right, sum.wrong, sum.sent - sum.right, seconds, (double)sum.right / seconds);
	free(client);
	free(look);
	return sum.wrong > 0;
}

static void read_options(struct options *options, int argc, char **argv)
{
	const struct {
		const char *name;
		uint64_t *value;
	} known[] = {{"--size", &options->size},         {"--seconds", &options->seconds}, {"--rate", &options->rate},
	             {"--segments", &options->segments}, {"--ask", &options->ask},         {"--count", &options->count},
	             {"--clients", &options->clients},   {"--window", &options->window}};
	errno = 0;
	for (int i = 0; i < argc; i += 2) {
		size_t k = 0;
		while (k < sizeof known / sizeof *known && strcmp(argv[i], known[k].name) != 0)
			k++;
		if (k == sizeof known / sizeof *known || i + 1 == argc)
			die(argv[i]);
		*known[k].value = strtoull(argv[i + 1], NULL, 10);
	}
	if (options->size < sizeof(struct head) || options->size > SIZE_MAX_BYTES)
		die("--size is 24 to 65507");
	if (options->segments < 1 || options->segments > 64 || options->segments * options->size > SIZE_MAX_BYTES)
		die("--segments: too many");
}

int main(int argc, char **argv)
{
	struct options options = {
		.size = 1200, .seconds = 2, .segments = 1, .ask = 1, .count = 1000, .clients = 10, .window = 4};
	if (argc < 3)
		die("see the head of this file");
	read_options(&options, argc - 3, argv + 3);
	if (strcmp(argv[1], "serve") == 0)
		serve(argv[2]);
	if (strcmp(argv[1], "blast") == 0)
		return blast(argv[2], &options);
	if (strcmp(argv[1], "latency") == 0)
		return latency(argv[2], &options);
	if (strcmp(argv[1], "many") == 0)
		return many(argv[2], &options);
	die(argv[1]);
}
