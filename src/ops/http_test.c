#include "ops/http.h"

#include "core/clock.h"
#include "net/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#define PATIENCE_MS 20000
#define PLACES 64

struct bench {
	struct address address;
	struct http *http;
	_Atomic bool ready, unhealthy;
	_Atomic int fills;
	_Atomic size_t links;
	char folder[32];
	char answer[8 * 1024 * 1024];
};

static void fill(void *owner, struct status_node *status)
{
	struct bench *bench = owner;
	size_t links = atomic_load(&bench->links);
	atomic_fetch_add(&bench->fills, 1);
	*status = (struct status_node){
		.command = "source",
		.health = atomic_load(&bench->unhealthy) ? "Unhealthy" : "Healthy",
		.ready = atomic_load(&bench->ready),
		.links = calloc(links + 1, sizeof(struct status_link)),
		.link_count = links,
	};
	for (size_t i = 0; i < links; i++)
		snprintf(status->links[i].id, sizeof status->links[i].id, "%08zx", i);
}

static int set_up(void **state)
{
	struct bench *bench = calloc(1, sizeof *bench);
	*state = bench;
	if (!bench || address_from_ip("127.0.0.1", 0, &bench->address) != 0)
		return -1;
	bench->ready = true;
	bench->links = 1;
	return http_start(&bench->address, fill, bench, &bench->http);
}

static int tear_down(void **state)
{
	struct bench *bench = *state;
	http_stop(&bench->http);
	free(bench);
	return 0;
}

static int connect_to(const struct address *address)
{
	int fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, &address->any, address->length), 0);
	return fd;
}

static void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

// Reads to the end of the connection; the length, or -1 when it ends otherwise.
static ssize_t hear(struct bench *bench, int fd)
{
	size_t length = 0;
	uint64_t until = clock_ms() + PATIENCE_MS;
	for (;;) {
		struct pollfd ready = {.fd = fd, .events = POLLIN};
		assert_true(clock_ms() < until);
		assert_true(length < sizeof bench->answer - 1);
		if (poll(&ready, 1, PATIENCE_MS) != 1)
			return -1;
		ssize_t count = recv(fd, bench->answer + length, sizeof bench->answer - 1 - length, 0);
		if (count < 0)
			return -1;
		if (count == 0)
			break;
		length += (size_t)count;
	}
	bench->answer[length] = '\0';
	return (ssize_t)length;
}

// One request on a connection of its own; the status code.
static int ask(struct bench *bench, const char *method, const char *path)
{
	char request[256];
	int fd = connect_to(&bench->address), code = 0;
	snprintf(request, sizeof request, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", method, path);
	say(fd, request);
	assert_true(hear(bench, fd) > 0);
	close(fd);
	assert_int_equal(sscanf(bench->answer, "HTTP/1.1 %d ", &code), 1);
	return code;
}

static const char *body_of(const struct bench *bench)
{
	const char *end = strstr(bench->answer, "\r\n\r\n");
	assert_non_null(end);
	return end + 4;
}

static void assert_header(const struct bench *bench, const char *line)
{
	char wanted[128];
	snprintf(wanted, sizeof wanted, "\r\n%s\r\n", line);
	if (!strstr(bench->answer, wanted))
		fail_msg("no \"%s\" in %s", line, bench->answer);
}

static void each_path_has_its_page(void **state)
{
	struct bench *bench = *state;
	assert_int_equal(ask(bench, "GET", "/metrics"), 200);
	assert_header(bench, "Content-Type: text/plain; version=0.0.4; charset=utf-8");
	assert_non_null(strstr(body_of(bench), "\nqanat_ready 1\n"));
	assert_int_equal(ask(bench, "GET", "/health"), 200);
	assert_header(bench, "Content-Type: application/json");
	assert_non_null(strstr(body_of(bench), "\"status\": \"Healthy\""));
	assert_int_equal(ask(bench, "GET", "/status"), 200);
	assert_header(bench, "Content-Type: application/json");
	assert_non_null(strstr(body_of(bench), "\"command\": \"source\""));
	assert_int_equal(bench->fills, 3);
}

static void the_root_lists_the_paths(void **state)
{
	struct bench *bench = *state;
	assert_int_equal(ask(bench, "GET", "/"), 200);
	assert_non_null(strstr(body_of(bench), "/metrics"));
	assert_non_null(strstr(body_of(bench), "/health"));
	assert_non_null(strstr(body_of(bench), "/status"));
	assert_int_equal(bench->fills, 0);
}

static void an_unknown_path_is_told_the_known_ones(void **state)
{
	struct bench *bench = *state;
	static const char *const unknown[] = {"/nothing", "/metrics/", "/Metrics", "//health", "/status/../health"};
	for (size_t i = 0; i < COUNT_OF(unknown); i++) {
		assert_int_equal(ask(bench, "GET", unknown[i]), 404);
		assert_non_null(strstr(body_of(bench), "/metrics"));
	}
	assert_int_equal(bench->fills, 0);
}

static void a_query_does_not_hide_the_path(void **state)
{
	assert_int_equal(ask(*state, "GET", "/health?verbose=1"), 200);
}

static void nothing_is_kept_by_caches(void **state)
{
	static const char *const paths[] = {"/", "/metrics", "/health", "/status", "/nothing"};
	for (size_t i = 0; i < COUNT_OF(paths); i++) {
		(void)ask(*state, "GET", paths[i]);
		assert_header(*state, "Cache-Control: no-store");
	}
}

static void a_node_that_is_not_ready_says_so(void **state)
{
	struct bench *bench = *state;
	bench->ready = false;
	assert_int_equal(ask(bench, "GET", "/health"), 503);
	assert_non_null(strstr(body_of(bench), "\"status\""));
	assert_int_equal(ask(bench, "HEAD", "/health"), 503);
	assert_int_equal(ask(bench, "GET", "/status"), 200);
}

static void a_node_that_is_unhealthy_is_left_out_by_who_balances(void **state)
{
	struct bench *bench = *state;
	bench->unhealthy = true;
	assert_int_equal(ask(bench, "GET", "/health"), 503);
	assert_non_null(strstr(body_of(bench), "\"Unhealthy\""));
	assert_int_equal(ask(bench, "HEAD", "/health"), 503);
	bench->unhealthy = false;
	assert_int_equal(ask(bench, "GET", "/health"), 200);
}

static void head_answers_without_a_body(void **state)
{
	struct bench *bench = *state;
	assert_int_equal(ask(bench, "HEAD", "/metrics"), 200);
	assert_string_equal(body_of(bench), "");
	assert_null(strstr(bench->answer, "\r\nContent-Length: 0\r\n"));
}

static void other_methods_are_refused_without_reading_what_they_bring(void **state)
{
	static const char *const methods[] = {"PUT", "DELETE", "OPTIONS", "get", "BREW"};
	struct bench *bench = *state;
	for (size_t i = 0; i < COUNT_OF(methods); i++) {
		assert_int_equal(ask(bench, methods[i], "/health"), 405);
		assert_header(bench, "Allow: GET, HEAD");
	}
	int fd = connect_to(&bench->address);
	say(fd, "POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n");
	(void)hear(bench, fd);
	assert_int_equal(strncmp(bench->answer, "HTTP/1.1 405 ", 13), 0);
	close(fd);
	assert_int_equal(bench->fills, 0);
}

static void a_get_with_a_body_is_answered_behind_it(void **state)
{
	struct bench *bench = *state;
	int fd = connect_to(&bench->address);
	say(fd, "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello");
	assert_true(hear(bench, fd) > 0);
	assert_int_equal(strncmp(bench->answer, "HTTP/1.1 200 ", 13), 0);
	close(fd);
}

static void a_head_that_never_ends_is_refused_in_bounded_memory(void **state)
{
	struct bench *bench = *state;
	char header[1024];
	int fd = connect_to(&bench->address), sent = 0;
	memset(header, 'h', sizeof header);
	memcpy(header + sizeof header - 2, "\r\n", 2);
	memcpy(header, "X: ", 3);
	say(fd, "GET /health HTTP/1.1\r\nHost: x\r\n");
	while (sent < 4096 && send(fd, header, sizeof header, MSG_NOSIGNAL) > 0)
		sent++;
	assert_true(sent < 4096); // 4 MiB of headers were not listened to
	close(fd);
	assert_int_equal(ask(bench, "GET", "/health"), 200);
}

static void two_requests_on_one_connection_are_answered(void **state)
{
	struct bench *bench = *state;
	int fd = connect_to(&bench->address);
	say(fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	assert_true(hear(bench, fd) > 0);
	assert_non_null(strstr(bench->answer, "\"status\": \"Healthy\""));
	close(fd);
}

// More connections than there are places, each of which has begun to ask and says no more.
static void slow_scrapers_do_not_lock_others_out(void **state)
{
	struct bench *bench = *state;
	int slow[3 * PLACES];
	for (size_t i = 0; i < COUNT_OF(slow); i++) {
		slow[i] = connect_to(&bench->address);
		say(slow[i], "GET /health HT");
	}
	assert_int_equal(ask(bench, "GET", "/health"), 200);
	// It was not their silence that ended the slow ones: the last of them may still go on.
	say(slow[COUNT_OF(slow) - 1], "TP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	assert_true(hear(bench, slow[COUNT_OF(slow) - 1]) > 0);
	for (size_t i = 0; i < COUNT_OF(slow); i++)
		close(slow[i]);
}

static void the_oldest_connection_makes_room_for_the_newest(void **state)
{
	struct bench *bench = *state;
	int held[PLACES];
	for (size_t i = 0; i < COUNT_OF(held); i++) {
		held[i] = connect_to(&bench->address);
		say(held[i], "GET / HTTP/1.1\r\nHost: x\r\n");
	}
	assert_int_equal(hear(bench, held[0]), 0);
	say(held[PLACES - 1], "Connection: close\r\n\r\n");
	assert_true(hear(bench, held[PLACES - 1]) > 0);
	for (size_t i = 0; i < COUNT_OF(held); i++)
		close(held[i]);
}

static void listen_on_a_path(struct bench *bench)
{
	char text[64];
	http_stop(&bench->http);
	snprintf(bench->folder, sizeof bench->folder, "/tmp/http_test.XXXXXX");
	assert_non_null(mkdtemp(bench->folder));
	snprintf(text, sizeof text, "unix:%s/sock", bench->folder);
	assert_int_equal(address_parse(text, &bench->address), 0);
	assert_int_equal(http_start(&bench->address, fill, bench, &bench->http), 0);
}

// Pages of about 3 MiB that nobody reads: beyond the bound they are refused, small ones are not. Over a Unix socket,
// where the kernel holds no more than a few hundred KiB of them.
static void pages_that_are_not_read_are_bounded(void **state)
{
	struct bench *bench = *state;
	int unread[10], busy = 0;
	listen_on_a_path(bench);
	bench->links = 4000;
	for (size_t i = 0; i < COUNT_OF(unread); i++) {
		unread[i] = connect_to(&bench->address);
		say(unread[i], "GET /status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	}
	for (size_t i = 0; i < COUNT_OF(unread); i++) {
		char head[14] = "";
		assert_int_equal(recv(unread[i], head, 13, MSG_WAITALL), 13);
		busy += strcmp(head, "HTTP/1.1 503 ") == 0;
	}
	assert_true(busy > 0 && busy < (int)COUNT_OF(unread));
	assert_int_equal(ask(bench, "GET", "/health"), 200);
	for (size_t i = 0; i < COUNT_OF(unread); i++)
		close(unread[i]);
	http_stop(&bench->http);
	assert_int_equal(rmdir(bench->folder), 0);
}

static void after_the_stop_nobody_is_asked_and_nobody_listens(void **state)
{
	struct bench *bench = *state;
	int waiting = connect_to(&bench->address), fd;
	say(waiting, "GET /health HTTP/1.1\r\nHost: x\r\n");
	assert_int_equal(ask(bench, "GET", "/health"), 200);
	http_stop(&bench->http);
	assert_null(bench->http);
	int fills = bench->fills;
	(void)send(waiting, "\r\n", 2, MSG_NOSIGNAL);
	assert_true(hear(bench, waiting) <= 0);
	close(waiting);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, &bench->address.any, bench->address.length), -1);
	assert_int_equal(errno, ECONNREFUSED);
	close(fd);
	assert_int_equal(bench->fills, fills);
	http_stop(&bench->http);
}

static void the_port_really_bound_is_told(void **state)
{
	struct bench *bench = *state;
	assert_int_not_equal(ntohs(bench->address.in4.sin_port), 0);
}

static void an_address_in_use_is_a_refusal(void **state)
{
	struct bench *bench = *state;
	struct address same = bench->address;
	struct http *second = NULL;
	assert_int_equal(http_start(&same, fill, bench, &second), -EADDRINUSE);
	assert_null(second);
	assert_int_equal(ask(bench, "GET", "/health"), 200);
}

static void a_unix_socket_serves_the_same_and_is_removed_at_the_end(void **state)
{
	struct bench *bench = *state;
	struct stat seen;
	listen_on_a_path(bench);
	assert_int_equal(ask(bench, "GET", "/health"), 200);
	assert_int_equal(lstat(bench->address.un.sun_path, &seen), 0);
	assert_int_equal(seen.st_mode & 07, 0);
	http_stop(&bench->http);
	assert_int_equal(lstat(bench->address.un.sun_path, &seen), -1);
	assert_int_equal(rmdir(bench->folder), 0);
}

static void a_path_that_is_somebody_elses_now_is_left_alone(void **state)
{
	struct bench *bench = *state;
	listen_on_a_path(bench);
	assert_int_equal(unlink(bench->address.un.sun_path), 0);
	int fd = open(bench->address.un.sun_path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	http_stop(&bench->http);
	assert_int_equal(unlink(bench->address.un.sun_path), 0);
	assert_int_equal(rmdir(bench->folder), 0);
}

// The connection is there before the descriptors run out, and taken when there are some again.
static void a_time_without_descriptors_is_survived(void **state)
{
	struct bench *bench = *state;
	struct rlimit before, none;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(connect(fd, &bench->address.any, bench->address.length), 0);
	say(fd, "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_true(hear(bench, fd) > 0);
	assert_int_equal(strncmp(bench->answer, "HTTP/1.1 200 ", 13), 0);
	close(fd);
}

#define SERVED(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SERVED(each_path_has_its_page),
		SERVED(the_root_lists_the_paths),
		SERVED(an_unknown_path_is_told_the_known_ones),
		SERVED(a_query_does_not_hide_the_path),
		SERVED(nothing_is_kept_by_caches),
		SERVED(a_node_that_is_not_ready_says_so),
		SERVED(a_node_that_is_unhealthy_is_left_out_by_who_balances),
		SERVED(head_answers_without_a_body),
		SERVED(other_methods_are_refused_without_reading_what_they_bring),
		SERVED(a_get_with_a_body_is_answered_behind_it),
		SERVED(a_head_that_never_ends_is_refused_in_bounded_memory),
		SERVED(two_requests_on_one_connection_are_answered),
		SERVED(slow_scrapers_do_not_lock_others_out),
		SERVED(the_oldest_connection_makes_room_for_the_newest),
		SERVED(pages_that_are_not_read_are_bounded),
		SERVED(after_the_stop_nobody_is_asked_and_nobody_listens),
		SERVED(the_port_really_bound_is_told),
		SERVED(an_address_in_use_is_a_refusal),
		SERVED(a_unix_socket_serves_the_same_and_is_removed_at_the_end),
		SERVED(a_path_that_is_somebody_elses_now_is_left_alone),
		SERVED(a_time_without_descriptors_is_survived),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
