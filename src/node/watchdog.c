#include "node/watchdog.h"

#include "core/log.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

struct question { // to one worker
	struct loop_task task;
	struct watchdog *watchdog;
	_Atomic bool is_open; // asked, not answered
};

// Lives until it is closed and every question is answered: a worker that hangs may answer late.
struct watchdog {
	_Atomic unsigned references;
	struct workers *workers;
	struct loop_timer *timer;
	void (*alive)(void);
	bool complained;
	unsigned count;
	struct question questions[];
};

static void release(struct watchdog *watchdog)
{
	if (atomic_fetch_sub(&watchdog->references, 1) == 1)
		free(watchdog);
}

static void on_question(struct loop_task *task)
{
	struct question *question = CONTAINER_OF(task, struct question, task);
	atomic_store(&question->is_open, false);
	release(question->watchdog);
}

static void ask_all(struct watchdog *watchdog)
{
	for (unsigned i = 0; i < watchdog->count; i++) {
		struct question *question = &watchdog->questions[i];
		atomic_store(&question->is_open, true);
		atomic_fetch_add(&watchdog->references, 1);
		loop_post(workers_loop(watchdog->workers, i), &question->task);
	}
}

static void on_timer(void *owner)
{
	struct watchdog *watchdog = owner;
	for (unsigned i = 0; i < watchdog->count; i++) {
		if (!atomic_load(&watchdog->questions[i].is_open))
			continue;
		if (!watchdog->complained)
			log_error("watchdog", "worker %u does not answer: the service manager is not told that we are alive", i);
		watchdog->complained = true;
		return;
	}
	watchdog->complained = false;
	watchdog->alive();
	ask_all(watchdog);
}

int watchdog_open(struct workers *workers, uint64_t period_ms, void (*alive)(void), struct watchdog **out)
{
	unsigned count = workers_count(workers);
	*out = NULL;
	if (period_ms == 0)
		return 0;
	struct watchdog *watchdog = calloc(1, sizeof *watchdog + count * sizeof *watchdog->questions);
	if (!watchdog)
		return -ENOMEM;
	watchdog->references = 1;
	watchdog->workers = workers;
	watchdog->alive = alive;
	watchdog->count = count;
	for (unsigned i = 0; i < count; i++)
		watchdog->questions[i] = (struct question){.task = {.run = on_question}, .watchdog = watchdog};
	int r = loop_timer_open(workers_loop(workers, 0), on_timer, watchdog, &watchdog->timer);
	if (r < 0) {
		release(watchdog);
		return r;
	}
	uint64_t half_ms = period_ms / 2 > 0 ? period_ms / 2 : 1;
	ask_all(watchdog);
	loop_timer_arm(watchdog->timer, half_ms, half_ms);
	*out = watchdog;
	return 0;
}

void watchdog_close(struct watchdog **slot)
{
	struct watchdog *watchdog = *slot;
	*slot = NULL;
	if (!watchdog)
		return;
	loop_timer_close(&watchdog->timer);
	release(watchdog);
}
