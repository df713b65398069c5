// A listening socket on a loop: accepts in batches and hands each socket to its owner. Running out of descriptors hurts
// only new connections: a reserve descriptor is given up to accept and close one, counted, and the listener rests for
// 100 ms instead of spinning.

#pragma once

#include "core/loop.h"
#include "core/outcome.h"
#include "net/address.h"

struct listener;

// The owner takes fd (non-blocking, close-on-exec).
typedef void (*listener_fn)(void *owner, int fd, const struct address *peer);

// *address is updated with what was really bound (port 0). Negative: the kernel refused (-EADDRINUSE, -EACCES, ...).
MUST_USE int listener_open(struct loop *loop, struct address *address, listener_fn on_accept, void *owner,
                           struct listener **listener);
// Called once when the socket is broken for good (somebody else shut it down), so that nothing would be accepted any
// more; it was logged. The owner may close the listener.
typedef void (*listener_broken_fn)(void *owner);
void listener_on_broken(struct listener *listener, listener_broken_fn on_broken);
// Stops accepting (drain) but stays bound; and goes on.
void listener_pause(struct listener *listener, bool paused);
// Closes and unlinks a Unix path it made (only when it is still the same inode).
void listener_close(struct listener **listener);
