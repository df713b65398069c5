// A loop with a watchdog, and what the tests of core/loop.h note down while it runs. For one file of a test program.

#pragma once

#include "core/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#define WATCHDOG_MS 20000

struct bench {
	struct loop *loop;
	struct loop_timer *watchdog, *timer, *other_timer;
	struct loop_io *io, *other_io;
	struct loop_signal *signal;
	struct loop_lookup *lookup;
	struct loop_task task, second_task, third_task;
	int fds[2], other_fds[2];
	int calls, other_calls, stop_at, events, error, turns;
	bool late;
	char trace[32];
	uint64_t due_ms;
};

static void on_watchdog(void *owner)
{
	struct bench *bench = owner;
	bench->late = true;
	loop_stop(bench->loop);
}

static void make_sockets(int fds[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
}

static int set_up(void **state)
{
	struct bench *bench = calloc(1, sizeof *bench);
	*state = bench;
	if (!bench || loop_new(&bench->loop) != 0)
		return -1;
	make_sockets(bench->fds);
	make_sockets(bench->other_fds);
	return loop_timer_open(bench->loop, on_watchdog, bench, &bench->watchdog);
}

static int tear_down(void **state)
{
	struct bench *bench = *state;
	loop_io_close(&bench->io);
	loop_io_close(&bench->other_io);
	loop_timer_close(&bench->timer);
	loop_timer_close(&bench->other_timer);
	loop_timer_close(&bench->watchdog);
	loop_signal_close(&bench->signal);
	loop_lookup_cancel(&bench->lookup);
	loop_free(&bench->loop);
	for (int i = 0; i < 2; i++) {
		close(bench->fds[i]);
		close(bench->other_fds[i]);
	}
	free(bench);
	return 0;
}

// Runs until something stops the loop, which must not be the watchdog.
static void run(struct bench *bench)
{
	loop_timer_arm(bench->watchdog, WATCHDOG_MS, 0);
	assert_int_equal(loop_run(bench->loop), 0);
	loop_timer_disarm(bench->watchdog);
	assert_false(bench->late);
}

static void stop_now(void *owner)
{
	struct bench *bench = owner;
	loop_stop(bench->loop);
}

// Runs until everything that is ready has been told: a timer of no delay is due in the first turn, and its loop_stop
// arrives with the readiness of the turn after.
static inline void run_what_is_ready(struct bench *bench)
{
	assert_null(bench->other_timer);
	assert_int_equal(loop_timer_open(bench->loop, stop_now, bench, &bench->other_timer), 0);
	loop_timer_arm(bench->other_timer, 1, 0);
	run(bench);
	loop_timer_close(&bench->other_timer);
}

static inline void note(struct bench *bench, char what)
{
	size_t length = strlen(bench->trace);
	assert_true(length + 1 < sizeof bench->trace);
	bench->trace[length] = what;
}

static inline void say(int fd)
{
	assert_int_equal(write(fd, "x", 1), 1);
}

#define IN_A_LOOP(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
