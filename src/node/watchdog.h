// Tells the service manager that the process is alive, but only while every worker's loop answers: one that hangs stops
// the message, and the manager does what it was set up to do.

#pragma once

#include "core/outcome.h"
#include "node/workers.h"

#include <stdint.h>

struct watchdog;

// period_ms: how often the manager wants to hear of us; half of it is kept. 0: nothing is done, NULL is left. On worker
// 0's thread.
MUST_USE int watchdog_open(struct workers *workers, uint64_t period_ms, void (*alive)(void),
                           struct watchdog **watchdog);
// Before workers_free. Harmless on NULL.
void watchdog_close(struct watchdog **watchdog);
