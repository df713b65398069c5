// Sockets that a service manager has opened for us (sd_listen_fds(3), without its library): socket activation.
// socket_listen takes what fits its address before it opens a socket of its own; whoever binds a datagram socket asks
// inherited_take first.

#pragma once

#include "core/outcome.h"
#include "net/address.h"

#include <stdbool.h>
#include <stddef.h>

// Reads LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES and removes them from the environment. Before any thread.
// INHERITED_BAD: a socket that cannot be used; the problem was logged.
enum { INHERITED_BAD = 1 };
MUST_USE int inherited_start(void);
// A socket of this type (SOCK_STREAM: listening; SOCK_DGRAM) at exactly this address is the caller's: non-blocking and
// close-on-exec. -1: there is none. On the thread that opens listeners.
int inherited_take(const struct address *address, int type);
// Logs those that nobody took; their number. Connections to them would wait for ever.
size_t inherited_unused(void);
