// The Unix socket behind `qanat status`, `reload` and `drain`: one JSON line in, one JSON answer out, then the end of
// the connection. On worker 0's loop, never waiting for anybody; a status is put together on a thread of its own.
//
// Whoever connects is asked for by the kernel (SO_PEERCRED, SO_PEERGROUPS): root, the node's own user, and the users
// and groups that are allowed by configuration; others are told why not, and counted.

#pragma once

#include "core/loop.h"
#include "core/outcome.h"
#include "net/address.h"
#include "ops/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct control_socket;

struct reload_names {
	char *const *names;
	size_t count;
};

// The outcome of reading the configuration again.
struct reload_report {
	bool ok;
	struct reload_names problems;      // why it is refused
	struct reload_names changed;       // keys whose new values are in force
	struct reload_names needs_restart; // keys that keep their old values
};

typedef void (*reload_answer_fn)(void *to, const struct reload_report *report);

struct control_socket_ops {
	status_fn status;
	// Calls `answer` once before it returns; the report is lent.
	void (*reload)(void *owner, reload_answer_fn answer, void *to);
	// Starts what SIGTERM starts. False: the node is draining already.
	bool (*drain)(void *owner);
	// Of a hub, else NULL: the whole answer as JSON, NULL without memory. Devices behind `after` (""), in pages.
	char *(*devices)(void *owner, const char *after);
	char *(*kick)(void *owner, const char *device);
};

struct control_socket_settings {
	struct loop *loop;
	const uid_t *uids; // copied
	size_t uid_count;
	const gid_t *gids; // copied; the socket belongs to the first of them
	size_t gid_count;
};

// A Unix address. Negative: the kernel refused it (-EADDRINUSE: another process answers there).
MUST_USE int control_socket_open(const struct control_socket_settings *settings, struct address *address,
                                 const struct control_socket_ops *ops, void *owner, struct control_socket **socket);
void control_socket_close(struct control_socket **socket);
