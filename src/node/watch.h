// Looks whether files have changed: by the kernel's word about their folders, so that a file that is replaced by rename
// and the symbolic links that Kubernetes swaps are seen, and slowly by itself, for file systems about which the kernel
// hears nothing. The owner is told once when there has been quiet for a moment, and again only when they change again:
// what it could not use is not tried in a loop.

#pragma once

#include "core/loop.h"
#include "core/outcome.h"

#include <stddef.h>
#include <stdint.h>

struct watch;
typedef void (*watch_fn)(void *owner);
// So long nothing may change before the owner is told; it waits ten times as long for that at most.
MUST_USE int watch_open(struct loop *loop, uint32_t quiet_ms, watch_fn on_change, void *owner, struct watch **watch);
void watch_close(struct watch **watch);
// The files from now on, copied; at most LIMIT_WATCHED_FILES are (more are said in the log). None: nothing is watched.
// Those that were watched before keep their last state, so a change meanwhile is not lost.
MUST_USE int watch_set(struct watch *watch, const char *const *paths, size_t count);
// What the files are now is known: for an owner that is about to read them, or has written them.
void watch_mark(struct watch *watch);
