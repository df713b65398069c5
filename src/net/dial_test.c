#include "net/dial.h"

#include "net/socket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define WATCHDOG_MS 10000

struct bench {
	struct loop *loop;
	struct loop_timer *watchdog;
	struct dial *dial;
	bool called, inside_start, timed_out;
	int fd;
	struct address peer;
	char problem[DIAL_PROBLEM_BYTES];
};

static void on_watchdog(void *owner)
{
	struct bench *bench = owner;
	loop_stop(bench->loop);
}

static int set_up(void **state)
{
	struct bench *bench = calloc(1, sizeof(*bench));
	*state = bench;
	bench->fd = -1;
	if (bench == NULL || loop_new(&bench->loop) != 0)
		return -1;
	return loop_timer_open(bench->loop, on_watchdog, bench, &bench->watchdog);
}

static int tear_down(void **state)
{
	struct bench *bench = *state;
	socket_close(&bench->fd);
	loop_timer_close(&bench->watchdog);
	loop_free(&bench->loop);
	free(bench);
	return 0;
}

static void on_done(void *owner, const struct dial_result *result)
{
	struct bench *bench = owner;
	assert_false(bench->inside_start);
	assert_false(bench->called);
	assert_null(bench->dial);
	bench->called = true;
	bench->fd = result->fd;
	bench->timed_out = result->timed_out;
	if (result->fd >= 0)
		bench->peer = result->peer;
	else
		snprintf(bench->problem, sizeof(bench->problem), "%s", result->problem);
	loop_stop(bench->loop);
}

static void run_for(struct bench *bench, uint64_t ms)
{
	loop_timer_arm(bench->watchdog, ms, 0);
	assert_int_equal(loop_run(bench->loop), 0);
}

static void run(struct bench *bench)
{
	run_for(bench, WATCHDOG_MS);
	assert_true(bench->called);
}

static void listen_on(const char *ip, int backlog, struct address *address, int *fd)
{
	assert_int_equal(address_from_ip(ip, 0, address), 0);
	assert_int_equal(socket_listen(address, backlog, fd), 0);
}

// A machine may have no IPv6 at all, not even on loopback.
static bool has_six(void)
{
	struct address address;
	int fd;
	if (address_from_ip("::1", 0, &address) != 0 || socket_listen(&address, 1, &fd) != 0)
		return false;
	socket_close(&fd);
	return true;
}

// An address where the kernel refuses: bound once, closed again.
static void closed_port(const char *ip, struct address *address)
{
	int fd;
	listen_on(ip, 1, address, &fd);
	socket_close(&fd);
}

static void start_list(struct bench *bench, const struct address *list, size_t count, uint32_t timeout_ms)
{
	bench->inside_start = true;
	assert_int_equal(dial_addresses_start(bench->loop, list, count, timeout_ms, on_done, bench, &bench->dial), 0);
	bench->inside_start = false;
	assert_non_null(bench->dial);
}

static void start(struct bench *bench, const char *host, uint16_t port, uint32_t timeout_ms)
{
	bench->inside_start = true;
	assert_int_equal(dial_start(bench->loop, host, port, timeout_ms, on_done, bench, &bench->dial), 0);
	bench->inside_start = false;
	assert_non_null(bench->dial);
}

static void a_listener_answers(void **state)
{
	struct bench *bench = *state;
	struct address address;
	int listener;
	listen_on("127.0.0.1", 4, &address, &listener);
	start(bench, "127.0.0.1", ntohs(address.in4.sin_port), 5000);
	run(bench);
	assert_true(bench->fd >= 0);
	assert_true(address_is_same_host(&bench->peer, &address));
	socket_close(&listener);
}

static void a_closed_first_address_falls_through_to_the_next(void **state)
{
	struct bench *bench = *state;
	struct address list[3];
	int listener;
	closed_port("127.0.0.1", &list[0]);
	closed_port("127.0.0.2", &list[1]);
	listen_on(has_six() ? "::1" : "127.0.0.3", 4, &list[2], &listener);
	start_list(bench, list, 3, 5000);
	run(bench);
	assert_true(bench->fd >= 0);
	assert_true(address_is_same_host(&bench->peer, &list[2]));
	socket_close(&listener);
}

static void localhost_reaches_a_listener_of_either_family(void **state)
{
	static const char *const ips[] = {"127.0.0.1", "::1"};
	struct bench *bench = *state;
	for (size_t i = 0; i < (has_six() ? 2 : 1); i++) {
		struct address address;
		int listener;
		listen_on(ips[i], 4, &address, &listener);
		// Only a host that gives localhost both addresses can show the fall-through.
		struct addrinfo *list = NULL, hints = {.ai_socktype = SOCK_STREAM, .ai_family = address.any.sa_family};
		if (getaddrinfo("localhost", NULL, &hints, &list) != 0) {
			socket_close(&listener);
			continue;
		}
		freeaddrinfo(list);
		bench->called = false;
		start(bench, "localhost", ntohs(address.in4.sin_port), 5000);
		run(bench);
		assert_true(bench->fd >= 0);
		assert_int_equal(bench->peer.any.sa_family, address.any.sa_family);
		socket_close(&bench->fd);
		socket_close(&listener);
	}
}

static void when_all_refuse_each_is_named_with_its_reason(void **state)
{
	struct bench *bench = *state;
	struct address list[2];
	char first[ADDRESS_TEXT_BYTES], second[ADDRESS_TEXT_BYTES];
	closed_port("127.0.0.1", &list[0]);
	closed_port("127.0.0.2", &list[1]);
	start_list(bench, list, 2, 5000);
	run(bench);
	assert_int_equal(bench->fd, -1);
	assert_false(bench->timed_out);
	address_format(&list[0], first);
	address_format(&list[1], second);
	assert_non_null(strstr(bench->problem, first));
	assert_non_null(strstr(bench->problem, second));
	assert_non_null(strstr(bench->problem, "efused"));
}

static void no_address_at_all_fails_with_a_reason(void **state)
{
	struct bench *bench = *state;
	start_list(bench, NULL, 0, 5000);
	run(bench);
	assert_int_equal(bench->fd, -1);
	assert_string_not_equal(bench->problem, "");
}

static void a_name_that_does_not_exist_fails_with_its_name(void **state)
{
	struct bench *bench = *state;
	start(bench, "no-such-host.invalid", 1, 5000);
	run(bench);
	assert_int_equal(bench->fd, -1);
	assert_non_null(strstr(bench->problem, "no-such-host.invalid: "));
}

// Connections beyond a full accept queue are answered by silence.
static void fill_queue(const struct address *address, int fds[8])
{
	for (int i = 0; i < 8; i++) {
		fds[i] = -1;
		int result = socket_connect(address, &fds[i]);
		assert_true(result == 0 || result == SOCKET_PENDING);
	}
}

static void a_silent_address_does_not_hold_up_the_next(void **state)
{
	struct bench *bench = *state;
	struct address list[2];
	int silent, listener, fds[8];
	listen_on("127.0.0.1", 0, &list[0], &silent);
	fill_queue(&list[0], fds);
	listen_on("127.0.0.2", 4, &list[1], &listener);
	start_list(bench, list, 2, 60000);
	run(bench);
	assert_true(bench->fd >= 0);
	assert_true(address_is_same_host(&bench->peer, &list[1]));
	for (int i = 0; i < 8; i++)
		socket_close(&fds[i]);
	socket_close(&silent);
	socket_close(&listener);
}

static void silence_ends_at_the_deadline(void **state)
{
	struct bench *bench = *state;
	struct address address;
	int silent, fds[8];
	listen_on("127.0.0.1", 0, &address, &silent);
	fill_queue(&address, fds);
	start_list(bench, &address, 1, 300);
	run(bench);
	assert_int_equal(bench->fd, -1);
	assert_true(bench->timed_out);
	assert_non_null(strstr(bench->problem, "no answer (127.0.0.1:"));
	for (int i = 0; i < 8; i++)
		socket_close(&fds[i]);
	socket_close(&silent);
}

static void a_cancelled_dial_never_calls_back(void **state)
{
	struct bench *bench = *state;
	struct address address;
	int listener;
	listen_on("127.0.0.1", 4, &address, &listener);
	start_list(bench, &address, 1, 50); // connecting, about to be ready
	dial_cancel(&bench->dial);
	assert_null(bench->dial);
	dial_cancel(&bench->dial);
	start(bench, "localhost", ntohs(address.in4.sin_port), 50); // in the resolver
	dial_cancel(&bench->dial);
	start_list(bench, NULL, 0, 50); // failed already, not yet told
	dial_cancel(&bench->dial);
	run_for(bench, 200);
	assert_false(bench->called);
	socket_close(&listener);
}

struct pair {
	struct bench *bench;
	struct dial *dials[2];
	int calls;
};

static void on_one_of_two(void *owner, const struct dial_result *result)
{
	struct pair *pair = owner;
	int fd = result->fd;
	pair->calls++;
	socket_close(&fd);
	dial_cancel(&pair->dials[0]);
	dial_cancel(&pair->dials[1]);
	loop_timer_arm(pair->bench->watchdog, 100, 0);
}

static void cancelling_from_another_dials_callback_is_safe(void **state)
{
	struct pair pair = {.bench = *state};
	struct address address;
	int listener;
	listen_on("127.0.0.1", 4, &address, &listener);
	for (int i = 0; i < 2; i++)
		assert_int_equal(dial_address_start(pair.bench->loop, &address, 5000, on_one_of_two, &pair, &pair.dials[i]), 0);
	run_for(pair.bench, WATCHDOG_MS);
	assert_int_equal(pair.calls, 1);
	socket_close(&listener);
}

static void unix_address(char folder[], struct address *address, char text[128])
{
	assert_non_null(mkdtemp(folder));
	snprintf(text, 128, "unix:%s/s", folder);
	assert_int_equal(address_parse(text, address), 0);
}

static void a_unix_path_is_dialled(void **state)
{
	struct bench *bench = *state;
	char folder[] = "/tmp/dial_test.XXXXXX", text[128];
	struct address address;
	int listener;
	unix_address(folder, &address, text);
	assert_int_equal(socket_listen(&address, 4, &listener), 0);
	start(bench, text, 0, 5000);
	run(bench);
	assert_true(bench->fd >= 0);
	assert_true(address_is_unix(&bench->peer));
	socket_close(&listener);

	// The path is there but nobody listens.
	socket_close(&bench->fd);
	bench->called = false;
	start(bench, text, 0, 5000);
	run(bench);
	assert_int_equal(bench->fd, -1);
	assert_non_null(strstr(bench->problem, text));
	unlink(address.un.sun_path);
	rmdir(folder);
}

struct drain {
	struct loop_timer *timer;
	int listener;
};

static void drain_queue(void *owner)
{
	struct drain *drain = owner;
	struct address peer;
	int fd;
	while (socket_accept(drain->listener, &fd, &peer) == 0)
		socket_close(&fd);
}

static void a_busy_unix_listener_is_asked_again(void **state)
{
	struct bench *bench = *state;
	char folder[] = "/tmp/dial_test.XXXXXX", text[128];
	struct address address;
	struct drain drain;
	int fds[8], opened = 0;
	unix_address(folder, &address, text);
	assert_int_equal(socket_listen(&address, 1, &drain.listener), 0);
	while (opened < 8 && socket_connect(&address, &fds[opened]) == 0)
		opened++;
	assert_true(opened < 8);
	assert_int_equal(loop_timer_open(bench->loop, drain_queue, &drain, &drain.timer), 0);
	start(bench, text, 0, 60);
	run(bench);
	assert_true(bench->timed_out);
	assert_non_null(strstr(bench->problem, "its queue stayed full"));

	bench->called = false;
	loop_timer_arm(drain.timer, 60, 0);
	start(bench, text, 0, 5000);
	run(bench);
	assert_true(bench->fd >= 0);
	while (opened > 0)
		socket_close(&fds[--opened]);
	loop_timer_close(&drain.timer);
	socket_close(&drain.listener);
	unlink(address.un.sun_path);
	rmdir(folder);
}

static void more_addresses_than_the_limit_are_cut(void **state)
{
	struct bench *bench = *state;
	struct address list[DIAL_ADDRESSES + 4];
	for (size_t i = 0; i < COUNT_OF(list); i++)
		closed_port("127.0.0.1", &list[i]);
	start_list(bench, list, COUNT_OF(list), 5000);
	run(bench);
	assert_int_equal(bench->fd, -1);
	assert_true(strlen(bench->problem) < DIAL_PROBLEM_BYTES);
}

int main(void)
{
#define with_loop(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		with_loop(a_listener_answers),
		with_loop(a_closed_first_address_falls_through_to_the_next),
		with_loop(localhost_reaches_a_listener_of_either_family),
		with_loop(when_all_refuse_each_is_named_with_its_reason),
		with_loop(no_address_at_all_fails_with_a_reason),
		with_loop(a_name_that_does_not_exist_fails_with_its_name),
		with_loop(a_silent_address_does_not_hold_up_the_next),
		with_loop(silence_ends_at_the_deadline),
		with_loop(a_cancelled_dial_never_calls_back),
		with_loop(cancelling_from_another_dials_callback_is_safe),
		with_loop(a_unix_path_is_dialled),
		with_loop(a_busy_unix_listener_is_asked_again),
		with_loop(more_addresses_than_the_limit_are_cut),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
