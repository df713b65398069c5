#include "core/loop_rig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>

static void on_ready_count(void *owner, int events)
{
	struct bench *bench = owner;
	bench->events = events;
	if (++bench->calls == bench->stop_at)
		loop_stop(bench->loop);
}

static void open_io(struct bench *bench, loop_io_fn on_ready, int events)
{
	assert_int_equal(loop_io_open(bench->loop, bench->fds[0], on_ready, bench, &bench->io), 0);
	loop_io_want(bench->io, events);
}

static void readiness_is_told_again_as_long_as_it_lasts(void **state)
{
	struct bench *bench = *state;
	bench->stop_at = 3;
	open_io(bench, on_ready_count, LOOP_READ);
	say(bench->fds[1]);
	run(bench);
	assert_int_equal(bench->calls, 3);
	assert_int_equal(bench->events, LOOP_READ);
}

static void only_what_is_wanted_is_told(void **state)
{
	struct bench *bench = *state;
	bench->stop_at = 1;
	say(bench->fds[1]);
	open_io(bench, on_ready_count, 0);
	run_what_is_ready(bench);
	assert_int_equal(bench->calls, 0);
	loop_io_want(bench->io, LOOP_WRITE);
	run(bench);
	assert_int_equal(bench->events, LOOP_WRITE);
	bench->calls = 0;
	loop_io_want(bench->io, LOOP_READ | LOOP_WRITE);
	run(bench);
	assert_int_equal(bench->events, LOOP_READ | LOOP_WRITE);
	bench->calls = 0;
	loop_io_want(bench->io, 0);
	run_what_is_ready(bench);
	assert_int_equal(bench->calls, 0);
}

static void an_end_is_told_to_who_wants_no_bytes(void **state)
{
	struct bench *bench = *state;
	bench->stop_at = 1;
	open_io(bench, on_ready_count, LOOP_ENDED);
	say(bench->fds[1]);
	run_what_is_ready(bench);
	assert_int_equal(bench->calls, 0);
	assert_int_equal(shutdown(bench->fds[1], SHUT_WR), 0);
	run(bench);
	assert_int_equal(bench->events, LOOP_ENDED);
	// And not to others.
	bench->calls = 0;
	loop_io_want(bench->io, LOOP_WRITE);
	run(bench);
	assert_int_equal(bench->events, LOOP_WRITE);
}

static void a_reset_is_told_to_who_wants_no_bytes_as_an_error(void **state)
{
	struct bench *bench = *state;
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t length = sizeof address;
	struct linger hard = {.l_onoff = 1};
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
		client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, length), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &length), 0);
	assert_int_equal(connect(client, (struct sockaddr *)&address, length), 0);
	int accepted = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	bench->stop_at = 1;
	assert_int_equal(loop_io_open(bench->loop, accepted, on_ready_count, bench, &bench->io), 0);
	loop_io_want(bench->io, LOOP_ENDED);
	assert_int_equal(setsockopt(client, SOL_SOCKET, SO_LINGER, &hard, sizeof hard), 0);
	close(client);
	run(bench);
	assert_int_equal(bench->events & (LOOP_READ | LOOP_WRITE), LOOP_READ | LOOP_WRITE);
	loop_io_close(&bench->io);
	close(accepted);
	close(listener);
}

static void nothing_is_told_before_anything_is_wanted(void **state)
{
	struct bench *bench = *state;
	assert_int_equal(loop_io_open(bench->loop, bench->fds[0], on_ready_count, bench, &bench->io), 0);
	say(bench->fds[1]);
	run_what_is_ready(bench);
	assert_int_equal(bench->calls, 0);
}

static void on_ready_close_both(void *owner, int events)
{
	struct bench *bench = owner;
	(void)events;
	bench->calls++;
	loop_io_close(&bench->io);
	loop_io_close(&bench->other_io);
	loop_stop(bench->loop);
}

static void a_callback_that_closes_two_ready_ones_is_the_last_of_both(void **state)
{
	struct bench *bench = *state;
	open_io(bench, on_ready_close_both, LOOP_READ);
	assert_int_equal(loop_io_open(bench->loop, bench->other_fds[0], on_ready_close_both, bench, &bench->other_io), 0);
	loop_io_want(bench->other_io, LOOP_READ);
	say(bench->fds[1]);
	say(bench->other_fds[1]);
	run(bench);
	run_what_is_ready(bench);
	assert_int_equal(bench->calls, 1);
	assert_null(bench->io);
	assert_null(bench->other_io);
}

static void on_other_ready(void *owner, int events)
{
	struct bench *bench = owner;
	(void)events;
	bench->other_calls++;
	loop_io_want(bench->other_io, 0);
}

// Closes its descriptor, and lets the other pair's end, which has nothing to read, take over its number.
static void on_ready_replace(void *owner, int events)
{
	struct bench *bench = owner;
	(void)events;
	bench->calls++;
	loop_io_close(&bench->io);
	assert_int_equal(dup2(bench->other_fds[0], bench->fds[0]), bench->fds[0]);
	assert_int_equal(loop_io_open(bench->loop, bench->fds[0], on_other_ready, bench, &bench->other_io), 0);
	loop_io_want(bench->other_io, LOOP_READ);
}

static void a_descriptor_closed_in_its_callback_may_be_used_again_at_once(void **state)
{
	struct bench *bench = *state;
	open_io(bench, on_ready_replace, LOOP_READ);
	say(bench->fds[1]);
	run_what_is_ready(bench);
	run_what_is_ready(bench);
	assert_int_equal(bench->calls, 1);
	assert_int_equal(bench->other_calls, 0);
	say(bench->other_fds[1]);
	run_what_is_ready(bench);
	assert_int_equal(bench->other_calls, 1);
}

static void closing_nothing_is_harmless(void **state)
{
	struct bench *bench = *state;
	loop_io_close(&bench->io);
	loop_timer_close(&bench->timer);
	loop_signal_close(&bench->signal);
	loop_lookup_cancel(&bench->lookup);
	assert_null(bench->io);
}

static void the_end_of_the_peer_is_readable(void **state)
{
	struct bench *bench = *state;
	bench->stop_at = 1;
	open_io(bench, on_ready_count, LOOP_READ);
	shutdown(bench->fds[1], SHUT_RDWR);
	run(bench);
	assert_true(bench->events & LOOP_READ);
}

static void a_pipe_without_a_reader_is_told_as_both(void **state)
{
	struct bench *bench = *state;
	int ends[2];
	assert_int_equal(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
	bench->stop_at = 1;
	assert_int_equal(loop_io_open(bench->loop, ends[1], on_ready_count, bench, &bench->io), 0);
	loop_io_want(bench->io, LOOP_READ);
	close(ends[0]);
	run(bench);
	assert_int_equal(bench->events, LOOP_READ | LOOP_WRITE);
	loop_io_close(&bench->io);
	close(ends[1]);
}

static void an_error_that_nobody_fetches_is_told_again(void **state)
{
	struct bench *bench = *state;
	int ends[2];
	assert_int_equal(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
	bench->stop_at = 3;
	assert_int_equal(loop_io_open(bench->loop, ends[1], on_ready_count, bench, &bench->io), 0);
	loop_io_want(bench->io, LOOP_WRITE);
	close(ends[0]);
	run(bench);
	assert_int_equal(bench->calls, 3);
	loop_io_want(bench->io, 0);
	run_what_is_ready(bench);
	assert_int_equal(bench->calls, 3);
	loop_io_close(&bench->io);
	close(ends[1]);
}

static void bind_udp(int *fd, struct sockaddr_in *address)
{
	socklen_t length = sizeof *address;
	*address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	*fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_true(*fd >= 0);
	assert_int_equal(bind(*fd, (struct sockaddr *)address, sizeof *address), 0);
	assert_int_equal(getsockname(*fd, (struct sockaddr *)address, &length), 0);
}

// Reads until there is nothing, as a datagram flow does, and notes an error as 'e' and a datagram as 'd'. It never asks
// anew for what it asked for already.
static void on_ready_receive(void *owner, int events)
{
	struct bench *bench = owner;
	char byte;
	(void)events;
	for (;;) {
		ssize_t length = recv(bench->other_fds[0], &byte, 1, 0);
		if (length < 0 && errno == EAGAIN)
			return;
		note(bench, length < 0 ? 'e' : 'd');
		loop_stop(bench->loop);
	}
}

static void a_udp_socket_goes_on_after_its_peer_was_away(void **state)
{
	struct bench *bench = *state;
	struct sockaddr_in near, far;
	int gone, back;
	close(bench->other_fds[0]);
	bind_udp(&bench->other_fds[0], &near);
	bind_udp(&gone, &far);
	close(gone);
	assert_int_equal(connect(bench->other_fds[0], (struct sockaddr *)&far, sizeof far), 0);
	assert_int_equal(loop_io_open(bench->loop, bench->other_fds[0], on_ready_receive, bench, &bench->io), 0);
	loop_io_want(bench->io, LOOP_READ);
	assert_int_equal(send(bench->other_fds[0], "x", 1, 0), 1);
	run(bench);
	assert_string_equal(bench->trace, "e");
	back = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(back, (struct sockaddr *)&far, sizeof far), 0);
	assert_int_equal(sendto(back, "y", 1, 0, (struct sockaddr *)&near, sizeof near), 1);
	run(bench);
	assert_string_equal(bench->trace, "ed");
	loop_io_close(&bench->io);
	close(back);
}

static void a_file_that_cannot_be_waited_for_is_refused(void **state)
{
	struct bench *bench = *state;
	FILE *file = tmpfile();
	assert_non_null(file);
	assert_true(loop_io_open(bench->loop, fileno(file), on_ready_count, bench, &bench->io) < 0);
	assert_null(bench->io);
	fclose(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_A_LOOP(readiness_is_told_again_as_long_as_it_lasts),
		IN_A_LOOP(only_what_is_wanted_is_told),
		IN_A_LOOP(an_end_is_told_to_who_wants_no_bytes),
		IN_A_LOOP(a_reset_is_told_to_who_wants_no_bytes_as_an_error),
		IN_A_LOOP(nothing_is_told_before_anything_is_wanted),
		IN_A_LOOP(a_callback_that_closes_two_ready_ones_is_the_last_of_both),
		IN_A_LOOP(a_descriptor_closed_in_its_callback_may_be_used_again_at_once),
		IN_A_LOOP(closing_nothing_is_harmless),
		IN_A_LOOP(the_end_of_the_peer_is_readable),
		IN_A_LOOP(a_pipe_without_a_reader_is_told_as_both),
		IN_A_LOOP(an_error_that_nobody_fetches_is_told_again),
		IN_A_LOOP(a_udp_socket_goes_on_after_its_peer_was_away),
		IN_A_LOOP(a_file_that_cannot_be_waited_for_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
