// The process around a node: descriptor limit, secrets, signals, and the two ways to stop.

#pragma once

#include "core/loop.h"
#include "core/outcome.h"

#include <stdbool.h>
#include <stdint.h>

// Before any thread: locked memory for secrets, no core dumps, SIGPIPE ignored, as many descriptors as the hard limit
// allows (said in the log when they are few). Negative: the node cannot run.
MUST_USE int process_start(void);

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
// The same end as by signal, with an exit code: a fatal error.
void process_fail(struct process *process, int exit_code);
int process_exit_code(const struct process *process);
