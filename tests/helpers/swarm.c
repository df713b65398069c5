// Many byte streams at once, every byte of them verified at both ends. Put a tunnel between the two halves:
//
//   swarm serve ADDRESS                 prints "listening on ADDRESS", serves until SIGTERM
//   swarm run ADDRESS [--option N]...   prints one line of totals
//
// Both exit 0 only if no byte was wrong, nothing was cut short, no reset came out as an orderly end and nothing hung.
//
//   --flows 1000       streams in all            --parallel 100    of them open at once
//   --up 65536         bytes up: 0..N each       --down 65536      bytes down: 0..N each
//   --pause 10         percent that stop reading and writing half-way, for up to --pause-ms 500
//   --slow 5           percent that read 4 KiB every 20 ms
//   --abort 10         percent that reset the connection at a random byte
//   --refuse 10        percent that ask the server to reset at a random byte
//   --idle 10          percent that stay silent for --idle-ms 500 before their last byte
//   --seed 1           the same seed gives the same streams      --seconds 60      then it is a failure
//
// A stream: the client sends an order (40 bytes), then its bytes, then shuts down its writing side; the server sends
// its bytes meanwhile, and when it has seen the client's end a verdict (8 bytes) and its own end. Bytes are a function
// of the seed and the position, different for the two directions.

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define ORDER_MAGIC 0x6e616471u
#define VERDICT_BYTES 8
#define CHUNK 65536
#define SLOW_BYTES 4096
#define SLOW_MS 20
#define TICK_MS 5
#define NEVER UINT64_MAX

struct order {
	uint32_t magic, unused;
	uint64_t seed, up, down;
	uint64_t refuse_at; // the server resets when it has moved so many bytes; NEVER: it does not
};

struct stream {
	struct stream *next, *previous;
	int fd;
	bool is_server, is_slow, is_shut, has_end;
	struct order order;
	size_t order_done, verdict_done;
	uint8_t verdict[VERDICT_BYTES];
	uint64_t sent, received, wrong;
	uint64_t pause_at, hold_at; // moved bytes, sent bytes; NEVER: not
	uint64_t abort_at;          // moved bytes; NEVER: not
	uint64_t pause_ms, hold_ms;
	uint64_t quiet_until_ms; // neither reads nor writes before
	uint64_t held_until_ms;  // writes nothing before
};

static struct totals {
	uint64_t opened, right, aborted, refused, bytes; // as meant
	uint64_t wrong_bytes, wrong_verdicts, cut, unexpected_resets, bad_orders, soft_ends, hung, not_connected; // not
} totals;

static struct options {
	uint64_t flows, parallel, up, down, pause, pause_ms, slow, abort, refuse, idle, idle_ms, seed, seconds;
} options = {.flows = 1000,
             .parallel = 100,
             .up = 65536,
             .down = 65536,
             .pause_ms = 500,
             .idle_ms = 500,
             .seed = 1,
             .seconds = 60};

static int poller;
static struct stream streams = {.next = &streams, .previous = &streams};
static uint64_t open_streams;
static uint64_t random_state;
static volatile sig_atomic_t told_to_stop;

_Noreturn static void die(const char *what)
{
	fprintf(stderr, "swarm: %s: %s\n", what, strerror(errno));
	exit(2);
}

static uint64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

// splitmix64's finisher: every input bit reaches every output bit.
static uint64_t mix(uint64_t value)
{
	value += 0x9e3779b97f4a7c15ULL;
	value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ULL;
	value = (value ^ (value >> 27)) * 0x94d049bb133111ebULL;
	return value ^ (value >> 31);
}

static uint64_t random_below(uint64_t limit)
{
	random_state = mix(random_state);
	return limit == 0 ? 0 : random_state % limit;
}

static bool happens(uint64_t percent)
{
	return random_below(100) < percent;
}

// Bytes at..at+length of the direction's sequence.
static void fill(uint64_t seed, uint64_t at, uint8_t *out, size_t length)
{
	while (length > 0) {
		uint64_t word = mix(seed ^ mix(at / 8));
		size_t skip = at % 8;
		size_t part = 8 - skip < length ? 8 - skip : length;
		word >>= 8 * skip;
		memcpy(out, &word, part);
		out += part;
		at += part;
		length -= part;
	}
}

static uint64_t seed_out(const struct stream *stream)
{
	return stream->is_server ? ~stream->order.seed : stream->order.seed;
}

static uint64_t bytes_out(const struct stream *stream)
{
	return stream->is_server ? stream->order.down : stream->order.up;
}

static uint64_t bytes_in(const struct stream *stream)
{
	return stream->is_server ? stream->order.up : stream->order.down;
}

static uint64_t moved(const struct stream *stream)
{
	return stream->sent + stream->received;
}

// What the server says when it has seen every byte: a function of the seed and of what it saw.
static uint64_t verdict_of(const struct order *order, uint64_t received, uint64_t wrong)
{
	return mix(order->seed + 0x76657264ULL) ^ received ^ (wrong << 48);
}

// ---- streams and their list

static struct stream *stream_new(int fd, bool is_server)
{
	struct stream *stream = calloc(1, sizeof(*stream));
	if (stream == NULL)
		die("memory");
	stream->fd = fd;
	stream->is_server = is_server;
	stream->pause_at = stream->hold_at = stream->abort_at = NEVER;
	stream->next = &streams;
	stream->previous = streams.previous;
	streams.previous->next = stream;
	streams.previous = stream;
	open_streams++;
	return stream;
}

static void stream_free(struct stream *stream)
{
	stream->previous->next = stream->next;
	stream->next->previous = stream->previous;
	close(stream->fd);
	free(stream);
	open_streams--;
}

// Ends the stream and counts it where it belongs.
static void finish(struct stream *stream, uint64_t *count)
{
	totals.wrong_bytes += stream->wrong;
	++*count;
	stream_free(stream);
}

static void reset(struct stream *stream, uint64_t *count)
{
	struct linger at_once = {.l_onoff = 1, .l_linger = 0};
	setsockopt(stream->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	finish(stream, count);
}

// The other side reset the connection, or the tunnel did.
static void on_reset(struct stream *stream)
{
	if (stream->is_server)
		finish(stream, &totals.aborted); // whether it was meant to, the client knows
	else if (stream->order.refuse_at != NEVER)
		finish(stream, &totals.refused);
	else
		finish(stream, &totals.unexpected_resets);
}

static void watch(struct stream *stream, int operation)
{
	bool quiet = stream->quiet_until_ms != 0;
	bool has_bytes = stream->sent < bytes_out(stream) || stream->order_done < sizeof(stream->order);
	bool owes_verdict = stream->is_server && stream->has_end && stream->verdict_done < VERDICT_BYTES;
	struct epoll_event event = {.data.ptr = stream};
	if (!quiet && !stream->has_end)
		event.events |= EPOLLIN;
	bool is_asking = stream->is_server && stream->order_done < sizeof(stream->order);
	if (!quiet && !is_asking && stream->held_until_ms == 0 && (has_bytes || owes_verdict))
		event.events |= EPOLLOUT;
	if (epoll_ctl(poller, operation, stream->fd, &event) != 0)
		die("epoll_ctl");
}

// ---- moving bytes

// False when the stream has ended.
static bool take_server_order(struct stream *stream)
{
	uint8_t *at = (uint8_t *)&stream->order + stream->order_done;
	ssize_t got = read(stream->fd, at, sizeof(stream->order) - stream->order_done);
	if (got < 0 && errno == EAGAIN)
		return true;
	if (got <= 0) {
		// A connection that never says a word is somebody's probe, not a stream.
		if (stream->order_done == 0)
			stream_free(stream);
		else
			finish(stream, got < 0 ? &totals.aborted : &totals.cut);
		return false;
	}
	stream->order_done += (size_t)got;
	if (stream->order_done == sizeof(stream->order) && stream->order.magic != ORDER_MAGIC) {
		finish(stream, &totals.bad_orders);
		return false;
	}
	return true;
}

static void check(struct stream *stream, const uint8_t *bytes, size_t length)
{
	uint8_t expected[CHUNK];
	uint64_t left = bytes_in(stream) - stream->received;
	size_t payload = length < left ? length : (size_t)left;
	fill(~seed_out(stream), stream->received, expected, payload);
	if (memcmp(expected, bytes, payload) != 0)
		for (size_t i = 0; i < payload; i++)
			stream->wrong += expected[i] != bytes[i];
	stream->received += payload;
	totals.bytes += payload;
	for (size_t i = payload; i < length; i++) {
		if (stream->is_server || stream->verdict_done == VERDICT_BYTES)
			stream->wrong++;
		else
			stream->verdict[stream->verdict_done++] = bytes[i];
	}
}

// The client's view of an orderly end.
static void judge(struct stream *stream)
{
	uint64_t verdict;
	memcpy(&verdict, stream->verdict, sizeof(verdict));
	if (stream->order.refuse_at != NEVER)
		finish(stream, &totals.soft_ends); // the server resets; an orderly end hides it
	else if (stream->received < stream->order.down || stream->verdict_done < VERDICT_BYTES)
		finish(stream, &totals.cut);
	else if (verdict != verdict_of(&stream->order, stream->order.up, 0))
		finish(stream, &totals.wrong_verdicts);
	else
		finish(stream, &totals.right);
}

static bool on_end(struct stream *stream)
{
	if (!stream->is_server) {
		judge(stream);
		return false;
	}
	stream->has_end = true;
	if (stream->received < stream->order.up) {
		finish(stream, &totals.cut);
		return false;
	}
	return true;
}

static bool take(struct stream *stream)
{
	uint8_t bytes[CHUNK];
	size_t room = stream->is_slow ? SLOW_BYTES : sizeof(bytes);
	for (int turn = 0; turn < 4; turn++) {
		ssize_t got = read(stream->fd, bytes, room);
		if (got < 0 && errno == EAGAIN)
			return true;
		if (got < 0) {
			on_reset(stream);
			return false;
		}
		if (got == 0)
			return on_end(stream);
		check(stream, bytes, (size_t)got);
		if (stream->is_slow) {
			stream->quiet_until_ms = now_ms() + SLOW_MS;
			return true;
		}
	}
	return true;
}

static bool put_bytes(struct stream *stream, const void *bytes, size_t length, size_t *done)
{
	ssize_t put = send(stream->fd, bytes, length, MSG_NOSIGNAL);
	*done = 0;
	if (put < 0 && errno == EAGAIN)
		return true;
	if (put < 0) {
		on_reset(stream);
		return false;
	}
	*done = (size_t)put;
	return true;
}

static size_t next_length(const struct stream *stream)
{
	uint64_t left = bytes_out(stream) - stream->sent;
	uint64_t length = left < CHUNK ? left : CHUNK;
	if (stream->hold_at != NEVER && stream->sent < stream->hold_at && stream->sent + length > stream->hold_at)
		length = stream->hold_at - stream->sent;
	// Odd sizes now and then, so that units do not line up with anything.
	if (length > 4096 && random_below(8) == 0)
		length = 1 + random_below(4096);
	return (size_t)length;
}

static bool put(struct stream *stream)
{
	uint8_t bytes[CHUNK];
	size_t done;
	if (!stream->is_server && stream->order_done < sizeof(stream->order)) {
		const uint8_t *at = (const uint8_t *)&stream->order + stream->order_done;
		if (!put_bytes(stream, at, sizeof(stream->order) - stream->order_done, &done))
			return false;
		stream->order_done += done;
		if (stream->order_done < sizeof(stream->order))
			return true;
	}
	for (int turn = 0; turn < 4 && stream->sent < bytes_out(stream); turn++) {
		if (stream->sent == stream->hold_at) {
			stream->hold_at = NEVER;
			stream->held_until_ms = now_ms() + stream->hold_ms;
			return true;
		}
		size_t length = next_length(stream);
		fill(seed_out(stream), stream->sent, bytes, length);
		if (!put_bytes(stream, bytes, length, &done))
			return false;
		stream->sent += done;
		totals.bytes += done;
		if (done < length)
			return true;
	}
	return true;
}

// What a stream does of itself once bytes have moved. False when it ended.
static bool go_on(struct stream *stream)
{
	if (stream->order_done < sizeof(stream->order))
		return true;
	if (!stream->is_server && moved(stream) >= stream->abort_at) {
		reset(stream, &totals.aborted);
		return false;
	}
	if (stream->is_server && moved(stream) >= stream->order.refuse_at) {
		reset(stream, &totals.refused);
		return false;
	}
	if (moved(stream) >= stream->pause_at) {
		stream->pause_at = NEVER;
		stream->quiet_until_ms = now_ms() + stream->pause_ms;
	}
	if (stream->sent < bytes_out(stream) || stream->is_shut)
		return true;
	if (!stream->is_server) {
		stream->is_shut = true;
		shutdown(stream->fd, SHUT_WR);
		return true;
	}
	if (stream->has_end) {
		uint64_t verdict = verdict_of(&stream->order, stream->received, stream->wrong);
		size_t done;
		const uint8_t *at = (const uint8_t *)&verdict + stream->verdict_done;
		if (!put_bytes(stream, at, VERDICT_BYTES - stream->verdict_done, &done))
			return false;
		stream->verdict_done += done;
		if (stream->verdict_done == VERDICT_BYTES) {
			finish(stream, &totals.right);
			return false;
		}
	}
	return true;
}

static void step(struct stream *stream, uint32_t events)
{
	if (events & EPOLLERR) {
		on_reset(stream);
		return;
	}
	if (stream->is_server && stream->order_done < sizeof(stream->order)) {
		if (!take_server_order(stream))
			return;
	} else {
		if ((events & (EPOLLOUT | EPOLLHUP)) && stream->held_until_ms == 0 && !put(stream))
			return;
		if ((events & (EPOLLIN | EPOLLHUP)) && !stream->has_end && !take(stream))
			return;
	}
	if (go_on(stream))
		watch(stream, EPOLL_CTL_MOD);
}

// Wakes streams whose pause is over.
static void tick(uint64_t now)
{
	for (struct stream *stream = streams.next, *next; stream != &streams; stream = next) {
		next = stream->next;
		bool woke = false;
		if (stream->quiet_until_ms != 0 && now >= stream->quiet_until_ms) {
			stream->quiet_until_ms = 0;
			woke = true;
		}
		if (stream->held_until_ms != 0 && now >= stream->held_until_ms) {
			stream->held_until_ms = 0;
			woke = true;
		}
		if (woke)
			watch(stream, EPOLL_CTL_MOD);
	}
}

// ---- addresses

static socklen_t parse_address(const char *text, struct sockaddr_storage *out)
{
	memset(out, 0, sizeof(*out));
	if (strncmp(text, "unix:", 5) == 0) {
		struct sockaddr_un *un = (struct sockaddr_un *)out;
		un->sun_family = AF_UNIX;
		snprintf(un->sun_path, sizeof(un->sun_path), "%s", text + 5);
		return sizeof(*un);
	}
	char host[256];
	const char *colon = strrchr(text, ':');
	if (colon == NULL) {
		fprintf(stderr, "swarm: %s is not an address\n", text);
		exit(2);
	}
	bool brackets = text[0] == '[';
	snprintf(host, sizeof(host), "%.*s", (int)(colon - text) - (brackets ? 2 : 0), text + (brackets ? 1 : 0));
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
	int error = getaddrinfo(host, colon + 1, &hints, &list);
	if (error != 0) {
		fprintf(stderr, "swarm: %s: %s\n", text, gai_strerror(error));
		exit(2);
	}
	socklen_t length = list->ai_addrlen;
	memcpy(out, list->ai_addr, length);
	freeaddrinfo(list);
	return length;
}

static void print_listening(int fd, const char *given)
{
	struct sockaddr_storage bound = {0};
	socklen_t length = sizeof(bound);
	char host[INET6_ADDRSTRLEN], port[8];
	if (getsockname(fd, (struct sockaddr *)&bound, &length) != 0)
		die("getsockname");
	if (bound.ss_family == AF_UNIX)
		printf("listening on %s\n", given);
	else if (getnameinfo((struct sockaddr *)&bound, length, host, sizeof(host), port, sizeof(port),
	                     NI_NUMERICHOST | NI_NUMERICSERV) == 0)
		printf(bound.ss_family == AF_INET6 ? "listening on [%s]:%s\n" : "listening on %s:%s\n", host, port);
	fflush(stdout);
}

// ---- the two halves

static void accept_all(int listener)
{
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0)
			return;
		totals.opened++;
		watch(stream_new(fd, true), EPOLL_CTL_ADD);
	}
}

static void turn(int listener)
{
	struct epoll_event events[256];
	int count = epoll_wait(poller, events, 256, TICK_MS);
	for (int i = 0; i < count; i++) {
		if (events[i].data.ptr == NULL)
			accept_all(listener);
		else
			step(events[i].data.ptr, events[i].events);
	}
	tick(now_ms());
}

static void open_stream(const struct sockaddr_storage *to, socklen_t length)
{
	int fd = socket(to->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		die("socket");
	// Loopback connects at once; blocking keeps a full accept queue from looking like a failure.
	if (connect(fd, (const struct sockaddr *)to, length) != 0) {
		totals.not_connected++;
		close(fd);
		return;
	}
	int on = 1;
	if (ioctl(fd, FIONBIO, &on) != 0)
		die("non-blocking");
	struct stream *stream = stream_new(fd, false);
	stream->order = (struct order){.magic = ORDER_MAGIC,
	                               .seed = mix(options.seed ^ mix(totals.opened)),
	                               .up = random_below(options.up + 1),
	                               .down = random_below(options.down + 1),
	                               .refuse_at = NEVER};
	uint64_t all = stream->order.up + stream->order.down;
	if (happens(options.abort))
		stream->abort_at = random_below(all + 1);
	else if (happens(options.refuse))
		stream->order.refuse_at = random_below(all + 1);
	if (happens(options.pause)) {
		stream->pause_at = random_below(all + 1);
		stream->pause_ms = 1 + random_below(options.pause_ms);
	}
	if (happens(options.idle) && stream->order.up > 0) {
		stream->hold_at = stream->order.up - 1;
		stream->hold_ms = options.idle_ms;
	}
	stream->is_slow = happens(options.slow);
	totals.opened++;
	watch(stream, EPOLL_CTL_ADD);
}

static bool report(const char *role)
{
	printf(
		"{\"role\":\"%s\",\"opened\":%lu,\"right\":%lu,\"aborted\":%lu,\"refused\":%lu,\"bytes\":%lu,\"wrong_bytes\":%lu,"
		"\"wrong_verdicts\":%lu,\"cut\":%lu,\"unexpected_resets\":%lu,\"bad_orders\":%lu,\"soft_ends\":%lu,\"hung\":%lu,"
		"\"not_connected\":%lu}\n",
		role, totals.opened, totals.right, totals.aborted, totals.refused, totals.bytes, totals.wrong_bytes,
		totals.wrong_verdicts, totals.cut, totals.unexpected_resets, totals.bad_orders, totals.soft_ends, totals.hung,
		totals.not_connected);
	fflush(stdout);
	return totals.wrong_bytes + totals.wrong_verdicts + totals.cut + totals.unexpected_resets + totals.bad_orders +
	           totals.soft_ends + totals.hung + totals.not_connected ==
	       0;
}

static int serve(const char *where)
{
	struct sockaddr_storage address;
	socklen_t length = parse_address(where, &address);
	int listener = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int on = 1;
	if (listener < 0)
		die("socket");
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(listener, (struct sockaddr *)&address, length) != 0 || listen(listener, 4096) != 0)
		die(where);
	struct epoll_event event = {.events = EPOLLIN};
	if (epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event) != 0)
		die("epoll_ctl");
	print_listening(listener, where);
	while (!told_to_stop)
		turn(listener);
	return report("server") ? 0 : 1;
}

static int run(const char *where)
{
	struct sockaddr_storage address;
	socklen_t length = parse_address(where, &address);
	uint64_t deadline = now_ms() + options.seconds * 1000;
	random_state = options.seed;
	while (totals.opened + totals.not_connected < options.flows || open_streams > 0) {
		for (int burst = 0;
		     burst < 32 && open_streams < options.parallel && totals.opened + totals.not_connected < options.flows;
		     burst++)
			open_stream(&address, length);
		turn(-1);
		if (now_ms() > deadline || told_to_stop) {
			totals.hung = open_streams + (options.flows - totals.opened - totals.not_connected);
			break;
		}
	}
	return report("client") ? 0 : 1;
}

static void read_options(int count, char **words)
{
	static const struct {
		const char *name;
		uint64_t *value;
	} known[] = {
		{"--flows", &options.flows},     {"--parallel", &options.parallel}, {"--up", &options.up},
		{"--down", &options.down},       {"--pause", &options.pause},       {"--pause-ms", &options.pause_ms},
		{"--slow", &options.slow},       {"--abort", &options.abort},       {"--refuse", &options.refuse},
		{"--idle", &options.idle},       {"--idle-ms", &options.idle_ms},   {"--seed", &options.seed},
		{"--seconds", &options.seconds},
	};
	for (int i = 0; i + 1 < count; i += 2) {
		size_t k = 0;
		while (k < sizeof(known) / sizeof(known[0]) && strcmp(words[i], known[k].name) != 0)
			k++;
		if (k == sizeof(known) / sizeof(known[0])) {
			fprintf(stderr, "swarm: %s is not an option\n", words[i]);
			exit(2);
		}
		*known[k].value = strtoull(words[i + 1], NULL, 10);
	}
}

static void on_signal(int number)
{
	(void)number;
	told_to_stop = 1;
}

int main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = on_signal};
	struct rlimit limit;
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	poller = epoll_create1(EPOLL_CLOEXEC);
	if (poller < 0)
		die("epoll_create1");
	if (argc >= 3 && strcmp(argv[1], "serve") == 0)
		return serve(argv[2]);
	if (argc >= 3 && argc % 2 == 1 && strcmp(argv[1], "run") == 0) {
		read_options(argc - 3, argv + 3);
		return run(argv[2]);
	}
	fprintf(stderr, "swarm serve ADDRESS | swarm run ADDRESS [--flows N] [--parallel N] ...\n");
	return 2;
}
