#include "core/loop_rig.h"

#include "core/clock.h"

#include <pthread.h>
#include <signal.h>

#define FAR_MS 3600000
#define POSTERS 4
#define POSTS 5000

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
		IN_A_LOOP(a_timer_is_due_once_or_again_and_again),
		IN_A_LOOP(arming_again_replaces_and_disarming_forgets),
		IN_A_LOOP(a_callback_that_closes_two_due_timers_is_the_last_of_both),
		IN_A_LOOP(a_loop_that_has_not_run_for_a_while_does_not_wake_early),
		IN_A_LOOP(outside_of_its_turns_a_loop_knows_the_time),
		IN_A_LOOP(inside_a_turn_the_time_stands_still),
		IN_A_LOOP(a_signal_reaches_its_owner),
		IN_A_LOOP(a_signal_on_its_way_to_a_closed_owner_is_dropped),
		IN_A_LOOP(a_signal_that_cannot_be_caught_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
