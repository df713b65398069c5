// Sockets and their options. Everything made here is non-blocking and close-on-exec.

#pragma once

#include "core/outcome.h"
#include "net/address.h"

#include <stdbool.h>
#include <stdint.h>

// TCP_CA_NAME_MAX of the kernel
#define SOCKET_CONGESTION_BYTES 16

struct socket_options {
	// "auto" or NULL: a non-pacing algorithm (cubic, else reno) on connections that do not leave this host, because
	// pacing timers cost a third of the throughput there; the system's default elsewhere. "system": leave it alone.
	// Anything else: that algorithm.
	const char *congestion;
	uint32_t keepalive_ms;    // 0: off
	uint32_t user_timeout_ms; // TCP_USER_TIMEOUT, 0: off
};

// For the whole process, before its first socket: listeners, connections are Multipath TCP (RFC 8684) where the kernel
// has it, plain TCP where not. A peer that knows only TCP notices nothing.
void socket_prefer_mptcp(bool listeners, bool connections);

// Bound, listening TCP (SO_REUSEADDR, IPV6_V6ONLY off for "::") or Unix socket. A Unix path: a stale socket that nobody
// answers and that we own is replaced; anything else in its place is -EADDRINUSE; never wider than 0660, whatever the
// umask, from the first instant. Port 0 is allowed; the address really bound is written back.
// SOCKET_INHERITED: a service manager has opened it for this address (net/inherited.h); its path is not ours.
enum { SOCKET_INHERITED = 3 };
MUST_USE int socket_listen(struct address *address, int backlog, int *fd);
// Accepts one connection. SOCKET_NONE: nobody is waiting. SOCKET_EXHAUSTED: no descriptor or no memory for it.
enum { SOCKET_NONE = 1, SOCKET_EXHAUSTED = 2 };
MUST_USE int socket_accept(int listener, int *fd, struct address *peer);
// Starts a connection: 0 connected at once, SOCKET_PENDING in progress, SOCKET_BUSY the queue of a Unix listener is
// full (nothing was made: try again a little later), negative refused.
enum { SOCKET_PENDING = 1, SOCKET_BUSY = 2 };
MUST_USE int socket_connect(const struct address *to, int *fd);
// The outcome of a pending connect once the socket is writable: 0 or negative.
MUST_USE int socket_connect_result(int fd);
// The last descriptors are for the node itself (its link, its status, its files): whatever serves flows or strangers
// gives one of them back and says no. The kernel hands out the lowest free number, so the number tells how many are
// taken. Nothing is reserved before the first call, which may come from any thread.
void socket_reserve_from(int first);
bool socket_is_reserved(int fd);
// TCP_NODELAY, keepalive, user timeout, congestion. Never fails: what the kernel refuses is skipped (debug log).
// Congestion "auto" looks at both ends of the connected socket. No-op on Unix sockets.
void socket_tune(int fd, const struct socket_options *options);
// TCP_USER_TIMEOUT alone; 0: off. It also ends a connection whose peer answers but does not read, so it is for
// connections whose peer always reads.
void socket_set_user_timeout(int fd, uint32_t timeout_ms);
// TCP_NOTSENT_LOWAT: bytes kept before their first transmission; more of them are not taken.
void socket_limit_unsent(int fd, uint32_t bytes);
// Whether something that was sent is not acknowledged yet; then also how long ago the last acknowledgement of anything
// came. A peer that does not read any more still acknowledges, one that is gone does not. False when the kernel does
// not tell.
bool socket_awaits_answer(int fd, uint32_t *silent_ms);
// While on, any close of the socket is a reset, also the kernel's when this process dies: what was cut must not look
// like an end. No effect on Unix sockets.
void socket_close_resets(int fd, bool on);
// close() that sends a reset instead of an orderly end (SO_LINGER 0). *fd becomes -1.
void socket_reset(int *fd);
void socket_close(int *fd);
