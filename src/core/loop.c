// libuv behind our own words. A libuv handle's memory must live until its close callback, but an owner wants to be rid
// of it at once: so each handle is an allocation of its own that is cut off from its owner when it is closed.

#include "core/loop_private.h"

#include "core/log.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <uv.h>

struct task_queue {
	struct loop_task *first, **end;
};

struct loop {
	uv_loop_t uv;
	uv_prepare_t prepare;
	uv_check_t check;
	uv_idle_t idle; // runs while deferred tasks wait, so that the turn does not
	uv_async_t wake;
	bool idling;
	struct task_queue deferred;
	pthread_mutex_t lock; // posted, woken
	struct task_queue posted;
	bool woken;
	_Atomic bool stopping;
	struct loop *next_left;
};

static _Thread_local struct loop *current;

// ---- tasks ---------------------------------------------------------------------------------------------------------

static void queue_init(struct task_queue *queue)
{
	queue->first = NULL;
	queue->end = &queue->first;
}

static void queue_add(struct task_queue *queue, struct loop_task *task)
{
	task->next = NULL;
	*queue->end = task;
	queue->end = &task->next;
}

// Runs what is queued now; what these tasks queue waits for the next time.
static void queue_run(struct task_queue *queue)
{
	struct loop_task *task = queue->first;
	queue_init(queue);
	while (task) {
		struct loop_task *next = task->next;
		task->run(task);
		task = next;
	}
}

static void on_idle(uv_idle_t *idle)
{
	(void)idle;
}

static void run_deferred(struct loop *loop)
{
	if (loop->deferred.first)
		queue_run(&loop->deferred);
	bool more = loop->deferred.first != NULL;
	if (more && !loop->idling)
		uv_idle_start(&loop->idle, on_idle);
	if (!more && loop->idling)
		uv_idle_stop(&loop->idle);
	loop->idling = more;
}

// Timers run before the wait, readiness after it: the end of either is an end of a turn.
static void on_prepare(uv_prepare_t *prepare)
{
	run_deferred(prepare->data);
}

static void on_check(uv_check_t *check)
{
	run_deferred(check->data);
}

static void on_wake(uv_async_t *wake)
{
	struct loop *loop = wake->data;
	struct task_queue posted;
	pthread_mutex_lock(&loop->lock);
	loop->woken = false;
	posted = loop->posted;
	queue_init(&loop->posted);
	pthread_mutex_unlock(&loop->lock);
	queue_run(&posted);
	if (atomic_load(&loop->stopping))
		uv_stop(&loop->uv);
}

void loop_defer(struct loop *loop, struct loop_task *task)
{
	queue_add(&loop->deferred, task);
}

void loop_post(struct loop *loop, struct loop_task *task)
{
	pthread_mutex_lock(&loop->lock);
	queue_add(&loop->posted, task);
	bool wake = !loop->woken;
	loop->woken = true;
	pthread_mutex_unlock(&loop->lock);
	if (wake)
		uv_async_send(&loop->wake);
}

uv_loop_t *loop_uv(struct loop *loop)
{
	return &loop->uv;
}

// ---- life ----------------------------------------------------------------------------------------------------------

int loop_new(struct loop **out)
{
	struct loop *loop = calloc(1, sizeof *loop);
	if (!loop)
		return -ENOMEM;
	// Syscalls: epoll_create1, epoll_ctl, epoll_wait, epoll_pwait, eventfd2, pipe2, read, write, close, ioctl
	// Newer libuvs hand changes of epoll over in bulk, where the kernel lets them (UV_USE_IO_URING is not asked there).
	// Syscalls: io_uring_enter
	// Syscalls at start: io_uring_setup
	int r = uv_loop_init(&loop->uv);
	if (r < 0) {
		free(loop);
		return r;
	}
	queue_init(&loop->deferred);
	queue_init(&loop->posted);
	pthread_mutex_init(&loop->lock, NULL);
	uv_prepare_init(&loop->uv, &loop->prepare);
	uv_check_init(&loop->uv, &loop->check);
	uv_idle_init(&loop->uv, &loop->idle);
	loop->prepare.data = loop->check.data = loop->idle.data = loop->wake.data = loop;
	uv_prepare_start(&loop->prepare, on_prepare);
	uv_check_start(&loop->check, on_check);
	r = uv_async_init(&loop->uv, &loop->wake, on_wake);
	if (r < 0) {
		loop_free(&loop);
		return r;
	}
	*out = loop;
	return 0;
}

static void close_own(uv_handle_t *handle)
{
	if (handle->loop && !uv_is_closing(handle))
		uv_close(handle, NULL);
}

// A name that is still looked up by libuv's own thread needs its loop until it is found, which may take longer than
// anybody wants to wait for an end. Such loops are kept in a list that nobody reads, so that they do not look lost.
static void leave(struct loop *loop)
{
	static _Atomic(struct loop *) left;
	loop->next_left = atomic_load(&left);
	while (!atomic_compare_exchange_weak(&left, &loop->next_left, loop))
		;
	log_debug("loop", "left to the end of the process: a name is still being looked up");
}

// Turns that a loop may still need until every closed handle is gone; each handle takes one or two.
#define CLOSING_TURNS 1000

void loop_free(struct loop **slot)
{
	struct loop *loop = *slot;
	*slot = NULL;
	if (!loop)
		return;
	struct loop *outer = current;
	current = loop;
	while (loop->posted.first || loop->deferred.first) {
		queue_run(&loop->posted);
		queue_run(&loop->deferred);
	}
	close_own((uv_handle_t *)&loop->prepare);
	close_own((uv_handle_t *)&loop->check);
	close_own((uv_handle_t *)&loop->idle);
	close_own((uv_handle_t *)&loop->wake);
	for (unsigned i = 0; i < CLOSING_TURNS && uv_run(&loop->uv, UV_RUN_NOWAIT) != 0; i++)
		;
	current = outer;
	if (uv_loop_close(&loop->uv) == UV_EBUSY) {
		leave(loop);
		return;
	}
	pthread_mutex_destroy(&loop->lock);
	free(loop);
}

int loop_run(struct loop *loop)
{
	struct loop *outer = current;
	current = loop;
	int r = 0;
	while (!atomic_load(&loop->stopping) && r >= 0)
		r = uv_run(&loop->uv, UV_RUN_DEFAULT);
	atomic_store(&loop->stopping, false);
	current = outer;
	return r < 0 ? r : 0;
}

void loop_stop(struct loop *loop)
{
	atomic_store(&loop->stopping, true);
	if (current == loop)
		uv_stop(&loop->uv);
	else
		uv_async_send(&loop->wake);
}

// Outside of its turns a loop's idea of the time is as old as its last turn.
static void look_at_the_clock(struct loop *loop)
{
	if (current != loop)
		uv_update_time(&loop->uv);
}

uint64_t loop_now_ms(struct loop *loop)
{
	look_at_the_clock(loop);
	return uv_now(&loop->uv);
}

struct loop *loop_current(void)
{
	return current;
}

void loop_free_handle(uv_handle_t *handle)
{
	free(handle->data);
}

// ---- timers --------------------------------------------------------------------------------------------------------

struct loop_timer {
	uv_timer_t uv;
	struct loop *loop;
	loop_timer_fn on_due;
	void *owner;
};

static void on_timer(uv_timer_t *uv)
{
	struct loop_timer *timer = uv->data;
	timer->on_due(timer->owner);
}

int loop_timer_open(struct loop *loop, loop_timer_fn on_due, void *owner, struct loop_timer **out)
{
	struct loop_timer *timer = calloc(1, sizeof *timer);
	if (!timer)
		return -ENOMEM;
	uv_timer_init(&loop->uv, &timer->uv);
	timer->uv.data = timer;
	timer->loop = loop;
	timer->on_due = on_due;
	timer->owner = owner;
	*out = timer;
	return 0;
}

void loop_timer_arm(struct loop_timer *timer, uint64_t delay_ms, uint64_t repeat_ms)
{
	look_at_the_clock(timer->loop);
	uv_timer_start(&timer->uv, on_timer, delay_ms, repeat_ms);
}

void loop_timer_disarm(struct loop_timer *timer)
{
	uv_timer_stop(&timer->uv);
}

void loop_timer_close(struct loop_timer **slot)
{
	struct loop_timer *timer = *slot;
	*slot = NULL;
	if (timer)
		uv_close((uv_handle_t *)&timer->uv, loop_free_handle);
}

// ---- signals -------------------------------------------------------------------------------------------------------

struct loop_signal {
	uv_signal_t uv;
	loop_signal_fn on_signal;
	void *owner;
};

static void on_signal(uv_signal_t *uv, int number)
{
	struct loop_signal *signal = uv->data;
	if (signal->on_signal)
		signal->on_signal(signal->owner, number);
}

int loop_signal_open(struct loop *loop, int signal_number, loop_signal_fn on_signal_fn, void *owner,
                     struct loop_signal **out)
{
	struct loop_signal *signal = calloc(1, sizeof *signal);
	if (!signal)
		return -ENOMEM;
	int r = uv_signal_init(&loop->uv, &signal->uv);
	if (r < 0) {
		free(signal);
		return r;
	}
	signal->uv.data = signal;
	signal->on_signal = on_signal_fn;
	signal->owner = owner;
	// Syscalls: rt_sigaction, rt_sigprocmask, rt_sigreturn, read, write
	r = uv_signal_start(&signal->uv, on_signal, signal_number);
	if (r < 0)
		loop_signal_close(&signal);
	else
		*out = signal;
	return r;
}

void loop_signal_close(struct loop_signal **slot)
{
	struct loop_signal *signal = *slot;
	*slot = NULL;
	if (!signal)
		return;
	signal->on_signal = NULL;
	uv_close((uv_handle_t *)&signal->uv, loop_free_handle);
}
