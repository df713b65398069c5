#include "node/workers.h"

#include "core/block.h"
#include "core/log.h"
#include "net/datagram.h"
#include "wire/tls_conn.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

// More threads than this bring nothing: a flow uses one, and the tables are shared.
#define WORKERS_MAX 64

struct worker {
	struct workers *group;
	struct loop *loop;
	pthread_t thread;
	bool running;
};

struct workers {
	unsigned count;
	struct worker worker[WORKERS_MAX];
};

static void *run(void *argument)
{
	struct worker *worker = argument;
	int r = loop_run(worker->loop);
	if (r < 0) {
		// Flows of this worker are lost whatever is done; a supervisor must see it, and nobody may wait for this
		// thread.
		log_error("workers", "a worker's loop failed: %s", outcome_text(r));
		_exit(1);
	}
	block_trim();
	datagram_trim();
	tls_conn_trim_thread();
	return NULL;
}

unsigned workers_cores(void)
{
	cpu_set_t set;
	if (sched_getaffinity(0, sizeof set, &set) != 0)
		return 1;
	return (unsigned)CPU_COUNT(&set);
}

static int start_thread(struct worker *worker)
{
	sigset_t all, old;
	// Syscalls: clone3, mmap, munmap, mprotect, rseq, set_robust_list, rt_sigprocmask, futex, sched_yield, exit
	sigfillset(&all);
	// Signals are worker 0's.
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int r = pthread_create(&worker->thread, NULL, run, worker);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	worker->running = r == 0;
	if (r != 0)
		log_error("workers", "the kernel gives no thread for a worker: %s (TasksMax, ulimit -u)", outcome_text(-r));
	return -r;
}

int workers_new(unsigned count, struct workers **out)
{
	struct workers *group = calloc(1, sizeof *group);
	if (!group)
		return -ENOMEM;
	group->count = count ? count : workers_cores();
	if (group->count > WORKERS_MAX)
		group->count = WORKERS_MAX;
	int r = 0;
	for (unsigned i = 0; i < group->count && r == 0; i++) {
		group->worker[i].group = group;
		r = loop_new(&group->worker[i].loop);
		if (r < 0)
			log_error("workers", "no event loop for a worker: %s (LimitNOFILE, ulimit -n)", outcome_text(r));
		if (r == 0 && i > 0)
			r = start_thread(&group->worker[i]);
	}
	if (r < 0)
		workers_free(&group);
	else
		*out = group;
	return r;
}

void workers_free(struct workers **slot)
{
	struct workers *group = *slot;
	*slot = NULL;
	if (!group)
		return;
	for (unsigned i = 0; i < group->count; i++) {
		struct worker *worker = &group->worker[i];
		if (worker->running) {
			loop_stop(worker->loop);
			pthread_join(worker->thread, NULL);
		}
		if (worker->loop)
			loop_free(&worker->loop);
	}
	block_trim();
	datagram_trim();
	tls_conn_trim_thread();
	free(group);
}

unsigned workers_count(const struct workers *workers)
{
	return workers->count;
}

struct loop *workers_loop(const struct workers *workers, unsigned index)
{
	return workers->worker[index].loop;
}

unsigned workers_lightest(const struct workers *workers, workers_load_fn load, void *owner, unsigned *turn)
{
	unsigned count = workers_count(workers), best = (*turn)++ % count;
	uint32_t least = load(owner, best);
	for (unsigned i = 0; i < count; i++) {
		uint32_t other = load(owner, i);
		if (other >= least)
			continue;
		best = i;
		least = other;
	}
	return best;
}

int workers_run(struct workers *workers)
{
	return loop_run(workers->worker[0].loop);
}

// ---- calls ---------------------------------------------------------------------------------------------------------

struct call {
	struct loop_task task;
	workers_fn fn;
	void *owner;
	unsigned index;
	struct loop *loop;
	int result;
	bool done;
	pthread_mutex_t lock;
	pthread_cond_t changed;
};

static void on_call(struct loop_task *task)
{
	struct call *call = CONTAINER_OF(task, struct call, task);
	int result = call->fn(call->owner, call->index, call->loop);
	pthread_mutex_lock(&call->lock);
	call->result = result;
	call->done = true;
	pthread_cond_signal(&call->changed);
	pthread_mutex_unlock(&call->lock);
}

static int call_and_wait(struct workers *workers, unsigned index, workers_fn fn, void *owner)
{
	struct call call = {.task = {.run = on_call}, .fn = fn, .owner = owner, .index = index};
	call.loop = workers->worker[index].loop;
	pthread_mutex_init(&call.lock, NULL);
	pthread_cond_init(&call.changed, NULL);
	loop_post(call.loop, &call.task);
	pthread_mutex_lock(&call.lock);
	while (!call.done)
		pthread_cond_wait(&call.changed, &call.lock);
	pthread_mutex_unlock(&call.lock);
	pthread_cond_destroy(&call.changed);
	pthread_mutex_destroy(&call.lock);
	return call.result;
}

int workers_each(struct workers *workers, workers_fn fn, void *owner)
{
	int first = fn(owner, 0, workers->worker[0].loop);
	for (unsigned i = 1; i < workers->count; i++) {
		int r = call_and_wait(workers, i, fn, owner);
		if (first >= 0 && r < 0)
			first = r;
	}
	return first;
}
