// The threads of a node: one loop each. Worker 0 is the thread that made the group; it also runs what there is only one
// of (acceptors, an initiator's control connection, signals). Objects of a worker are made, used and freed on its
// thread.

#pragma once

#include "core/loop.h"
#include "core/outcome.h"

#include <stdint.h>

struct workers;

// How many this process may use.
unsigned workers_cores(void);
// count 0: one per core this process may use. The threads of workers 1.. run at once.
MUST_USE int workers_new(unsigned count, struct workers **workers);
// Stops and joins the threads; every worker's objects must be gone.
void workers_free(struct workers **workers);
unsigned workers_count(const struct workers *workers);
struct loop *workers_loop(const struct workers *workers, unsigned index);
// Which worker is to take one more of something: the one with the least of it; among equals each in its turn, which the
// caller keeps.
typedef uint32_t (*workers_load_fn)(void *owner, unsigned index);
unsigned workers_lightest(const struct workers *workers, workers_load_fn load, void *owner, unsigned *turn);
// Runs worker 0's loop on this thread until loop_stop.
MUST_USE int workers_run(struct workers *workers);

// Calls fn on each worker's own thread and returns when all are done, with the first negative result. From worker 0's
// thread, outside of a callback of another worker.
typedef int (*workers_fn)(void *owner, unsigned index, struct loop *loop);
MUST_USE int workers_each(struct workers *workers, workers_fn fn, void *owner);
