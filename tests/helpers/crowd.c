// Many quiet connections to an echo service, held for as long as somebody wants to look at them.
//
//   crowd ADDRESS --flows N [--window W] [--seconds S] [--seed X]
//
// Opens N connections, at most W of them not yet answered, says something of its own on each (1 to 1024 bytes) and
// compares the echo byte for byte. Then it prints one line of JSON and reads words from its standard input:
//
//   speak    every connection says another thing and hears it back; the line again
//   leave    every connection ends its direction, hears the other side's end, and is closed; the line again, the end
//
// The end of the input is "leave". Status 0 when every byte and every end was right.

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <signal.h>
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

#define WORDS_MAX 1024

struct member {
	int fd;
	enum { OUTSIDE, CONNECTING, SPEAKING, QUIET, LEAVING, GONE, LOST } phase;
	uint32_t round, length, sent, heard;
};

static struct {
	uint64_t flows, window, seconds, seed;
} options = {.flows = 100, .window = 256, .seconds = 60, .seed = 1};

static struct {
	uint64_t opened, right, wrong, lost, not_connected, ended;
} totals;

static struct sockaddr_storage address;
static socklen_t address_length;
static int poller;
static struct member *members;
static uint64_t busy; // members that still owe an answer

_Noreturn static void die(const char *what)
{
	fprintf(stderr, "crowd: %s: %s\n", what, strerror(errno));
	exit(2);
}

static uint64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
	x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
	return x ^ (x >> 31);
}

// What this member says in this round; no two say the same.
static uint32_t words(const struct member *member, uint8_t out[WORDS_MAX])
{
	uint64_t state = mix(options.seed ^ mix((uint64_t)(member - members) << 20 | member->round));
	uint32_t length = 1 + (uint32_t)(state % WORDS_MAX);
	for (uint32_t i = 0; i < length; i++) {
		if (i % 8 == 0)
			state = mix(state);
		out[i] = (uint8_t)(state >> (i % 8 * 8));
	}
	return length;
}

static void resolve(const char *text)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
	char host[256];
	const char *colon = strrchr(text, ':');
	if (colon != NULL)
		snprintf(host, sizeof(host), "%.*s", (int)(colon - text), text);
	if (colon == NULL || getaddrinfo(host, colon + 1, &hints, &list) != 0) {
		fprintf(stderr, "crowd: %s is not an address\n", text);
		exit(2);
	}
	memcpy(&address, list->ai_addr, list->ai_addrlen);
	address_length = list->ai_addrlen;
	freeaddrinfo(list);
}

static void watch(struct member *member, uint32_t events, int operation)
{
	struct epoll_event event = {.events = events, .data.ptr = member};
	if (epoll_ctl(poller, operation, member->fd, &event) != 0)
		die("epoll_ctl");
}

static void over(struct member *member, uint64_t *total, int phase)
{
	if (member->phase == CONNECTING || member->phase == SPEAKING || member->phase == LEAVING)
		busy--;
	(*total)++;
	member->phase = phase;
	close(member->fd);
	member->fd = -1;
}

static void speak(struct member *member)
{
	uint8_t bytes[WORDS_MAX];
	member->round++;
	member->sent = member->heard = 0;
	member->length = words(member, bytes);
	ssize_t put = send(member->fd, bytes, member->length, MSG_NOSIGNAL);
	if (put != (ssize_t)member->length) { // an empty socket takes 1 KiB
		over(member, &totals.lost, LOST);
		return;
	}
	member->phase = SPEAKING;
}

static void come_in(struct member *member)
{
	int on = 1;
	member->fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (member->fd < 0)
		die("socket");
	setsockopt(member->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	member->phase = CONNECTING;
	busy++;
	if (connect(member->fd, (struct sockaddr *)&address, address_length) != 0 && errno != EINPROGRESS) {
		over(member, &totals.not_connected, LOST);
		return;
	}
	watch(member, EPOLLOUT, EPOLL_CTL_ADD);
}

static void hear(struct member *member)
{
	uint8_t heard[WORDS_MAX + 1], said[WORDS_MAX];
	ssize_t got = recv(member->fd, heard, sizeof(heard), 0);
	if (got < 0 && errno == EAGAIN)
		return;
	if (got == 0 && member->phase == LEAVING) {
		over(member, &totals.ended, GONE);
		return;
	}
	if (got <= 0) {
		over(member, &totals.lost, LOST);
		return;
	}
	words(member, said);
	if (member->phase != SPEAKING || member->heard + (size_t)got > member->length ||
	    memcmp(said + member->heard, heard, (size_t)got) != 0) {
		over(member, &totals.wrong, LOST);
		return;
	}
	member->heard += (uint32_t)got;
	if (member->heard < member->length)
		return;
	totals.right++;
	member->phase = QUIET;
	busy--;
}

static void step(struct member *member)
{
	if (member->phase != CONNECTING) {
		hear(member);
		return;
	}
	int problem = 0;
	socklen_t length = sizeof(problem);
	if (getsockopt(member->fd, SOL_SOCKET, SO_ERROR, &problem, &length) != 0 || problem != 0) {
		over(member, &totals.not_connected, LOST);
		return;
	}
	totals.opened++;
	watch(member, EPOLLIN, EPOLL_CTL_MOD);
	speak(member);
}

static void leave(struct member *member)
{
	member->phase = LEAVING;
	if (shutdown(member->fd, SHUT_WR) != 0)
		over(member, &totals.lost, LOST);
}

// Every member does `act`, at most `window` at a time; done when nobody owes an answer.
static bool all(void (*act)(struct member *member), int from)
{
	uint64_t deadline = now_ms() + options.seconds * 1000, next = 0;
	struct epoll_event events[256];
	while (next < options.flows || busy > 0) {
		for (; next < options.flows && busy < options.window; next++) {
			if ((int)members[next].phase != from)
				continue;
			busy += from != OUTSIDE;
			act(&members[next]);
		}
		int count = epoll_wait(poller, events, 256, 100);
		for (int i = 0; i < count; i++)
			step(events[i].data.ptr);
		if (now_ms() > deadline)
			return false;
	}
	return true;
}

static bool report(bool in_time)
{
	printf(
		"{\"opened\":%lu,\"right\":%lu,\"wrong\":%lu,\"lost\":%lu,\"not_connected\":%lu,\"ended\":%lu,\"hung\":%lu}\n",
		totals.opened, totals.right, totals.wrong, totals.lost, totals.not_connected, totals.ended, in_time ? 0 : busy);
	fflush(stdout);
	return in_time && totals.wrong + totals.lost + totals.not_connected == 0;
}

static void read_options(int count, char **arguments)
{
	static const struct {
		const char *name;
		uint64_t *value;
	} known[] = {
		{"--flows", &options.flows},
		{"--window", &options.window},
		{"--seconds", &options.seconds},
		{"--seed", &options.seed},
	};
	for (int i = 0; i + 1 < count; i += 2) {
		size_t k = 0;
		while (k < sizeof(known) / sizeof(known[0]) && strcmp(arguments[i], known[k].name) != 0)
			k++;
		if (k == sizeof(known) / sizeof(known[0])) {
			fprintf(stderr, "crowd: %s is not an option\n", arguments[i]);
			exit(2);
		}
		*known[k].value = strtoull(arguments[i + 1], NULL, 10);
	}
}

int main(int argc, char **argv)
{
	struct rlimit limit;
	char word[32];
	if (argc < 2 || argc % 2 != 0) {
		fprintf(stderr, "crowd ADDRESS [--flows N] [--window W] [--seconds S] [--seed X]\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	resolve(argv[1]);
	read_options(argc - 2, argv + 2);
	poller = epoll_create1(EPOLL_CLOEXEC);
	members = calloc(options.flows, sizeof(*members));
	if (poller < 0 || members == NULL)
		die("start");
	bool fine = report(all(come_in, OUTSIDE));
	while (fgets(word, sizeof(word), stdin) != NULL && strcmp(word, "leave\n") != 0)
		fine = strcmp(word, "speak\n") == 0 && report(all(speak, QUIET)) && fine;
	fine = report(all(leave, QUIET)) && fine;
	return fine ? 0 : 1;
}
