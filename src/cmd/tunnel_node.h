// What the commands that are nodes have in common, from the configuration to the exit status: signals, workers, the
// life of certificates, the control socket, the status server, reloads, and the order in which all of that starts and
// stops. A command embeds `struct tunnel_node` and says in a `struct tunnel_node_kind` what is its own.

#pragma once

#include "cmd/life.h"
#include "cmd/tunnel_reload.h"
#include "config/config.h"
#include "edge/netlink_watch.h"
#include "node/process.h"
#include "node/watchdog.h"
#include "node/workers.h"
#include "ops/control_socket.h"
#include "ops/http.h"

#include <stdatomic.h>

struct tunnel_node_kind {
	const char *subject; // of its log, and the control socket's name: "dest"
	const char *doing;   // for the service manager, once it runs
	enum config_command command;
	enum identity_usage usage;
	bool has_own_files; // [auth] is not for it (as in tunnel_reload)

	int (*start)(void *owner); // an exit status; problems have been logged
	void (*stop)(void *owner); // of whatever was started, also of half of it
	void (*drain)(void *owner);
	bool (*is_busy)(void *owner);
	int (*take)(void *owner, struct config **next, struct identity **identity,
	            char problem[TUNNEL_RELOAD_PROBLEM_BYTES]); // of tunnel_reload
	status_fn status;
	char *(*devices)(void *owner, const char *after); // as in control_socket_ops, or NULL
	char *(*kick)(void *owner, const char *device);
};

struct tunnel_node {
	const struct tunnel_node_kind *kind;
	void *owner;
	int argc; // after the command word
	char **argv;
	struct config **config; // set before `start`, freed after `stop`
	uint64_t started_ms;
	_Atomic bool draining;

	struct workers *workers;
	struct process *process;
	struct watchdog *watchdog;
	struct life *life;
	struct netlink_watch *network;
	struct http *http;
	struct control_socket *control_socket;
	struct control_socket_ops control_socket_ops;
};

// The command, on the main thread; `argv` begins with its word. Returns the exit status: 0 stopped as asked, 1 failure
// while running, 2 wrong command line or configuration.
int tunnel_node_run(struct tunnel_node *node, int argc, char **argv);

// For `start`, in this order. Exit status, 0 is good; problems have been logged.
//
// Not for kinds with files of their own: the certificates of [auth], after finishing renewals that a crash interrupted.
MUST_USE int tunnel_node_identity(struct tunnel_node *node, struct identity **identity);
// With the workers running: signals, watchdog, the life of certificates (unset yet). Negative.
MUST_USE int tunnel_node_open(struct tunnel_node *node);
// Tells the owner when the network of this host has changed. Where that cannot be known the node does without.
void tunnel_node_watch_network(struct tunnel_node *node, netlink_watch_fn on_change);
// Last: who hears of /health may count on all the rest.
MUST_USE int tunnel_node_serve(struct tunnel_node *node);

// For `stop`: first nobody looks any more; then, when everything of the workers is gone, they go.
void tunnel_node_unserve(struct tunnel_node *node);
void tunnel_node_close(struct tunnel_node *node);

// For `start` and `take`: hands the configuration and the certificates of [auth] in force to their life.
void tunnel_node_set_life(struct tunnel_node *node, struct identity *identity);
