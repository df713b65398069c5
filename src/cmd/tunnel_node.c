#include "cmd/tunnel_node.h"

#include "cmd/tunnel.h"
#include "cmd/tunnel_socket.h"
#include "core/clock.h"
#include "core/log.h"
#include "node/notify.h"

#include <stdio.h>

// ---- reloads -------------------------------------------------------------------------------------------------------

static bool read_again(struct tunnel_node *node, struct config_reload *outcome)
{
	const struct tunnel_node_kind *kind = node->kind;
	struct tunnel_reload reload = {.command = kind->command,
	                               .argc = node->argc,
	                               .argv = node->argv,
	                               .running = *node->config,
	                               .usage = kind->usage,
	                               .has_own_files = kind->has_own_files,
	                               .owner = node->owner,
	                               .take = kind->take};
	life_mark(node->life);
	if (!atomic_load(&node->draining))
		return tunnel_reload(&reload, outcome);
	log_warn(kind->subject, "stopping: the configuration is not read again");
	*outcome = (struct config_reload){0};
	config_reload_add_problem(outcome, "stopping: the configuration is not read again");
	return false;
}

// life_reload_fn
static bool reload(void *owner)
{
	struct config_reload outcome;
	bool ok = read_again(owner, &outcome);
	config_reload_fini(&outcome);
	return ok;
}

// ---- the process ---------------------------------------------------------------------------------------------------

static void on_drain(void *owner)
{
	struct tunnel_node *node = owner;
	atomic_store(&node->draining, true);
	node->kind->drain(node->owner);
}

static bool is_busy(void *owner)
{
	struct tunnel_node *node = owner;
	return node->kind->is_busy(node->owner);
}

static void on_reload(void *owner)
{
	(void)reload(owner);
}

static const struct process_ops process_ops = {.on_drain = on_drain, .is_busy = is_busy, .on_reload = on_reload};

// ---- the control socket -------------------------------------------------------------------------------------------

static void on_ask_status(void *owner, struct status_node *status)
{
	struct tunnel_node *node = owner;
	node->kind->status(node->owner, status);
}

static void on_ask_reload(void *owner, reload_answer_fn answer, void *to)
{
	struct config_reload outcome;
	bool ok = read_again(owner, &outcome);
	tunnel_socket_report(ok, &outcome, answer, to);
	config_reload_fini(&outcome);
}

static bool on_ask_drain(void *owner)
{
	struct tunnel_node *node = owner;
	return process_drain(node->process, "asked to on the control socket");
}

static char *on_ask_devices(void *owner, const char *after)
{
	struct tunnel_node *node = owner;
	return node->kind->devices(node->owner, after);
}

static char *on_ask_kick(void *owner, const char *device)
{
	struct tunnel_node *node = owner;
	return node->kind->kick(node->owner, device);
}

// ---- start and stop ------------------------------------------------------------------------------------------------

int tunnel_node_identity(struct tunnel_node *node, struct identity **identity)
{
	struct identity_files files = tunnel_identity_files(*node->config, node->kind->usage);
	int status = life_prepare(*node->config, &(struct life_files){&files, 1});
	return status == 0 ? tunnel_identity(*node->config, node->kind->usage, identity) : status;
}

void tunnel_node_set_life(struct tunnel_node *node, struct identity *identity)
{
	struct identity_files files = tunnel_identity_files(*node->config, node->kind->usage);
	life_set(node->life, *node->config, &(struct life_files){&files, 1},
	         &(struct life_identities){.list = &identity, .count = 1});
}

int tunnel_node_open(struct tunnel_node *node)
{
	struct loop *loop = workers_loop(node->workers, 0);
	uint32_t drain_ms = (*node->config)->node.drain_timeout_seconds * 1000;
	int r = process_open(loop, drain_ms, &process_ops, node, &node->process);
	if (r == 0)
		r = watchdog_open(node->workers, notify_watchdog_ms(), notify_alive, &node->watchdog);
	if (r == 0)
		r = life_open(loop, reload, node, &node->life);
	return r;
}

void tunnel_node_watch_network(struct tunnel_node *node, netlink_watch_fn on_change)
{
	int r = netlink_watch_open(workers_loop(node->workers, 0), on_change, node->owner, &node->network);
	if (r < 0)
		log_info(node->kind->subject, "changes of the network are not seen (no rtnetlink: %s)", outcome_text(r));
}

int tunnel_node_serve(struct tunnel_node *node)
{
	const struct tunnel_node_kind *kind = node->kind;
	node->control_socket_ops = (struct control_socket_ops){.status = on_ask_status,
	                                                       .reload = on_ask_reload,
	                                                       .drain = on_ask_drain,
	                                                       .devices = kind->devices ? on_ask_devices : NULL,
	                                                       .kick = kind->kick ? on_ask_kick : NULL};
	int status = tunnel_socket_open(*node->config, kind->subject, workers_loop(node->workers, 0),
	                                &node->control_socket_ops, node, &node->control_socket);
	return status == 0 ? tunnel_http(*node->config, kind->status, node->owner, &node->http) : status;
}

void tunnel_node_unserve(struct tunnel_node *node)
{
	if (node->http)
		http_stop(&node->http);
	control_socket_close(&node->control_socket);
}

void tunnel_node_close(struct tunnel_node *node)
{
	netlink_watch_close(&node->network);
	life_close(&node->life);
	watchdog_close(&node->watchdog);
	process_close(&node->process);
	workers_free(&node->workers);
}

static int run(struct tunnel_node *node)
{
	const char *subject = node->kind->subject;
	notify_ready();
	notify_status("%s", node->kind->doing);
	log_info(subject, "qanat %s is running with %u workers", QANAT_VERSION, workers_count(node->workers));
	int r = workers_run(node->workers);
	if (r == 0)
		return process_exit_code(node->process);
	log_error(subject, "the main loop failed: %s", outcome_text(r));
	return 1;
}

int tunnel_node_run(struct tunnel_node *node, int argc, char **argv)
{
	const struct tunnel_node_kind *kind = node->kind;
	node->argc = argc - 1;
	node->argv = argv + 1;
	node->started_ms = clock_ms();
	int r = config_load(kind->command, node->argc, node->argv, stdout, stderr, node->config);
	if (r != 0)
		return r == CONFIG_HELP ? 0 : r == CONFIG_BAD ? 2 : 1;
	tunnel_log(*node->config);
	int status = process_start() != 0;
	if (status == 0)
		status = kind->start(node->owner);
	if (status == 0)
		status = process_confine_here() != 0;
	if (status == 0)
		status = run(node);
	kind->stop(node->owner);
	config_free(node->config);
	return status;
}
