#include "node/workers.h"

#include "core/block.h"

// cmocka.h uses these and includes none of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

#define MANY 4

struct note {
	pthread_t thread[MANY];
	struct loop *loop[MANY], *current[MANY];
	unsigned calls[MANY];
	bool masked[MANY];
};

static int write_down(void *owner, unsigned index, struct loop *loop)
{
	struct note *note = owner;
	sigset_t mask;
	note->thread[index] = pthread_self();
	note->loop[index] = loop;
	note->current[index] = loop_current();
	note->calls[index]++;
	pthread_sigmask(SIG_BLOCK, NULL, &mask);
	note->masked[index] = sigismember(&mask, SIGTERM) == 1;
	uint8_t *block = block_take();
	block_give(&block); // kept by this thread
	return 0;
}

static void every_worker_runs_on_a_thread_and_a_loop_of_its_own(void **state)
{
	(void)state;
	struct workers *workers;
	struct note note = {0};
	assert_int_equal(workers_new(MANY, &workers), 0);
	assert_int_equal(workers_count(workers), MANY);
	for (int turn = 0; turn < 50; turn++)
		assert_int_equal(workers_each(workers, write_down, &note), 0);
	assert_true(pthread_equal(note.thread[0], pthread_self()));
	for (unsigned i = 0; i < MANY; i++) {
		assert_int_equal(note.calls[i], 50);
		assert_ptr_equal(note.loop[i], workers_loop(workers, i));
		assert_int_equal(note.masked[i], i > 0); // signals are worker 0's
		if (i > 0)
			assert_ptr_equal(note.current[i], note.loop[i]);
		for (unsigned n = 0; n < i; n++) {
			assert_false(pthread_equal(note.thread[i], note.thread[n]));
			assert_ptr_not_equal(note.loop[i], note.loop[n]);
		}
	}
	workers_free(&workers);
	assert_null(workers);
	workers_free(&workers);
}

static int refuse_some(void *owner, unsigned index, struct loop *loop)
{
	unsigned *calls = owner;
	(void)loop;
	(*calls)++;
	return index == 1 ? -EMFILE : index == 2 ? -ENOMEM : 0;
}

static void all_are_called_and_the_first_failure_is_returned(void **state)
{
	(void)state;
	struct workers *workers;
	unsigned calls = 0;
	assert_int_equal(workers_new(3, &workers), 0);
	assert_int_equal(workers_each(workers, refuse_some, &calls), -EMFILE);
	assert_int_equal(calls, 3);
	workers_free(&workers);
}

static void count_zero_is_one_for_each_core(void **state)
{
	(void)state;
	struct workers *workers;
	cpu_set_t set;
	assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
	assert_int_equal(workers_new(0, &workers), 0);
	assert_int_equal(workers_count(workers), CPU_COUNT(&set) > 64 ? 64 : CPU_COUNT(&set));
	workers_free(&workers);
}

static void worker_0_runs_until_it_is_stopped(void **state)
{
	(void)state;
	struct workers *workers;
	assert_int_equal(workers_new(1, &workers), 0);
	loop_stop(workers_loop(workers, 0)); // also when it was stopped before it ran
	assert_int_equal(workers_run(workers), 0);
	workers_free(&workers);
}

struct letter {
	struct loop_task task;
	_Atomic unsigned *opened;
};

static void open_letter(struct loop_task *task)
{
	struct letter *letter = CONTAINER_OF(task, struct letter, task);
	atomic_fetch_add(letter->opened, 1);
	free(letter);
}

static void letters_to_a_worker_that_stops_are_opened_all_the_same(void **state)
{
	(void)state;
	for (int turn = 0; turn < 20; turn++) {
		struct workers *workers;
		_Atomic unsigned opened = 0;
		assert_int_equal(workers_new(3, &workers), 0);
		for (unsigned i = 0; i < 300; i++) {
			struct letter *letter = malloc(sizeof *letter);
			*letter = (struct letter){.task = {.run = open_letter}, .opened = &opened};
			loop_post(workers_loop(workers, i % 3), &letter->task);
		}
		workers_free(&workers);
		assert_int_equal(atomic_load(&opened), 300);
	}
}

static uint32_t load_of(void *owner, unsigned index)
{
	return ((const uint32_t *)owner)[index];
}

static void the_lightest_is_found_and_equals_take_turns(void **state)
{
	(void)state;
	struct workers *workers;
	uint32_t loads[3] = {1, 0, 2};
	unsigned turn = 0;
	assert_int_equal(workers_new(3, &workers), 0);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(workers_lightest(workers, load_of, loads, &turn), 1);
	loads[1] = loads[2] = 1;
	turn = 0;
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(workers_lightest(workers, load_of, loads, &turn), i % 3);
	workers_free(&workers);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_lightest_is_found_and_equals_take_turns),
		cmocka_unit_test(every_worker_runs_on_a_thread_and_a_loop_of_its_own),
		cmocka_unit_test(all_are_called_and_the_first_failure_is_returned),
		cmocka_unit_test(count_zero_is_one_for_each_core),
		cmocka_unit_test(worker_0_runs_until_it_is_stopped),
		cmocka_unit_test(letters_to_a_worker_that_stops_are_opened_all_the_same),
	};
	return cmocka_run_group_tests_name("workers", tests, NULL, NULL);
}
