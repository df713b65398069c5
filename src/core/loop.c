// libuv behind our own words. A libuv handle's memory must live until its close callback, but an owner wants to be rid
// of it at once: so each handle is an allocation of its own that is cut off from its owner when it is closed.

#include "core/loop.h"

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

// ---- life ----------------------------------------------------------------------------------------------------------

int loop_new(struct loop **out)
{
	struct loop *loop = calloc(1, sizeof *loop);
	if (!loop)
		return -ENOMEM;
	// Syscalls: epoll_create1, epoll_ctl, epoll_pwait, eventfd2, pipe2
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
	// A name that is still looked up by libuv's own thread needs its loop until it is found, which may take longer than
	// anybody wants to wait for an end.
	if (uv_loop_close(&loop->uv) == UV_EBUSY) {
		log_debug("loop", "left to the end of the process: a name is still being looked up");
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

static void free_handle(uv_handle_t *handle)
{
	free(handle->data);
}

// ---- readiness -----------------------------------------------------------------------------------------------------

struct loop_io {
	uv_poll_t uv;
	loop_io_fn on_ready; // NULL once closed
	void *owner;
	int wanted;
};

static void start_io(struct loop_io *io);

static void on_poll(uv_poll_t *poll, int status, int uv_events)
{
	struct loop_io *io = poll->data;
	int events = (uv_events & UV_READABLE ? LOOP_READ : 0) | (uv_events & UV_WRITABLE ? LOOP_WRITE : 0);
	// libuv stops a handle that it reports an error of. But an error need not be an end: a UDP socket whose peer was
	// away for a moment goes on. So it is started again, before the owner is called: it may close or change it.
	if (status < 0) {
		events = LOOP_READ | LOOP_WRITE;
		start_io(io);
	}
	if (io->on_ready && events)
		io->on_ready(io->owner, events);
}

static void start_io(struct loop_io *io)
{
	int uv_events = (io->wanted & LOOP_READ ? UV_READABLE : 0) | (io->wanted & LOOP_WRITE ? UV_WRITABLE : 0);
	// Refused only for a descriptor that another handle of this loop waits for, or one closed before loop_io_close.
	int r = uv_poll_start(&io->uv, uv_events, on_poll);
	assert(r == 0);
	(void)r;
}

int loop_io_open(struct loop *loop, int fd, loop_io_fn on_ready, void *owner, struct loop_io **out)
{
	struct loop_io *io = calloc(1, sizeof *io);
	if (!io)
		return -ENOMEM;
	int r = uv_poll_init(&loop->uv, &io->uv, fd);
	if (r < 0) {
		free(io);
		return r;
	}
	io->uv.data = io;
	io->on_ready = on_ready;
	io->owner = owner;
	*out = io;
	return 0;
}

void loop_io_want(struct loop_io *io, int events)
{
	if (events == io->wanted)
		return;
	io->wanted = events;
	start_io(io);
}

void loop_io_close(struct loop_io **slot)
{
	struct loop_io *io = *slot;
	*slot = NULL;
	if (!io)
		return;
	io->on_ready = NULL;
	uv_close((uv_handle_t *)&io->uv, free_handle);
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
		uv_close((uv_handle_t *)&timer->uv, free_handle);
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
	// Syscalls: rt_sigaction
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
	uv_close((uv_handle_t *)&signal->uv, free_handle);
}

// ---- names ---------------------------------------------------------------------------------------------------------

struct loop_lookup {
	uv_getaddrinfo_t uv;
	loop_lookup_fn on_answer; // NULL once cancelled
	void *owner;
	struct loop_lookup **slot; // the owner's pointer
};

// libuv's own codes back into the resolver's.
static int eai_of(int status)
{
	switch (status) {
	case 0:
		return 0;
	case UV_EAI_ADDRFAMILY:
		return EAI_ADDRFAMILY;
	case UV_EAI_AGAIN:
		return EAI_AGAIN;
	case UV_EAI_BADFLAGS:
		return EAI_BADFLAGS;
	case UV_EAI_FAMILY:
		return EAI_FAMILY;
	case UV_EAI_MEMORY:
		return EAI_MEMORY;
	case UV_EAI_NODATA:
		return EAI_NODATA;
	case UV_EAI_NONAME:
		return EAI_NONAME;
	case UV_EAI_SERVICE:
		return EAI_SERVICE;
	case UV_EAI_SOCKTYPE:
		return EAI_SOCKTYPE;
	default:
		return EAI_FAIL;
	}
}

static void on_lookup(uv_getaddrinfo_t *uv, int status, struct addrinfo *list)
{
	struct loop_lookup *lookup = uv->data;
	if (lookup->on_answer) {
		*lookup->slot = NULL;
		lookup->on_answer(lookup->owner, eai_of(status), list);
	}
	if (list)
		uv_freeaddrinfo(list);
	free(lookup);
}

int loop_lookup_start(struct loop *loop, const char *host, const char *service, const struct addrinfo *hints,
                      loop_lookup_fn on_answer, void *owner, struct loop_lookup **out)
{
	struct loop_lookup *lookup = calloc(1, sizeof *lookup);
	if (!lookup)
		return -ENOMEM;
	lookup->uv.data = lookup;
	lookup->on_answer = on_answer;
	lookup->owner = owner;
	lookup->slot = out;
	int r = uv_getaddrinfo(&loop->uv, &lookup->uv, on_lookup, host, service, hints);
	if (r < 0)
		free(lookup);
	else
		*out = lookup;
	return r;
}

void loop_lookup_cancel(struct loop_lookup **slot)
{
	struct loop_lookup *lookup = *slot;
	*slot = NULL;
	if (!lookup)
		return;
	lookup->on_answer = NULL;
	(void)uv_cancel((uv_req_t *)&lookup->uv); // one that runs already comes back unheard
}
