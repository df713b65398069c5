#include "net/socket.h"

#include "core/log.h"
#include "net/inherited.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

#define UNIX_MODE 0660

static void set_option(int fd, int level, int option, int value, const char *name)
{
	if (setsockopt(fd, level, option, &value, sizeof(value)) != 0)
		log_debug("socket", "the kernel refuses %s=%d: %s", name, value, outcome_text(-errno));
}

// ---- multipath

static bool mptcp_listeners, mptcp_connections;

void socket_prefer_mptcp(bool listeners, bool connections)
{
	mptcp_listeners = listeners;
	mptcp_connections = connections;
}

static int open_stream(int family, bool is_multipath)
{
	int fd = -1;
	if (is_multipath && family != AF_UNIX)
		fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_MPTCP);
	return fd >= 0 ? fd : socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

// ---- listening

// True when `path` is a socket of ours that nobody listens on: what a killed process leaves behind.
static bool is_stale(const struct address *address, struct stat *seen)
{
	if (lstat(address->un.sun_path, seen) != 0 || !S_ISSOCK(seen->st_mode) || seen->st_uid != geteuid())
		return false;
	int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (probe < 0)
		return false;
	bool nobody = connect(probe, &address->any, address->length) != 0 && errno == ECONNREFUSED;
	close(probe);
	return nobody;
}

// Looked at once more just before it goes: another process may have replaced it meanwhile.
static void remove_stale(const char *path, const struct stat *seen)
{
	struct stat again;
	if (lstat(path, &again) == 0 && again.st_dev == seen->st_dev && again.st_ino == seen->st_ino)
		unlink(path);
}

// bind() gives the new path the mode of the socket's own inode less the umask. So it starts with 0660 or tighter, and
// what the umask took is given back through a handle that cannot be a symbolic link.
static int bind_unix(int fd, const struct address *address)
{
	const char *path = address->un.sun_path;
	char handle[32];
	struct stat seen;
	if (fchmod(fd, UNIX_MODE) != 0)
		return -errno;
	int bound = bind(fd, &address->any, address->length);
	if (bound != 0 && errno == EADDRINUSE && is_stale(address, &seen)) {
		remove_stale(path, &seen);
		bound = bind(fd, &address->any, address->length);
	}
	if (bound != 0)
		return -errno;
	int inode = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (inode < 0)
		return -errno;
	if (fstat(inode, &seen) == 0 && S_ISSOCK(seen.st_mode) && (seen.st_mode & 07777) != UNIX_MODE) {
		snprintf(handle, sizeof(handle), "/proc/self/fd/%d", inode);
		if (chmod(handle, UNIX_MODE) != 0)
			log_debug("socket", "%s keeps mode %o: %s", path, seen.st_mode & 07777, outcome_text(-errno));
	}
	close(inode);
	return 0;
}

static int bind_any(int fd, const struct address *address)
{
	if (address_is_unix(address))
		return bind_unix(fd, address);
	set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR");
	if (address->any.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&address->in6.sin6_addr))
		set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0, "IPV6_V6ONLY");
	return bind(fd, &address->any, address->length) == 0 ? 0 : -errno;
}

int socket_listen(struct address *address, int backlog, int *fd)
{
	struct address bound = {.length = sizeof(bound.storage)};
	int inherited = inherited_take(address, SOCK_STREAM);
	if (inherited >= 0) {
		*fd = inherited;
		return SOCKET_INHERITED;
	}
	// Syscalls: socket, bind, listen, fchmod, chmod, getsockname, unlink
	int opened = open_stream(address->any.sa_family, mptcp_listeners);
	if (opened < 0)
		return -errno;
	int failed = bind_any(opened, address);
	if (failed == 0 && listen(opened, backlog) != 0)
		failed = -errno;
	if (failed == 0 && getsockname(opened, &bound.any, &bound.length) != 0)
		failed = -errno;
	if (failed != 0) {
		close(opened);
		return failed;
	}
	*address = bound;
	*fd = opened;
	return 0;
}

int socket_accept(int listener, int *fd, struct address *peer)
{
	// Syscalls: accept4
	for (;;) {
		*peer = (struct address){.length = sizeof(peer->storage)};
		int accepted = accept4(listener, &peer->any, &peer->length, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (accepted >= 0) {
			*fd = accepted;
			return 0;
		}
		switch (errno) {
		case EAGAIN:
			return SOCKET_NONE;
		case EMFILE:
		case ENFILE:
		case ENOBUFS:
		case ENOMEM:
			return SOCKET_EXHAUSTED;
		case EINTR:
		case ECONNABORTED:
		// Errors of the connection that was about to be accepted, which is gone with them: accept(2).
		case ENETDOWN:
		case EPROTO:
		case ENOPROTOOPT:
		case EHOSTDOWN:
		case ENONET:
		case EHOSTUNREACH:
		case ENETUNREACH:
			continue;
		default:
			return -errno;
		}
	}
}

// ---- connecting

int socket_connect(const struct address *to, int *fd)
{
	// Syscalls: socket, connect, getsockopt, close
	int opened = open_stream(to->any.sa_family, mptcp_connections);
	if (opened < 0)
		return -errno;
	if (connect(opened, &to->any, to->length) == 0) {
		*fd = opened;
		return 0;
	}
	int refused = -errno;
	if (refused == -EINPROGRESS || refused == -EINTR) {
		*fd = opened;
		return SOCKET_PENDING;
	}
	close(opened);
	return refused == -EAGAIN && address_is_unix(to) ? SOCKET_BUSY : refused;
}

int socket_connect_result(int fd)
{
	int problem = 0;
	socklen_t length = sizeof(problem);
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &problem, &length) != 0)
		return -errno;
	return -problem;
}

// ---- the descriptor budget

static _Atomic int first_reserved = INT_MAX;

void socket_reserve_from(int first)
{
	atomic_store_explicit(&first_reserved, first, memory_order_relaxed);
}

bool socket_is_reserved(int fd)
{
	return fd >= atomic_load_explicit(&first_reserved, memory_order_relaxed);
}

// ---- options

static bool stays_on_this_host(int fd)
{
	struct address local = {.length = sizeof(local.storage)};
	struct address peer = {.length = sizeof(peer.storage)};
	if (getsockname(fd, &local.any, &local.length) != 0 || getpeername(fd, &peer.any, &peer.length) != 0)
		return false;
	return (address_is_loopback(&local) && address_is_loopback(&peer)) || address_is_same_host(&local, &peer);
}

static bool set_congestion(int fd, const char *name)
{
	return setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name)) == 0;
}

static void tune_congestion(int fd, const char *wanted)
{
	if (wanted != NULL && strcmp(wanted, "system") == 0)
		return;
	if (wanted != NULL && strcmp(wanted, "auto") != 0) {
		if (!set_congestion(fd, wanted))
			log_debug("socket", "the kernel refuses congestion control %s: %s", wanted, outcome_text(-errno));
		return;
	}
	if (stays_on_this_host(fd) && !set_congestion(fd, "cubic"))
		set_congestion(fd, "reno");
}

void socket_tune(int fd, const struct socket_options *options)
{
	// Syscalls: getsockopt, setsockopt, getsockname, getpeername
	int family = AF_UNSPEC;
	socklen_t length = sizeof(family);
	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &length) != 0 || family == AF_UNIX)
		return;
	set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1, "TCP_NODELAY");
	if (options->keepalive_ms != 0) {
		int seconds = (int)((options->keepalive_ms + 999) / 1000);
		set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1, "SO_KEEPALIVE");
		set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, seconds, "TCP_KEEPIDLE");
		set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, seconds, "TCP_KEEPINTVL");
	}
	if (options->user_timeout_ms != 0)
		set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)options->user_timeout_ms, "TCP_USER_TIMEOUT");
	tune_congestion(fd, options->congestion);
}

void socket_set_user_timeout(int fd, uint32_t timeout_ms)
{
	set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)timeout_ms, "TCP_USER_TIMEOUT");
}

void socket_limit_unsent(int fd, uint32_t bytes)
{
	set_option(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, (int)bytes, "TCP_NOTSENT_LOWAT");
}

bool socket_awaits_answer(int fd, uint32_t *silent_ms)
{
	struct tcp_info info = {0};
	socklen_t length = sizeof(info);
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) != 0 || info.tcpi_unacked == 0)
		return false;
	*silent_ms = info.tcpi_last_ack_recv;
	return true;
}

// ---- closing

void socket_close_resets(int fd, bool on)
{
	struct linger linger = {.l_onoff = on, .l_linger = 0};
	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

void socket_reset(int *fd)
{
	if (*fd >= 0)
		socket_close_resets(*fd, true);
	socket_close(fd);
}

void socket_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}
