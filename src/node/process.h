// The process around a node: descriptor limit, secrets, signals, and the two ways to stop.

#pragma once

#include "core/loop.h"
#include "core/outcome.h"

#include <stdbool.h>
#include <stdint.h>

// Before any thread: locked memory for secrets, no core dumps, SIGPIPE ignored, as many descriptors as the hard limit
// allows (said in the log when they are few), what a service manager gives along. Not 0: the node cannot run, as
// logged.
MUST_USE int process_start(void);

// The end of the start: every listener and file that needs privilege is open. After this point nothing privileged is
// done, and no file is opened but those that docs/sandbox.md lists; a sandbox begins here. Today it only marks the
// point. PROCESS_UNUSED_SOCKETS: the service manager gave us sockets that nothing here listens on; they were logged.
enum { PROCESS_UNUSED_SOCKETS = 1 };
MUST_USE int process_confine_here(void);
bool process_is_confined(void);

struct process;
struct process_ops {
	// SIGTERM, SIGINT: take nothing new.
	void (*on_drain)(void *owner);
	// Is there still something to wait for?
	bool (*is_busy)(void *owner);
	// SIGHUP.
	void (*on_reload)(void *owner);
};

// Watches signals on worker 0's loop. A first SIGTERM or SIGINT drains: on_drain, then the loop stops as soon as
// is_busy says no, or drain_ms later; a second one stops it at once.
MUST_USE int process_open(struct loop *loop, uint32_t drain_ms, const struct process_ops *ops, void *owner,
                          struct process **process);
// Another time to drain, for a drain that has not begun.
void process_set_drain(struct process *process, uint32_t drain_ms);
void process_close(struct process **process);
// Drains as the first SIGTERM does; `why` is for the log. False: it is draining already.
bool process_drain(struct process *process, const char *why);
// The same end as by signal, with an exit code: a fatal error.
void process_fail(struct process *process, int exit_code);
int process_exit_code(const struct process *process);
