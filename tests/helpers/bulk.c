// Two large streams at once over one connection, each checked by SHA-256 at both ends.
//
//   bulk serve ADDRESS                          prints "listening on ADDRESS", serves until killed
//   bulk run ADDRESS --bytes N [--progress MS]  sends N bytes and receives N bytes at the same time
//
// run prints one line of JSON at the end, and with --progress lines "progress UP DOWN" on the way. Exit 0 only when the
// sums agree in both directions.
//
// On the wire: the client's 16 bytes (u64 bytes each way, u64 seed), then N bytes in both directions. Behind its bytes
// the server sends two sums: of what it sent, and, when the client has shut down its side, of what it received. The
// bytes are an AES-128-CTR key stream, so nobody on the way can compress or guess them.

#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <openssl/evp.h>

#define SUM_BYTES 32
#define CHUNK (256 * 1024)

struct order {
	uint64_t bytes, seed;
};

// One direction of one connection, run by a thread of its own.
struct half {
	int fd;
	uint64_t bytes, seed;
	_Atomic uint64_t done;
	uint8_t sum[SUM_BYTES];
	bool whole;
};

_Noreturn static void die(const char *what)
{
	fprintf(stderr, "bulk: %s: %s\n", what, errno != 0 ? strerror(errno) : "refused");
	exit(2);
}

static double now_s(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static bool put_all(int fd, const uint8_t *bytes, size_t length)
{
	while (length > 0) {
		ssize_t put = send(fd, bytes, length, MSG_NOSIGNAL);
		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return false;
		bytes += put;
		length -= (size_t)put;
	}
	return true;
}

static bool take_all(int fd, uint8_t *bytes, size_t length)
{
	while (length > 0) {
		ssize_t got = recv(fd, bytes, length, 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		bytes += got;
		length -= (size_t)got;
	}
	return true;
}

static EVP_MD_CTX *sum_new(void)
{
	EVP_MD_CTX *sum = EVP_MD_CTX_new();
	if (sum == NULL || EVP_DigestInit_ex(sum, EVP_sha256(), NULL) != 1)
		die("SHA-256");
	return sum;
}

static void sum_end(EVP_MD_CTX *sum, uint8_t out[SUM_BYTES])
{
	if (EVP_DigestFinal_ex(sum, out, NULL) != 1)
		die("SHA-256");
	EVP_MD_CTX_free(sum);
}

static EVP_CIPHER_CTX *stream_new(uint64_t seed)
{
	uint8_t key[16] = "bulk test bytes";
	uint8_t start[16] = {0};
	EVP_CIPHER_CTX *stream = EVP_CIPHER_CTX_new();
	memcpy(start, &seed, sizeof(seed));
	if (stream == NULL || EVP_EncryptInit_ex(stream, EVP_aes_128_ctr(), NULL, key, start) != 1)
		die("AES");
	return stream;
}

static void make(EVP_CIPHER_CTX *stream, uint8_t *bytes, int length)
{
	static const uint8_t zeros[CHUNK];
	int made;
	if (EVP_EncryptUpdate(stream, bytes, &made, zeros, length) != 1 || made != length)
		die("AES");
}

static int next_length(const struct half *half, uint64_t done)
{
	uint64_t left = half->bytes - done;
	return left < CHUNK ? (int)left : CHUNK;
}

// The sum of what will be sent.
static void sum_ahead(struct half *half)
{
	uint8_t *bytes = malloc(CHUNK);
	EVP_CIPHER_CTX *stream = stream_new(half->seed);
	EVP_MD_CTX *sum = sum_new();
	if (bytes == NULL)
		die("memory");
	for (uint64_t done = 0; done < half->bytes;) {
		int length = next_length(half, done);
		make(stream, bytes, length);
		EVP_DigestUpdate(sum, bytes, (size_t)length);
		done += (uint64_t)length;
	}
	sum_end(sum, half->sum);
	EVP_CIPHER_CTX_free(stream);
	free(bytes);
}

static void *send_half(void *argument)
{
	struct half *half = argument;
	uint8_t *bytes = malloc(CHUNK);
	EVP_CIPHER_CTX *stream = stream_new(half->seed);
	half->whole = bytes != NULL;
	while (half->whole && half->done < half->bytes) {
		int length = next_length(half, half->done);
		make(stream, bytes, length);
		half->whole = put_all(half->fd, bytes, (size_t)length);
		half->done += (uint64_t)length;
	}
	EVP_CIPHER_CTX_free(stream);
	free(bytes);
	return NULL;
}

static void *receive_half(void *argument)
{
	struct half *half = argument;
	uint8_t *bytes = malloc(CHUNK);
	EVP_MD_CTX *sum = sum_new();
	half->whole = bytes != NULL;
	while (half->whole && half->done < half->bytes) {
		uint64_t left = half->bytes - half->done;
		ssize_t got = recv(half->fd, bytes, left < CHUNK ? (size_t)left : CHUNK, 0);
		if (got < 0 && errno == EINTR)
			continue;
		half->whole = got > 0;
		if (got > 0) {
			EVP_DigestUpdate(sum, bytes, (size_t)got);
			half->done += (uint64_t)got;
		}
	}
	sum_end(sum, half->sum);
	free(bytes);
	return NULL;
}

static pthread_t start(void *(*work)(void *), struct half *half)
{
	pthread_t thread;
	errno = pthread_create(&thread, NULL, work, half);
	if (errno != 0)
		die("thread");
	return thread;
}

// ---- addresses

static int open_socket(const char *text, bool listening)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
	char host[256];
	const char *colon = strrchr(text, ':');
	int on = 1;
	errno = 0;
	if (strncmp(text, "unix:", 5) == 0) {
		struct sockaddr_un un = {.sun_family = AF_UNIX};
		snprintf(un.sun_path, sizeof(un.sun_path), "%s", text + 5);
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd < 0 || (listening ? bind : connect)(fd, (struct sockaddr *)&un, sizeof(un)) != 0)
			die(text);
		return fd;
	}
	if (colon == NULL)
		die(text);
	bool brackets = text[0] == '[';
	snprintf(host, sizeof(host), "%.*s", (int)(colon - text) - (brackets ? 2 : 0), text + (brackets ? 1 : 0));
	if (getaddrinfo(host, colon + 1, &hints, &list) != 0)
		die(text);
	int fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		die("socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if ((listening ? bind : connect)(fd, list->ai_addr, list->ai_addrlen) != 0)
		die(text);
	freeaddrinfo(list);
	return fd;
}

static void print_listening(int fd, const char *given)
{
	struct sockaddr_storage bound = {0};
	socklen_t length = sizeof(bound);
	char port[8];
	if (getsockname(fd, (struct sockaddr *)&bound, &length) != 0)
		die("getsockname");
	if (bound.ss_family == AF_UNIX ||
	    getnameinfo((struct sockaddr *)&bound, length, NULL, 0, port, sizeof(port), NI_NUMERICSERV) != 0)
		printf("listening on %s\n", given);
	else
		printf("listening on %.*s:%s\n", (int)(strrchr(given, ':') - given), given, port);
	fflush(stdout);
}

// ---- the two ends

static void *serve_one(void *argument)
{
	int fd = (int)(intptr_t)argument;
	struct order order;
	if (take_all(fd, (uint8_t *)&order, sizeof(order))) {
		struct half up = {.fd = fd, .bytes = order.bytes};
		struct half down = {.fd = fd, .bytes = order.bytes, .seed = ~order.seed};
		uint8_t extra = 'r';
		sum_ahead(&down);
		if (!put_all(fd, &extra, 1)) {
			close(fd);
			return NULL;
		}
		pthread_t sender = start(send_half, &down);
		receive_half(&up);
		pthread_join(sender, NULL);
		// The client's orderly end belongs to what is checked.
		if (up.whole && down.whole && put_all(fd, down.sum, SUM_BYTES) && recv(fd, &extra, 1, 0) == 0)
			put_all(fd, up.sum, SUM_BYTES);
	}
	close(fd);
	return NULL;
}

_Noreturn static void serve(const char *where)
{
	int listener = open_socket(where, true);
	if (listen(listener, 128) != 0)
		die(where);
	print_listening(listener, where);
	for (;;) {
		pthread_t thread;
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0 || pthread_create(&thread, NULL, serve_one, (void *)(intptr_t)fd) != 0)
			die("accept");
		pthread_detach(thread);
	}
}

static void print_hex(const char *name, const uint8_t sum[SUM_BYTES])
{
	printf(",\"%s\":\"", name);
	for (int i = 0; i < SUM_BYTES; i++)
		printf("%02x", sum[i]);
	printf("\"");
}

struct progress {
	const struct half *up, *down;
	unsigned every_ms;
	_Atomic bool over;
};

static void *tell_progress(void *argument)
{
	const struct progress *progress = argument;
	while (!progress->over) {
		printf("progress %" PRIu64 " %" PRIu64 "\n", progress->up->done, progress->down->done);
		fflush(stdout);
		usleep(progress->every_ms * 1000);
	}
	return NULL;
}

static int run(const char *where, uint64_t bytes, unsigned progress_ms)
{
	struct order order = {.bytes = bytes, .seed = (uint64_t)time(NULL) * 1000003 + (uint64_t)getpid()};
	int fd = open_socket(where, false);
	struct half up = {.fd = fd, .bytes = bytes, .seed = order.seed}, down = {.fd = fd, .bytes = bytes};
	struct progress progress = {.up = &up, .down = &down, .every_ms = progress_ms};
	pthread_t teller = 0;
	uint8_t sums[2][SUM_BYTES] = {{0}};
	uint8_t extra;
	bool whole = put_all(fd, (uint8_t *)&order, sizeof(order));
	sum_ahead(&up);
	whole = whole && take_all(fd, &extra, 1);
	double started = now_s();
	if (progress_ms != 0 && pthread_create(&teller, NULL, tell_progress, &progress) != 0)
		die("thread");
	pthread_t sender = start(send_half, &up);
	receive_half(&down);
	pthread_join(sender, NULL);
	double seconds = now_s() - started;
	shutdown(fd, SHUT_WR);
	whole = whole && up.whole && down.whole && take_all(fd, sums[0], SUM_BYTES) && take_all(fd, sums[1], SUM_BYTES);
	whole = whole && recv(fd, &extra, 1, 0) == 0;
	progress.over = true;
	if (progress_ms != 0)
		pthread_join(teller, NULL);
	bool down_equal = whole && memcmp(sums[0], down.sum, SUM_BYTES) == 0;
	bool up_equal = whole && memcmp(sums[1], up.sum, SUM_BYTES) == 0;
	printf("{\"bytes\":%" PRIu64 ",\"seconds\":%.3f,\"up_done\":%" PRIu64 ",\"down_done\":%" PRIu64
	       ",\"up_equal\":%s,\"down_equal\":%s",
	       bytes, seconds, up.done, down.done, up_equal ? "true" : "false", down_equal ? "true" : "false");
	print_hex("up_sent", up.sum);
	print_hex("up_arrived", sums[1]);
	print_hex("down_sent", sums[0]);
	print_hex("down_arrived", down.sum);
	printf("}\n");
	close(fd);
	return up_equal && down_equal ? 0 : 1;
}

int main(int argc, char **argv)
{
	uint64_t bytes = 64 << 20;
	unsigned progress_ms = 0;
	signal(SIGPIPE, SIG_IGN);
	if (argc == 3 && strcmp(argv[1], "serve") == 0)
		serve(argv[2]);
	if (argc >= 3 && argc % 2 == 1 && strcmp(argv[1], "run") == 0) {
		for (int i = 3; i < argc; i += 2) {
			if (strcmp(argv[i], "--bytes") == 0)
				bytes = strtoull(argv[i + 1], NULL, 10);
			else if (strcmp(argv[i], "--progress") == 0)
				progress_ms = (unsigned)strtoul(argv[i + 1], NULL, 10);
		}
		return run(argv[2], bytes, progress_ms);
	}
	fprintf(stderr, "bulk serve ADDRESS | bulk run ADDRESS --bytes N [--progress MS]\n");
	return 2;
}
