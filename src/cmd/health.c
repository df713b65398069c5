// One GET over a socket of our own: a probe runs every few seconds in every container, and the forty lines of HTTP it
// needs are less than a dependency on libcurl would bring into all of them.

#include "cmd/health.h"

#include "cmd/health_answer.h"
#include "core/clock.h"
#include "core/outcome.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define DEFAULT_ENDPOINT "http://localhost:9090/health"
#define DEFAULT_TIMEOUT_S 5
#define MAX_TIMEOUT_S 3600
#define ANSWER_BYTES 16384

static const char usage[] =
	"usage: qanat health [--endpoint URL] [--timeout SECONDS]\n\n"
	"Asks a running node whether it is healthy: for HEALTHCHECK, livenessProbe and the like.\n\n"
	"  --endpoint URL     http://HOST:PORT/PATH or unix:/SOCKET:/PATH; default: " DEFAULT_ENDPOINT "\n"
	"  --timeout SECONDS  for all of it; default: 5\n\n"
	"Exit status: 0 healthy or degraded, 1 not, or no answer, 2 wrong command line.\n";

struct endpoint {
	char host[256], port[8]; // host[0] == 0: a Unix socket
	char socket[108];
	char path[256];
};

struct probe {
	uint64_t until_ms;
	const char *problem;
};

// ---- words ---------------------------------------------------------------------------------------------------------

static bool copy(char *to, size_t size, const char *from, size_t length)
{
	if (length == 0 || length >= size)
		return false;
	memcpy(to, from, length);
	to[length] = '\0';
	return true;
}

// What would be more than the one line that it belongs in is refused.
static bool is_path(const char *path)
{
	if (*path != '/')
		return false;
	for (; *path; path++)
		if (*path <= 0x20 || *path > 0x7e)
			return false;
	return true;
}

static bool read_unix(const char *text, struct endpoint *endpoint)
{
	const char *colon = strstr(text, ":/");
	const char *path = colon ? colon + 1 : "/health";
	size_t length = colon ? (size_t)(colon - text) : strlen(text);
	return *text == '/' && copy(endpoint->socket, sizeof endpoint->socket, text, length) && is_path(path) &&
	       copy(endpoint->path, sizeof endpoint->path, path, strlen(path));
}

static bool read_http(const char *text, struct endpoint *endpoint)
{
	const char *end = text + strcspn(text, "/"), *path = *end ? end : "/health";
	const char *host = *text == '[' ? text + 1 : text;
	size_t length = strcspn(host, *text == '[' ? "]/" : ":/");
	const char *after = host + length + (host[length] == ']'), *port = "80";
	size_t digits = 2;
	if (*after == ':') {
		port = after + 1;
		digits = (size_t)(end - port);
		after = end;
	}
	return after == end && copy(endpoint->host, sizeof endpoint->host, host, length) &&
	       copy(endpoint->port, sizeof endpoint->port, port, digits) &&
	       strspn(endpoint->port, "0123456789") == digits && is_path(path) &&
	       copy(endpoint->path, sizeof endpoint->path, path, strlen(path));
}

static bool read_endpoint(const char *text, struct endpoint *endpoint)
{
	*endpoint = (struct endpoint){0};
	if (strncmp(text, "unix:", 5) == 0)
		return read_unix(text + 5, endpoint);
	return strncmp(text, "http://", 7) == 0 && read_http(text + 7, endpoint);
}

static bool read_seconds(const char *text, long *seconds)
{
	char *end;
	errno = 0;
	*seconds = strtol(text, &end, 10);
	return *text >= '0' && *text <= '9' && !*end && errno == 0 && *seconds > 0 && *seconds <= MAX_TIMEOUT_S;
}

// ---- one GET -------------------------------------------------------------------------------------------------------

static bool wait_for(struct probe *probe, int fd, short events)
{
	uint64_t now = clock_ms();
	struct pollfd look = {.fd = fd, .events = events};
	if (now < probe->until_ms && poll(&look, 1, (int)(probe->until_ms - now)) == 1)
		return true;
	probe->problem = "no answer in time";
	return false;
}

static int connect_to(struct probe *probe, const struct sockaddr *address, socklen_t length)
{
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), error = 0;
	socklen_t size = sizeof error;
	if (fd < 0)
		return -1;
	if (connect(fd, address, length) != 0 && errno != EINPROGRESS)
		error = errno;
	else if (!wait_for(probe, fd, POLLOUT))
		error = ETIMEDOUT;
	else
		(void)getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
	if (error == 0)
		return fd;
	probe->problem = outcome_text(-error);
	close(fd);
	return -1;
}

static int connect_by_name(struct probe *probe, const struct endpoint *endpoint)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
	int error = getaddrinfo(endpoint->host, endpoint->port, &hints, &list), fd = -1;
	if (error != 0) {
		probe->problem = gai_strerror(error);
		return -1;
	}
	for (const struct addrinfo *at = list; at && fd < 0; at = at->ai_next)
		fd = connect_to(probe, at->ai_addr, at->ai_addrlen);
	freeaddrinfo(list);
	return fd;
}

static int connect_by_path(struct probe *probe, const struct endpoint *endpoint)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	memcpy(address.sun_path, endpoint->socket, sizeof address.sun_path);
	return connect_to(probe, (const struct sockaddr *)&address, sizeof address);
}

static bool send_request(int fd, const struct endpoint *endpoint)
{
	char request[768];
	int n = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n",
	                 endpoint->path, *endpoint->host ? endpoint->host : "localhost");
	return send(fd, request, (size_t)n, MSG_NOSIGNAL) == n;
}

// To the end of the connection. Negative: it did not come, in time or within the room.
static ssize_t receive(struct probe *probe, int fd, char answer[ANSWER_BYTES])
{
	size_t length = 0;
	while (length < ANSWER_BYTES && wait_for(probe, fd, POLLIN)) {
		ssize_t n = recv(fd, answer + length, ANSWER_BYTES - length, 0);
		if (n == 0)
			return (ssize_t)length;
		if (n < 0 && errno != EAGAIN && errno != EINTR) {
			probe->problem = outcome_text(-errno);
			return -1;
		}
		length += n > 0 ? (size_t)n : 0;
	}
	if (length == ANSWER_BYTES)
		probe->problem = "the answer is too long for a node's /health";
	return -1;
}

static int ask(const struct endpoint *endpoint, long seconds)
{
	struct probe probe = {.until_ms = clock_ms() + (uint64_t)seconds * 1000, .problem = "no address"};
	struct health_answer health;
	char answer[ANSWER_BYTES];
	ssize_t length = -1;
	int fd = *endpoint->socket ? connect_by_path(&probe, endpoint) : connect_by_name(&probe, endpoint);
	if (fd >= 0) {
		probe.problem = "the request cannot be sent";
		length = send_request(fd, endpoint) ? receive(&probe, fd, answer) : -1;
		close(fd);
	}
	if (length < 0) {
		fprintf(stderr, "Health check failed: %s\n", probe.problem);
		return 1;
	}
	if (health_answer_read(answer, (size_t)length, &health) != 0) {
		fputs("Health check failed: what answers there is not a node's /health\n", stderr);
		return 1;
	}
	if (health.passed)
		printf("Health check passed: %s\n", health.message);
	else
		fprintf(stderr, "Health check failed: %s: %s\n", *health.status ? health.status : "no status", health.message);
	return health.passed ? 0 : 1;
}

int health_command(int argc, char **argv)
{
	const char *url = DEFAULT_ENDPOINT;
	long seconds = DEFAULT_TIMEOUT_S;
	struct endpoint endpoint;
	for (int at = 1; at < argc; at++) {
		const char *value = strchr(argv[at], '=');
		size_t length = value ? (size_t)(value - argv[at]) : strlen(argv[at]);
		bool is_url = length == 10 && strncmp(argv[at], "--endpoint", length) == 0;
		bool is_time = length == 9 && strncmp(argv[at], "--timeout", length) == 0;
		if (strcmp(argv[at], "--help") == 0 || strcmp(argv[at], "-h") == 0) {
			fputs(usage, stdout);
			return 0;
		}
		value = value ? value + 1 : argv[++at];
		if (!value || !(is_url || is_time) || (is_time && !read_seconds(value, &seconds))) {
			fputs(usage, stderr);
			return 2;
		}
		url = is_url ? value : url;
	}
	if (!read_endpoint(url, &endpoint)) {
		fprintf(stderr, "health: %s: not http://HOST:PORT/PATH or unix:/SOCKET:/PATH\n", url);
		return 2;
	}
	return ask(&endpoint, seconds);
}
