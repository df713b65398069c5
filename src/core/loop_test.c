#include "core/loop.h"

#include "core/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define WATCHDOG_MS 20000
#define FAR_MS 3600000
#define POSTERS 4
#define POSTS 5000

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
static void run_what_is_ready(struct bench *bench)
{
	assert_null(bench->other_timer);
	assert_int_equal(loop_timer_open(bench->loop, stop_now, bench, &bench->other_timer), 0);
	loop_timer_arm(bench->other_timer, 1, 0);
	run(bench);
	loop_timer_close(&bench->other_timer);
}

static void note(struct bench *bench, char what)
{
	size_t length = strlen(bench->trace);
	assert_true(length + 1 < sizeof bench->trace);
	bench->trace[length] = what;
}

static void say(int fd)
{
	assert_int_equal(write(fd, "x", 1), 1);
}

// ---- tasks

static void run_third(struct loop_task *task)
{
	struct bench *bench = CONTAINER_OF(task, struct bench, third_task);
	note(bench, '3');
	loop_stop(bench->loop);
}

static void run_second(struct loop_task *task)
{
	note(CONTAINER_OF(task, struct bench, second_task), '2');
}

static void run_first_and_defer(struct loop_task *task)
{
	struct bench *bench = CONTAINER_OF(task, struct bench, task);
	note(bench, '1');
	bench->third_task.run = run_third;
	loop_defer(bench->loop, &bench->third_task);
}

static void on_ready_defer(void *owner, int events)
{
	struct bench *bench = owner;
	(void)events;
	loop_io_want(bench->io, 0);
	bench->task.run = run_first_and_defer;
	bench->second_task.run = run_second;
	loop_defer(bench->loop, &bench->task);
	loop_defer(bench->loop, &bench->second_task);
	note(bench, 'r');
}

static void deferred_tasks_run_after_the_callback_in_their_order(void **state)
{
	struct bench *bench = *state;
	assert_int_equal(loop_io_open(bench->loop, bench->fds[0], on_ready_defer, bench, &bench->io), 0);
	loop_io_want(bench->io, LOOP_READ);
	say(bench->fds[1]);
	run(bench);
	assert_string_equal(bench->trace, "r123");
}

// The watchdog is the only event left: if the next turn waited, it would be the one to end it.
static void a_task_deferred_by_a_task_runs_without_waiting(void **state)
{
	struct bench *bench = *state;
	bench->task.run = run_first_and_defer;
	loop_defer(bench->loop, &bench->task);
	run(bench);
	assert_string_equal(bench->trace, "13");
}

static void on_due_defer(void *owner)
{
	struct bench *bench = owner;
	note(bench, 't');
	bench->task.run = run_first_and_defer;
	loop_defer(bench->loop, &bench->task);
}

static void what_a_timer_defers_runs_without_waiting(void **state)
{
	struct bench *bench = *state;
	assert_int_equal(loop_timer_open(bench->loop, on_due_defer, bench, &bench->timer), 0);
	loop_timer_arm(bench->timer, 0, 0);
	run(bench);
	assert_string_equal(bench->trace, "t13");
}

static void tasks_that_still_wait_are_run_when_the_loop_is_freed(void **state)
{
	struct bench *bench = *state;
	struct loop *loop;
	struct bench other = {0};
	assert_int_equal(loop_new(&loop), 0);
	other.loop = bench->loop; // run_third stops it, which is harmless
	other.second_task.run = run_second;
	other.third_task.run = run_third;
	loop_defer(loop, &other.second_task);
	loop_post(loop, &other.third_task);
	loop_free(&loop);
	assert_null(loop);
	assert_int_equal(strlen(other.trace), 2);
	assert_non_null(strchr(other.trace, '2'));
	assert_non_null(strchr(other.trace, '3'));
}

static void freeing_no_loop_is_harmless(void **state)
{
	struct loop *none = NULL;
	(void)state;
	loop_free(&none);
	assert_null(none);
}

// ---- posts from other threads

struct post {
	struct loop_task task;
	struct poster *poster;
	int number;
};

struct poster {
	struct bench *bench;
	pthread_t thread;
	struct post posts[POSTS];
	int arrived;
	bool disordered, strange;
};

static void on_post(struct loop_task *task)
{
	struct post *post = CONTAINER_OF(task, struct post, task);
	struct poster *poster = post->poster;
	poster->disordered = poster->disordered || post->number != poster->arrived;
	poster->strange = poster->strange || loop_current() != poster->bench->loop;
	poster->arrived++;
	if (++poster->bench->calls == POSTERS * POSTS)
		loop_stop(poster->bench->loop);
}

static void *post_many(void *argument)
{
	struct poster *poster = argument;
	for (int i = 0; i < POSTS; i++) {
		poster->posts[i] = (struct post){.task.run = on_post, .poster = poster, .number = i};
		loop_post(poster->bench->loop, &poster->posts[i].task);
	}
	return NULL;
}

static void posts_of_many_threads_all_arrive_each_threads_in_order(void **state)
{
	struct bench *bench = *state;
	struct poster *posters = calloc(POSTERS, sizeof *posters);
	assert_non_null(posters);
	for (int i = 0; i < POSTERS; i++) {
		posters[i].bench = bench;
		assert_int_equal(pthread_create(&posters[i].thread, NULL, post_many, &posters[i]), 0);
	}
	run(bench);
	for (int i = 0; i < POSTERS; i++) {
		assert_int_equal(pthread_join(posters[i].thread, NULL), 0);
		assert_int_equal(posters[i].arrived, POSTS);
		assert_false(posters[i].disordered);
		assert_false(posters[i].strange);
	}
	free(posters);
}

static void run_and_post_again(struct loop_task *task)
{
	struct bench *bench = CONTAINER_OF(task, struct bench, task);
	if (++bench->calls == 3)
		loop_stop(bench->loop);
	else
		loop_post(bench->loop, task);
}

static void a_task_may_post_itself_again(void **state)
{
	struct bench *bench = *state;
	bench->task.run = run_and_post_again;
	loop_post(bench->loop, &bench->task);
	run(bench);
	assert_int_equal(bench->calls, 3);
}

static void *stop_from_outside(void *argument)
{
	loop_stop(argument);
	return NULL;
}

static void a_loop_can_be_stopped_from_another_thread_and_run_again(void **state)
{
	struct bench *bench = *state;
	for (int i = 0; i < 20; i++) {
		pthread_t thread;
		assert_int_equal(pthread_create(&thread, NULL, stop_from_outside, bench->loop), 0);
		run(bench);
		assert_int_equal(pthread_join(thread, NULL), 0);
	}
}

static void run_and_count(struct loop_task *task)
{
	CONTAINER_OF(task, struct bench, second_task)->other_calls++;
}

static void run_stop_and_post(struct loop_task *task)
{
	struct bench *bench = CONTAINER_OF(task, struct bench, task);
	bench->calls++;
	loop_stop(bench->loop);
	loop_post(bench->loop, &bench->second_task);
}

static void what_is_posted_after_the_stop_waits_for_the_next_run(void **state)
{
	struct bench *bench = *state;
	bench->task.run = run_stop_and_post;
	bench->second_task.run = run_and_count;
	loop_post(bench->loop, &bench->task);
	run(bench);
	assert_int_equal(bench->calls, 1);
	assert_int_equal(bench->other_calls, 0);
	run_what_is_ready(bench);
	assert_int_equal(bench->other_calls, 1);
}

static void a_stop_before_the_run_ends_it_at_once(void **state)
{
	struct bench *bench = *state;
	loop_stop(bench->loop);
	run(bench);
	run_what_is_ready(bench);
}

static void the_current_loop_is_known_only_inside_of_it(void **state)
{
	struct bench *bench = *state;
	assert_null(loop_current());
	bench->task.run = run_and_post_again;
	loop_post(bench->loop, &bench->task);
	run(bench);
	assert_null(loop_current());
}

// ---- readiness

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

// ---- timers

static void on_due_count(void *owner)
{
	struct bench *bench = owner;
	if (++bench->calls == bench->stop_at)
		loop_stop(bench->loop);
}

static void open_timer(struct bench *bench, loop_timer_fn on_due)
{
	assert_int_equal(loop_timer_open(bench->loop, on_due, bench, &bench->timer), 0);
}

static void a_timer_is_due_once_or_again_and_again(void **state)
{
	struct bench *bench = *state;
	open_timer(bench, on_due_count);
	bench->stop_at = 1;
	loop_timer_arm(bench->timer, 1, 0);
	run(bench);
	run_what_is_ready(bench);
	run_what_is_ready(bench);
	assert_int_equal(bench->calls, 1);
	bench->stop_at = 4;
	loop_timer_arm(bench->timer, 0, 1);
	run(bench);
	assert_int_equal(bench->calls, 4);
}

static void arming_again_replaces_and_disarming_forgets(void **state)
{
	struct bench *bench = *state;
	open_timer(bench, on_due_count);
	loop_timer_arm(bench->timer, 0, 0);
	loop_timer_arm(bench->timer, FAR_MS, 0);
	run_what_is_ready(bench);
	assert_int_equal(bench->calls, 0);
	loop_timer_arm(bench->timer, 0, 1);
	loop_timer_disarm(bench->timer);
	run_what_is_ready(bench);
	assert_int_equal(bench->calls, 0);
	loop_timer_disarm(bench->timer);
}

static void on_due_close_both(void *owner)
{
	struct bench *bench = owner;
	bench->calls++;
	loop_timer_close(&bench->timer);
	loop_timer_close(&bench->other_timer);
	loop_stop(bench->loop);
}

static void a_callback_that_closes_two_due_timers_is_the_last_of_both(void **state)
{
	struct bench *bench = *state;
	open_timer(bench, on_due_close_both);
	assert_int_equal(loop_timer_open(bench->loop, on_due_close_both, bench, &bench->other_timer), 0);
	loop_timer_arm(bench->timer, 0, 1);
	loop_timer_arm(bench->other_timer, 0, 1);
	run(bench);
	run_what_is_ready(bench);
	assert_int_equal(bench->calls, 1);
}

static void on_due_compare(void *owner)
{
	struct bench *bench = owner;
	assert_true(clock_ms() >= bench->due_ms);
	loop_stop(bench->loop);
}

static void a_loop_that_has_not_run_for_a_while_does_not_wake_early(void **state)
{
	struct bench *bench = *state;
	uint64_t start = clock_ms();
	open_timer(bench, on_due_compare);
	while (clock_ms() - start < 30)
		;
	// libuv counts whole milliseconds: up to one is lost at either end.
	bench->due_ms = clock_ms() + 20 - 2;
	loop_timer_arm(bench->timer, 20, 0);
	run(bench);
}

static void outside_of_its_turns_a_loop_knows_the_time(void **state)
{
	struct bench *bench = *state;
	uint64_t start = clock_ms();
	while (clock_ms() - start < 30)
		;
	assert_true(loop_now_ms(bench->loop) + 5 >= clock_ms());
	assert_true(loop_now_ms(bench->loop) <= clock_ms());
}

static void on_due_hold_the_time(void *owner)
{
	struct bench *bench = owner;
	uint64_t now = loop_now_ms(bench->loop), start = clock_ms();
	while (clock_ms() - start < 10)
		;
	assert_true(loop_now_ms(bench->loop) == now);
	loop_stop(bench->loop);
}

static void inside_a_turn_the_time_stands_still(void **state)
{
	struct bench *bench = *state;
	open_timer(bench, on_due_hold_the_time);
	loop_timer_arm(bench->timer, 0, 0);
	run(bench);
}

// ---- signals

static void on_signal(void *owner, int number)
{
	struct bench *bench = owner;
	assert_int_equal(number, SIGUSR1);
	bench->calls++;
	loop_stop(bench->loop);
}

static void a_signal_reaches_its_owner(void **state)
{
	struct bench *bench = *state;
	assert_int_equal(loop_signal_open(bench->loop, SIGUSR1, on_signal, bench, &bench->signal), 0);
	raise(SIGUSR1);
	run(bench);
	assert_int_equal(bench->calls, 1);
}

static void a_signal_on_its_way_to_a_closed_owner_is_dropped(void **state)
{
	struct bench *bench = *state;
	assert_int_equal(loop_signal_open(bench->loop, SIGUSR1, on_signal, bench, &bench->signal), 0);
	raise(SIGUSR1);
	loop_signal_close(&bench->signal);
	run_what_is_ready(bench);
	run_what_is_ready(bench);
	assert_int_equal(bench->calls, 0);
}

static void a_signal_that_cannot_be_caught_is_refused(void **state)
{
	struct bench *bench = *state;
	assert_true(loop_signal_open(bench->loop, SIGKILL, on_signal, bench, &bench->signal) < 0);
	assert_null(bench->signal);
}

// ---- names: a resolver of our own, so that no test asks a network

static sem_t entered, released;

static void wait_for(sem_t *semaphore)
{
	while (sem_wait(semaphore) != 0)
		;
}

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **list)
{
	(void)service;
	(void)hints;
	if (strcmp(host, "slow.test") == 0) {
		sem_post(&entered);
		wait_for(&released);
		return EAI_AGAIN;
	}
	if (strcmp(host, "known.test") != 0)
		return EAI_NONAME;
	struct addrinfo *found = calloc(1, sizeof *found + sizeof(struct sockaddr_in));
	struct sockaddr_in *address = (struct sockaddr_in *)(void *)(found + 1);
	*address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a000007)};
	*found =
		(struct addrinfo){.ai_family = AF_INET, .ai_addrlen = sizeof *address, .ai_addr = (struct sockaddr *)address};
	*list = found;
	return 0;
}

void freeaddrinfo(struct addrinfo *list)
{
	free(list);
}

static void on_answer(void *owner, int error, const struct addrinfo *list)
{
	struct bench *bench = owner;
	assert_null(bench->lookup);
	bench->calls++;
	bench->error = error;
	if (list) {
		const struct sockaddr_in *address = (const struct sockaddr_in *)(const void *)list->ai_addr;
		assert_int_equal(ntohl(address->sin_addr.s_addr), 0x0a000007);
	}
	assert_int_equal(list == NULL, error != 0);
	loop_stop(bench->loop);
}

static void look_up(struct bench *bench, const char *host)
{
	assert_int_equal(loop_lookup_start(bench->loop, host, NULL, NULL, on_answer, bench, &bench->lookup), 0);
	assert_non_null(bench->lookup);
}

static void a_known_name_is_answered_with_its_addresses(void **state)
{
	struct bench *bench = *state;
	look_up(bench, "known.test");
	run(bench);
	assert_int_equal(bench->calls, 1);
	assert_int_equal(bench->error, 0);
}

static void an_unknown_name_is_answered_with_the_resolvers_own_error(void **state)
{
	struct bench *bench = *state;
	look_up(bench, "unknown.test");
	run(bench);
	assert_int_equal(bench->error, EAI_NONAME);
	sem_post(&released);
	look_up(bench, "slow.test");
	run(bench);
	wait_for(&entered);
	assert_int_equal(bench->error, EAI_AGAIN);
}

static void a_name_longer_than_names_are_is_refused_at_once(void **state)
{
	struct bench *bench = *state;
	char host[2000];
	memset(host, 'a', sizeof host - 1);
	host[sizeof host - 1] = '\0';
	assert_true(loop_lookup_start(bench->loop, host, NULL, NULL, on_answer, bench, &bench->lookup) < 0);
	assert_null(bench->lookup);
}

static void a_cancelled_lookup_is_never_heard_of_again(void **state)
{
	struct bench *bench = *state;
	look_up(bench, "slow.test");
	wait_for(&entered); // on the only thread there is
	loop_lookup_cancel(&bench->lookup);
	assert_null(bench->lookup);
	look_up(bench, "known.test"); // waits behind it
	loop_lookup_cancel(&bench->lookup);
	sem_post(&released);
	look_up(bench, "unknown.test");
	run(bench);
	assert_int_equal(bench->calls, 1);
	assert_int_equal(bench->error, EAI_NONAME);
}

static void on_answer_start_again(void *owner, int error, const struct addrinfo *list)
{
	struct bench *bench = owner;
	(void)error;
	(void)list;
	look_up(bench, "known.test");
}

static void the_next_lookup_may_start_in_the_answer_to_the_last(void **state)
{
	struct bench *bench = *state;
	assert_int_equal(loop_lookup_start(bench->loop, "unknown.test", NULL, NULL, on_answer_start_again, bench,
	                                   &bench->lookup),
	                 0);
	run(bench);
	assert_int_equal(bench->calls, 1);
	assert_int_equal(bench->error, 0);
}

// The resolver's thread comes back to a loop that its owner has freed; the address sanitizer watches.
static void a_loop_can_be_freed_while_a_cancelled_lookup_still_runs(void **state)
{
	struct bench *bench = *state;
	struct loop *loop;
	struct loop_lookup *lookup = NULL;
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(loop_lookup_start(loop, "slow.test", NULL, NULL, on_answer, bench, &lookup), 0);
	wait_for(&entered);
	loop_lookup_cancel(&lookup);
	loop_free(&loop);
	assert_null(loop);
	sem_post(&released);
	look_up(bench, "known.test"); // behind it on the same thread
	run(bench);
	assert_int_equal(bench->calls, 1);
}

#define IN_A_LOOP(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_A_LOOP(deferred_tasks_run_after_the_callback_in_their_order),
		IN_A_LOOP(a_task_deferred_by_a_task_runs_without_waiting),
		IN_A_LOOP(what_a_timer_defers_runs_without_waiting),
		IN_A_LOOP(tasks_that_still_wait_are_run_when_the_loop_is_freed),
		cmocka_unit_test(freeing_no_loop_is_harmless),
		IN_A_LOOP(posts_of_many_threads_all_arrive_each_threads_in_order),
		IN_A_LOOP(a_task_may_post_itself_again),
		IN_A_LOOP(a_loop_can_be_stopped_from_another_thread_and_run_again),
		IN_A_LOOP(what_is_posted_after_the_stop_waits_for_the_next_run),
		IN_A_LOOP(a_stop_before_the_run_ends_it_at_once),
		IN_A_LOOP(the_current_loop_is_known_only_inside_of_it),
		IN_A_LOOP(readiness_is_told_again_as_long_as_it_lasts),
		IN_A_LOOP(only_what_is_wanted_is_told),
		IN_A_LOOP(nothing_is_told_before_anything_is_wanted),
		IN_A_LOOP(a_callback_that_closes_two_ready_ones_is_the_last_of_both),
		IN_A_LOOP(a_descriptor_closed_in_its_callback_may_be_used_again_at_once),
		IN_A_LOOP(closing_nothing_is_harmless),
		IN_A_LOOP(the_end_of_the_peer_is_readable),
		IN_A_LOOP(a_pipe_without_a_reader_is_told_as_both),
		IN_A_LOOP(an_error_that_nobody_fetches_is_told_again),
		IN_A_LOOP(a_udp_socket_goes_on_after_its_peer_was_away),
		IN_A_LOOP(a_file_that_cannot_be_waited_for_is_refused),
		IN_A_LOOP(a_timer_is_due_once_or_again_and_again),
		IN_A_LOOP(arming_again_replaces_and_disarming_forgets),
		IN_A_LOOP(a_callback_that_closes_two_due_timers_is_the_last_of_both),
		IN_A_LOOP(a_loop_that_has_not_run_for_a_while_does_not_wake_early),
		IN_A_LOOP(outside_of_its_turns_a_loop_knows_the_time),
		IN_A_LOOP(inside_a_turn_the_time_stands_still),
		IN_A_LOOP(a_signal_reaches_its_owner),
		IN_A_LOOP(a_signal_on_its_way_to_a_closed_owner_is_dropped),
		IN_A_LOOP(a_signal_that_cannot_be_caught_is_refused),
		IN_A_LOOP(a_known_name_is_answered_with_its_addresses),
		IN_A_LOOP(an_unknown_name_is_answered_with_the_resolvers_own_error),
		IN_A_LOOP(a_name_longer_than_names_are_is_refused_at_once),
		IN_A_LOOP(a_cancelled_lookup_is_never_heard_of_again),
		IN_A_LOOP(the_next_lookup_may_start_in_the_answer_to_the_last),
		IN_A_LOOP(a_loop_can_be_freed_while_a_cancelled_lookup_still_runs),
	};
	// One thread for names: lookups come one after another.
	setenv("UV_THREADPOOL_SIZE", "1", 1);
	sem_init(&entered, 0, 0);
	sem_init(&released, 0, 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
