// Datagrams there and back, timed. Each carries its number, so that answers of lost or late ones are told apart.
//
//   udp_load serve ADDRESS                                       answers every datagram with itself
//   udp_load ping ADDRESS --count N --bytes B                    one at a time: p50, p99
//   udp_load pump ADDRESS --seconds S --bytes B --window W       W under way at a time: how many come back per second
//
// serve prints "listening on ADDRESS", the others one line of JSON. A datagram without an answer for 100 ms is lost.

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BYTES_MAX 65507
#define BATCH 64
#define LOST_MS 100
#define SLOT_BYTES 65536

static struct sockaddr_in address;
static uint8_t (*slots)[SLOT_BYTES];

_Noreturn static void die(const char *what)
{
	fprintf(stderr, "udp_load: %s: %s\n", what, strerror(errno));
	exit(2);
}

static double now_s(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void resolve(const char *text)
{
	char host[64];
	const char *colon = strrchr(text, ':');
	address.sin_family = AF_INET;
	if (colon != NULL) {
		snprintf(host, sizeof(host), "%.*s", (int)(colon - text), text);
		address.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
	}
	if (colon == NULL || inet_pton(AF_INET, host, &address.sin_addr) != 1) {
		fprintf(stderr, "udp_load: %s is not an IPv4 address and port\n", text);
		exit(2);
	}
}

static int open_socket(bool serves)
{
	int size = 4 << 20;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		die("socket");
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	int r = serves ? bind(fd, (struct sockaddr *)&address, sizeof(address))
	               : connect(fd, (struct sockaddr *)&address, sizeof(address));
	if (r != 0)
		die(serves ? "bind" : "connect");
	return fd;
}

// ---- serve

_Noreturn static void serve(void)
{
	static struct sockaddr_in from[BATCH];
	static struct iovec pieces[BATCH];
	static struct mmsghdr batch[BATCH];
	char host[INET_ADDRSTRLEN];
	socklen_t length = sizeof(address);
	int fd = open_socket(true);
	getsockname(fd, (struct sockaddr *)&address, &length);
	inet_ntop(AF_INET, &address.sin_addr, host, sizeof(host));
	printf("listening on %s:%u\n", host, ntohs(address.sin_port));
	fflush(stdout);
	for (;;) {
		for (int i = 0; i < BATCH; i++) {
			pieces[i] = (struct iovec){slots[i], BYTES_MAX};
			batch[i].msg_hdr = (struct msghdr){.msg_name = &from[i],
			                                   .msg_namelen = sizeof(from[i]),
			                                   .msg_iov = &pieces[i],
			                                   .msg_iovlen = 1};
		}
		int count = recvmmsg(fd, batch, BATCH, MSG_WAITFORONE, NULL);
		for (int i = 0; i < count; i++)
			pieces[i].iov_len = batch[i].msg_len;
		if (count > 0)
			(void)sendmmsg(fd, batch, (unsigned)count, 0);
	}
}

// ---- ping

static bool await(int fd, uint64_t number)
{
	struct pollfd one = {.fd = fd, .events = POLLIN};
	uint64_t heard;
	while (poll(&one, 1, LOST_MS) == 1) {
		ssize_t n = recv(fd, slots[1], BYTES_MAX, 0);
		if (n < (ssize_t)sizeof(heard))
			continue;
		memcpy(&heard, slots[1], sizeof(heard));
		if (heard == number)
			return true;
	}
	return false;
}

static int by_value(const void *a, const void *b)
{
	double difference = *(const double *)a - *(const double *)b;
	return difference < 0 ? -1 : difference > 0;
}

static int ping(size_t count, size_t length)
{
	double *micros = calloc(count, sizeof(*micros));
	int fd = open_socket(false);
	uint64_t lost = 0;
	size_t good = 0;
	if (micros == NULL)
		die("ping");
	for (uint64_t number = 0; number < count; number++) {
		double before = now_s();
		memcpy(slots[0], &number, sizeof(number));
		if (send(fd, slots[0], length, 0) == (ssize_t)length && await(fd, number))
			micros[good++] = (now_s() - before) * 1e6;
		else
			lost++;
	}
	qsort(micros, good, sizeof(*micros), by_value);
	printf("{\"count\":%zu,\"lost\":%lu,\"p50_us\":%.1f,\"p99_us\":%.1f}\n", count, lost, good ? micros[good / 2] : 0.0,
	       good ? micros[good * 99 / 100] : 0.0);
	free(micros);
	close(fd);
	return good > 0 ? 0 : 1;
}

// ---- pump

static uint64_t send_some(int fd, uint64_t first, uint64_t count, size_t length)
{
	static struct iovec pieces[BATCH];
	static struct mmsghdr batch[BATCH];
	if (count > BATCH)
		count = BATCH;
	for (uint64_t i = 0; i < count; i++) {
		uint64_t number = first + i;
		memcpy(slots[i], &number, sizeof(number));
		pieces[i] = (struct iovec){slots[i], length};
		batch[i].msg_hdr = (struct msghdr){.msg_iov = &pieces[i], .msg_iovlen = 1};
	}
	int sent = count > 0 ? sendmmsg(fd, batch, (unsigned)count, 0) : 0;
	return sent > 0 ? (uint64_t)sent : 0;
}

// Answers of what is not given up yet.
static uint64_t hear_some(int fd, uint64_t from)
{
	static struct iovec pieces[BATCH];
	static struct mmsghdr batch[BATCH];
	uint64_t heard = 0, number;
	for (int i = 0; i < BATCH; i++) {
		pieces[i] = (struct iovec){slots[BATCH + i], BYTES_MAX};
		batch[i].msg_hdr = (struct msghdr){.msg_iov = &pieces[i], .msg_iovlen = 1};
	}
	int count = recvmmsg(fd, batch, BATCH, MSG_DONTWAIT, NULL);
	for (int i = 0; i < count; i++) {
		memcpy(&number, slots[BATCH + i], sizeof(number));
		heard += batch[i].msg_len >= sizeof(number) && number >= from;
	}
	return heard;
}

static int pump(double seconds, size_t length, uint64_t window)
{
	int fd = open_socket(false);
	uint64_t sent = 0, back = 0, lost = 0, since = 0, under_way = 0;
	double started = now_s(), until = started + seconds;
	while (now_s() < until) {
		uint64_t more = send_some(fd, sent, window - under_way, length);
		sent += more;
		under_way += more;
		struct pollfd one = {.fd = fd, .events = POLLIN};
		if (poll(&one, 1, LOST_MS) == 0) {
			// Whatever is still under way is given up; its late answers are not counted.
			lost += under_way;
			under_way = 0;
			since = sent;
			continue;
		}
		uint64_t heard = hear_some(fd, since);
		heard = heard < under_way ? heard : under_way;
		back += heard;
		under_way -= heard;
	}
	double took = now_s() - started;
	printf("{\"sent\":%lu,\"back\":%lu,\"lost\":%lu,\"bytes\":%zu,\"per_second\":%.1f,\"gbit_s\":%.3f}\n", sent, back,
	       lost, length, (double)back / took, (double)back * (double)length * 8 / took / 1e9);
	close(fd);
	return back > 0 ? 0 : 1;
}

static double option(int argc, char **argv, const char *name, double otherwise)
{
	for (int i = 3; i + 1 < argc; i += 2)
		if (strcmp(argv[i], name) == 0)
			return strtod(argv[i + 1], NULL);
	return otherwise;
}

int main(int argc, char **argv)
{
	if (argc < 3) {
		fprintf(stderr, "udp_load serve|ping|pump ADDRESS [options]\n");
		return 2;
	}
	resolve(argv[2]);
	slots = calloc(2 * BATCH, sizeof(*slots));
	if (slots == NULL)
		die("memory");
	size_t length = (size_t)option(argc, argv, "--bytes", 64);
	length = length < sizeof(uint64_t) ? sizeof(uint64_t) : length > BYTES_MAX ? BYTES_MAX : length;
	if (strcmp(argv[1], "serve") == 0)
		serve();
	if (strcmp(argv[1], "ping") == 0)
		return ping((size_t)option(argc, argv, "--count", 10000), length);
	if (strcmp(argv[1], "pump") == 0)
		return pump(option(argc, argv, "--seconds", 3), length, (uint64_t)option(argc, argv, "--window", 64));
	fprintf(stderr, "udp_load: %s?\n", argv[1]);
	return 2;
}
