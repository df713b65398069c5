// The text of /status, made on a thread of its own: describing a thousand links takes tens of milliseconds, which no
// worker has to give.

#pragma once

#include "core/loop.h"
#include "core/outcome.h"
#include "ops/status.h"

struct status_job;

// On the loop's thread; the text is the receiver's (free), NULL without memory. Whoever started it sets its pointer to
// NULL then.
typedef void (*status_job_fn)(void *to, char *text);

// Negative: no thread, no memory.
MUST_USE int status_job_start(struct loop *loop, status_fn fill, void *owner, status_job_fn on_done, void *to,
                              struct status_job **job);
// Waits until `fill` is not called any more; no callback afterwards. Harmless on NULL.
void status_job_cancel(struct status_job **job);
