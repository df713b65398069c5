#include "node/process.h"

#include "core/log.h"
#include "core/secret.h"
#include "limits.h"
#include "net/inherited.h"
#include "net/socket.h"
#include "node/notify.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

// How often a draining node looks whether it is empty.
#define DRAIN_LOOK_MS 50
// The kernel has no more for one process (fs.nr_open), unless it was told otherwise.
#define DESCRIPTORS_MAX (1 << 30)
// Fewer descriptors than this are worth a line: each flow takes two.
#define DESCRIPTORS_WANTED 4096

// Record buffers (80 KiB) as mappings of their own: what an idle flow gives back goes back to the system, and of what a
// small exchange takes only the touched pages count.
#define MAPPED_FROM_BYTES 65536
// How often freed memory of handshakes is given back to the system.
#define TRIM_MS 5000

struct process {
	struct loop *loop;
	const struct process_ops *ops;
	void *owner;
	struct loop_signal *terminate, *interrupt, *hangup;
	struct loop_timer *look, *trim;
	uint32_t drain_ms;
	uint64_t drain_until_ms;
	bool draining;
	int exit_code;
};

static void raise_descriptors(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	// Syscalls: prlimit64
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
		(void)getrlimit(RLIMIT_NOFILE, &limit);
	int descriptors = limit.rlim_cur < DESCRIPTORS_MAX ? (int)limit.rlim_cur : DESCRIPTORS_MAX;
	int reserved = descriptors / 8 < LIMIT_DESCRIPTORS_RESERVED ? descriptors / 8 : LIMIT_DESCRIPTORS_RESERVED;
	socket_reserve_from(descriptors - reserved);
	if (limit.rlim_cur < DESCRIPTORS_WANTED)
		log_warn("process", "only %llu descriptors: about %llu flows at once; raise LimitNOFILE or ulimit -n",
		         (unsigned long long)limit.rlim_cur, (unsigned long long)limit.rlim_cur / 2);
}

int process_start(void)
{
	struct sigaction ignore = {.sa_handler = SIG_IGN};
	sigaction(SIGPIPE, &ignore, NULL);
	// Syscalls: restart_syscall (the kernel's, after a stop in the middle of a poll)
	// Syscalls: brk, mmap, munmap, mremap, madvise, mprotect, getrandom, futex, exit_group (the C library and OpenSSL)
	(void)mallopt(M_MMAP_THRESHOLD, MAPPED_FROM_BYTES);
	raise_descriptors();
	notify_start();
	int r = inherited_start();
	if (r == 0)
		r = secret_start();
	if (r < 0)
		log_error("process", "cannot start: no memory for secrets: %s", outcome_text(r));
	return r;
}

static _Atomic bool confined;

int process_confine_here(void)
{
	if (inherited_unused() > 0)
		return PROCESS_UNUSED_SOCKETS;
	// Syscalls: getpid (so that a trace shows where the point is)
	log_debug("process", "the start is complete: process %d opens only what docs/sandbox.md lists", (int)getpid());
	atomic_store(&confined, true);
	return 0;
}

bool process_is_confined(void)
{
	return atomic_load(&confined);
}

static void on_look(void *owner)
{
	struct process *process = owner;
	bool busy = process->ops->is_busy(process->owner);
	bool late = loop_now_ms(process->loop) >= process->drain_until_ms;
	if (busy && !late)
		return;
	if (busy)
		log_warn("process", "stopping with connections still open: drain_timeout_seconds is over");
	loop_timer_disarm(process->look);
	loop_stop(process->loop);
}

static void on_trim(void *owner)
{
	(void)owner;
	(void)malloc_trim(0);
}

bool process_drain(struct process *process, const char *why)
{
	if (process->draining)
		return false;
	log_info("process", "%s: taking nothing new, stopping when what is open has ended", why);
	process->draining = true;
	process->drain_until_ms = loop_now_ms(process->loop) + process->drain_ms;
	notify_stopping();
	notify_status("draining: %s", why);
	process->ops->on_drain(process->owner);
	loop_timer_arm(process->look, 0, DRAIN_LOOK_MS);
	return true;
}

static void on_terminate(void *owner, int number)
{
	struct process *process = owner;
	char why[32];
	snprintf(why, sizeof why, "signal %d", number);
	if (process_drain(process, why))
		return;
	log_warn("process", "%s while draining: stopping at once", why);
	loop_stop(process->loop);
}

static void on_hangup(void *owner, int number)
{
	(void)number;
	struct process *process = owner;
	process->ops->on_reload(process->owner);
}

int process_open(struct loop *loop, uint32_t drain_ms, const struct process_ops *ops, void *owner, struct process **out)
{
	struct process *process = calloc(1, sizeof *process);
	if (!process)
		return -ENOMEM;
	process->loop = loop;
	process->ops = ops;
	process->owner = owner;
	process->drain_ms = drain_ms;
	int r = loop_signal_open(loop, SIGTERM, on_terminate, process, &process->terminate);
	if (r == 0)
		r = loop_signal_open(loop, SIGINT, on_terminate, process, &process->interrupt);
	if (r == 0)
		r = loop_signal_open(loop, SIGHUP, on_hangup, process, &process->hangup);
	if (r == 0)
		r = loop_timer_open(loop, on_look, process, &process->look);
	if (r == 0)
		r = loop_timer_open(loop, on_trim, process, &process->trim);
	if (r < 0) {
		process_close(&process);
		return r;
	}
	loop_timer_arm(process->trim, TRIM_MS, TRIM_MS);
	*out = process;
	return r;
}

void process_set_drain(struct process *process, uint32_t drain_ms)
{
	process->drain_ms = drain_ms;
}

void process_close(struct process **slot)
{
	struct process *process = *slot;
	*slot = NULL;
	if (!process)
		return;
	if (process->terminate)
		loop_signal_close(&process->terminate);
	if (process->interrupt)
		loop_signal_close(&process->interrupt);
	if (process->hangup)
		loop_signal_close(&process->hangup);
	loop_timer_close(&process->look);
	loop_timer_close(&process->trim);
	free(process);
}

void process_fail(struct process *process, int exit_code)
{
	process->exit_code = exit_code;
	loop_stop(process->loop);
}

int process_exit_code(const struct process *process)
{
	return process->exit_code;
}
