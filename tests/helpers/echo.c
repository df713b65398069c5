// Small exchanges, timed.
//
//   echo serve ADDRESS                           answers every byte with itself; prints "listening on ADDRESS"
//   echo ping ADDRESS --count N --bytes B        N round trips of B bytes on one connection: p50, p99, ...
//   echo connect ADDRESS --seconds S --parallel P    new connections, each with one byte there and back, per second
//
// ping and connect print one line of JSON.

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static struct sockaddr_storage address;
static socklen_t address_length;

_Noreturn static void die(const char *what)
{
	fprintf(stderr, "echo: %s: %s\n", what, strerror(errno));
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
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
	char host[256];
	const char *colon = strrchr(text, ':');
	if (colon != NULL)
		snprintf(host, sizeof(host), "%.*s", (int)(colon - text), text);
	if (colon == NULL || getaddrinfo(host, colon + 1, &hints, &list) != 0) {
		fprintf(stderr, "echo: %s is not an address\n", text);
		exit(2);
	}
	memcpy(&address, list->ai_addr, list->ai_addrlen);
	address_length = list->ai_addrlen;
	freeaddrinfo(list);
}

static int dial(void)
{
	int on = 1;
	int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		die("socket");
	if (connect(fd, (struct sockaddr *)&address, address_length) != 0) {
		close(fd);
		return -1;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

static bool exchange(int fd, uint8_t *bytes, size_t length)
{
	size_t got = 0;
	if (send(fd, bytes, length, MSG_NOSIGNAL) != (ssize_t)length)
		return false;
	while (got < length) {
		ssize_t part = recv(fd, bytes + got, length - got, 0);
		if (part <= 0)
			return false;
		got += (size_t)part;
	}
	return true;
}

// ---- ping

static int by_value(const void *a, const void *b)
{
	double difference = *(const double *)a - *(const double *)b;
	return difference < 0 ? -1 : difference > 0;
}

static int ping(size_t count, size_t length)
{
	double *micros = calloc(count, sizeof(*micros));
	uint8_t *bytes = calloc(1, length);
	int fd = dial();
	if (micros == NULL || bytes == NULL || fd < 0)
		die("ping");
	for (size_t i = 0; i < count / 10 + 1; i++) // warm up
		if (!exchange(fd, bytes, length))
			die("ping");
	for (size_t i = 0; i < count; i++) {
		double before = now_s();
		if (!exchange(fd, bytes, length))
			die("ping");
		micros[i] = (now_s() - before) * 1e6;
	}
	qsort(micros, count, sizeof(*micros), by_value);
	printf("{\"count\":%zu,\"bytes\":%zu,\"min_us\":%.1f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f}\n", count,
	       length, micros[0], micros[count / 2], micros[count * 99 / 100], micros[count - 1]);
	close(fd);
	free(bytes);
	free(micros);
	return 0;
}

// ---- connect

static _Atomic uint64_t connected, failed;
static double connect_until;

static void *connect_on(void *unused)
{
	(void)unused;
	while (now_s() < connect_until) {
		struct linger at_once = {.l_onoff = 1, .l_linger = 0};
		uint8_t byte = 'x';
		int fd = dial();
		bool fine = fd >= 0 && exchange(fd, &byte, 1);
		fine ? connected++ : failed++;
		if (fd < 0)
			continue;
		// Ports would run out in TIME_WAIT; after the exchange nothing is lost by a reset.
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
		close(fd);
	}
	return NULL;
}

static int connect_many(double seconds, size_t parallel)
{
	pthread_t threads[256];
	double started = now_s();
	connect_until = started + seconds;
	parallel = parallel > 256 ? 256 : parallel;
	for (size_t i = 0; i < parallel; i++)
		if (pthread_create(&threads[i], NULL, connect_on, NULL) != 0)
			die("thread");
	for (size_t i = 0; i < parallel; i++)
		pthread_join(threads[i], NULL);
	double took = now_s() - started;
	printf("{\"connected\":%lu,\"failed\":%lu,\"seconds\":%.3f,\"per_second\":%.1f}\n", connected, failed, took,
	       (double)connected / took);
	return failed == 0 ? 0 : 1;
}

// ---- serve

static void echo_once(int poller, int fd)
{
	uint8_t bytes[65536];
	ssize_t got = recv(fd, bytes, sizeof(bytes), 0);
	// A client that does not read its echo holds up this server; no client here does that.
	if (got > 0 && send(fd, bytes, (size_t)got, MSG_NOSIGNAL) == got)
		return;
	epoll_ctl(poller, EPOLL_CTL_DEL, fd, NULL);
	close(fd);
}

_Noreturn static void serve(const char *where)
{
	struct epoll_event event = {.events = EPOLLIN}, events[128];
	char port[8];
	int on = 1;
	int poller = epoll_create1(EPOLL_CLOEXEC);
	int listener = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(listener, (struct sockaddr *)&address, address_length) != 0 || listen(listener, 4096) != 0)
		die(where);
	getsockname(listener, (struct sockaddr *)&address, &address_length);
	getnameinfo((struct sockaddr *)&address, address_length, NULL, 0, port, sizeof(port), NI_NUMERICSERV);
	printf("listening on %.*s:%s\n", (int)(strrchr(where, ':') - where), where, port);
	fflush(stdout);
	event.data.fd = listener;
	if (epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event) != 0)
		die("epoll_ctl");
	for (;;) {
		int count = epoll_wait(poller, events, 128, -1);
		for (int i = 0; i < count; i++) {
			if (events[i].data.fd != listener) {
				echo_once(poller, events[i].data.fd);
				continue;
			}
			int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
			if (fd < 0)
				continue;
			setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
			event.data.fd = fd;
			if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) != 0)
				close(fd);
		}
	}
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
	struct rlimit limit;
	if (argc < 3) {
		fprintf(stderr, "echo serve|ping|connect ADDRESS [options]\n");
		return 2;
	}
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	signal(SIGPIPE, SIG_IGN);
	resolve(argv[2]);
	if (strcmp(argv[1], "serve") == 0)
		serve(argv[2]);
	if (strcmp(argv[1], "ping") == 0)
		return ping((size_t)option(argc, argv, "--count", 10000), (size_t)option(argc, argv, "--bytes", 64));
	if (strcmp(argv[1], "connect") == 0)
		return connect_many(option(argc, argv, "--seconds", 3), (size_t)option(argc, argv, "--parallel", 16));
	fprintf(stderr, "echo: %s?\n", argv[1]);
	return 2;
}
