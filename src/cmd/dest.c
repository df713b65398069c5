// `qanat dest`: one acceptor on worker 0 hands each connection to the tunnel port to the worker with the fewest flows;
// there it proves to be a link's control connection or one of its data connections, and its streams reach their targets
// from the same worker.

#include "cmd/dest.h"

#include "cmd/tunnel.h"
#include "core/clock.h"
#include "core/log.h"
#include "edge/listener.h"
#include "flow/flow.h"
#include "link/responder.h"
#include "net/socket.h"
#include "node/process.h"
#include "node/workers.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct dest;

struct dest_worker {
	struct dest *dest;
	struct loop *loop;
	struct responder *responder;
	struct flows *flows;
};

struct dest {
	struct config *config;
	struct identity *identity;
	struct workers *workers;
	struct dest_worker *worker;
	unsigned worker_count, turn;
	struct service_table services;
	struct registry *registry;
	struct gate *gate;
	struct keyserver *keyserver;
	struct address address;
	struct listener *listener;
	struct process *process;
	struct http *http;
	uint64_t started_ms;
	_Atomic bool draining;
};

// ---- mail to workers -----------------------------------------------------------------------------------------------

struct mail {
	struct loop_task task;
	struct dest_worker *worker;
	enum { MAIL_SOCKET, MAIL_CUT, MAIL_GOAWAY } kind;
	int fd;
	struct address peer;
	struct link *link;
};

static void open_mail(struct mail *mail)
{
	struct dest_worker *worker = mail->worker;
	switch (mail->kind) {
	case MAIL_SOCKET:
		if (worker->responder)
			responder_take(worker->responder, &mail->fd, &mail->peer);
		socket_close(&mail->fd);
		break;
	case MAIL_CUT:
		stream_cut_all(mail->link);
		break;
	case MAIL_GOAWAY:
		if (worker->responder)
			responder_goaway(worker->responder, worker->dest->config->node.drain_timeout_seconds * 1000);
		break;
	}
	link_unref(&mail->link);
}

static void on_mail(struct loop_task *task)
{
	struct mail *mail = CONTAINER_OF(task, struct mail, task);
	open_mail(mail);
	free(mail);
}

static void send_mail(struct dest_worker *worker, struct mail *contents)
{
	contents->worker = worker;
	if (loop_current() == worker->loop) {
		open_mail(contents);
		return;
	}
	struct mail *mail = malloc(sizeof *mail);
	if (!mail) {
		socket_close(&contents->fd);
		link_unref(&contents->link);
		return;
	}
	*mail = *contents;
	mail->task.run = on_mail;
	loop_post(worker->loop, &mail->task);
}

// ---- connections ---------------------------------------------------------------------------------------------------

static uint64_t all_flows(const struct dest *dest)
{
	uint64_t sum = 0;
	for (unsigned i = 0; i < dest->worker_count; i++)
		sum += flows_open(dest->worker[i].flows);
	return sum;
}

static void on_accept(void *owner, int fd, const struct address *peer)
{
	struct dest *dest = owner;
	unsigned best = dest->turn++ % dest->worker_count;
	for (unsigned i = 0; i < dest->worker_count; i++)
		if (flows_open(dest->worker[i].flows) < flows_open(dest->worker[best].flows))
			best = i;
	struct mail mail = {.kind = MAIL_SOCKET, .fd = fd, .peer = *peer};
	send_mail(&dest->worker[best], &mail);
}

static void on_up(void *owner, struct link *link)
{
	(void)owner;
	(void)link; // the registry and the log have it
}

static void on_down(void *owner, struct link *link, bool cut)
{
	struct dest_worker *worker = owner;
	struct dest *dest = worker->dest;
	for (unsigned i = 0; cut && i < dest->worker_count; i++) {
		struct mail mail = {.kind = MAIL_CUT, .fd = -1, .link = link_ref(link)};
		send_mail(&dest->worker[i], &mail);
	}
}

static void on_header(void *owner, struct stream *stream, const struct header *header)
{
	struct dest_worker *worker = owner;
	flows_take_stream(worker->flows, stream, header);
}

static const struct responder_ops responder_ops = {.on_up = on_up, .on_down = on_down, .on_header = on_header};

// ---- what people see -----------------------------------------------------------------------------------------------

// Links listed in one answer; the rest is only counted.
#define LINKS_SHOWN 1000

struct link_list {
	const struct config *config;
	struct status_link *links;
	size_t count, room;
};

static void visit(void *owner, struct link *link)
{
	struct link_list *list = owner;
	if (list->count < list->room)
		tunnel_describe_link(list->config, link, &list->links[list->count++]);
}

static void fill_status(void *owner, struct status_node *status)
{
	struct dest *dest = owner;
	size_t known = registry_count(dest->registry);
	struct link_list list = {.config = dest->config, .room = known < LINKS_SHOWN ? known : LINKS_SHOWN};
	list.links = list.room ? calloc(list.room, sizeof *list.links) : NULL;
	if (!list.links)
		list.room = 0;
	registry_visit(dest->registry, visit, &list);
	bool draining = atomic_load(&dest->draining);
	*status = (struct status_node){
		.command = "dest",
		.version = QANAT_VERSION,
		.uptime_ms = clock_ms() - dest->started_ms,
		.ready = !draining, // the listener is open before this is served
		.health = draining ? "Unhealthy" : "Healthy",
		.tunnel_established = known > 0,
		.last_successful_operation_s = known > 0 ? 0 : -1,
		.error_count = tunnel_refusals(),
		.missed_pongs = -1,
		.average_rtt_us = -1,
		.reconnection_attempts = -1,
		.flows_open = all_flows(dest),
		.workers = dest->worker_count,
		.links = list.links,
		.link_count = list.count,
	};
	snprintf(status->name, sizeof status->name, "%s", dest->config->node.name);
	snprintf(status->message, sizeof status->message, "%s",
	         draining ? "Stopping: no new links" : "All systems operational");
}

// ---- start and stop ------------------------------------------------------------------------------------------------

static int make_services(struct dest *dest)
{
	const struct config *config = dest->config;
	dest->services.services = calloc(config->dest.service_count + 1, sizeof *dest->services.services);
	if (!dest->services.services)
		return 1;
	for (size_t i = 0; i < config->dest.service_count; i++) {
		const struct config_service *from = &config->dest.services[i];
		struct service *to = &dest->services.services[i];
		to->name = from->name;
		to->port = from->port;
		to->target_host = from->target_host;
		to->target_port = from->target_port;
		to->connections_max = from->max_connections ? from->max_connections : config->dest.max_connections_per_service;
		log_info("dest", "service \"%s\" (port %u) reaches %s:%u", to->name, to->port, to->target_host,
		         to->target_port);
	}
	dest->services.count = config->dest.service_count;
	return 0;
}

static int start_worker(void *owner, unsigned index, struct loop *loop)
{
	struct dest *dest = owner;
	const struct config *config = dest->config;
	struct dest_worker *worker = &dest->worker[index];
	worker->dest = dest;
	worker->loop = loop;
	struct flows_settings flows = {
		.loop = loop,
		.congestion = config->link.congestion,
		.keepalive_ms = config->link.keep_alive_interval_ms,
		.target_ms = config->dest.target_connect_timeout_ms,
		.services = &dest->services,
	};
	int r = flows_new(&flows, &worker->flows);
	if (r < 0)
		return r;
	struct responder_settings settings = {
		.loop = loop,
		.identity = dest->identity,
		.pq = tunnel_pq(config),
		.allowed_peers = (const char *const *)config->auth.allowed_peers,
		.allowed_count = config->auth.allowed_peer_count,
		.congestion = config->link.congestion,
		.keepalive_ms = config->link.keep_alive_interval_ms,
		.handshake_ms = config->link.handshake_timeout_ms,
		.registry = dest->registry,
		.gate = dest->gate,
		.keyserver = dest->keyserver,
		.control = tunnel_control(config, CONTROL_RESPONDER),
		.link = tunnel_link(config),
	};
	service_list(&dest->services, settings.control.hello.services, sizeof settings.control.hello.services);
	return responder_new(&settings, &responder_ops, worker, &worker->responder);
}

static int stop_worker(void *owner, unsigned index, struct loop *loop)
{
	(void)loop;
	struct dest *dest = owner;
	flows_free(&dest->worker[index].flows);
	responder_free(&dest->worker[index].responder, CONTROL_REASON_SHUTDOWN);
	return 0;
}

static void on_drain(void *owner)
{
	struct dest *dest = owner;
	atomic_store(&dest->draining, true);
	listener_close(&dest->listener);
	for (unsigned i = 0; i < dest->worker_count; i++) {
		struct mail mail = {.kind = MAIL_GOAWAY, .fd = -1};
		send_mail(&dest->worker[i], &mail);
	}
}

static bool is_busy(void *owner)
{
	return all_flows(owner) > 0;
}

static void on_reload(void *owner)
{
	(void)owner;
	log_warn("dest", "SIGHUP: reloading the configuration is not built yet; restart to change it");
}

static const struct process_ops process_ops = {.on_drain = on_drain, .is_busy = is_busy, .on_reload = on_reload};

static int open_tables(struct dest *dest)
{
	const struct config *config = dest->config;
	struct admission_limits limits = {
		.in_flight = LIMIT_CONTROL_HANDSHAKES,
		.per_address = LIMIT_CONTROL_HANDSHAKES_PER_ADDRESS,
		.window_ms = LIMIT_ADDRESS_WINDOW_MS,
		.table = LIMIT_ADDRESS_TABLE,
	};
	if (make_services(dest) != 0 || registry_new(&dest->registry) < 0 ||
	    gate_new(&limits, config->dest.allowed_source_ips, config->dest.allowed_source_count, &dest->gate) < 0)
		return 1;
	if (config->crypto.kem_mode == CONFIG_KEM_MLKEM768)
		return 0;
	if (keyserver_new(config->crypto.key_rotation_interval_seconds * 1000, &dest->keyserver) < 0 ||
	    keyserver_wait(dest->keyserver) < 0) {
		log_error("dest", "cannot make McEliece keys: out of memory");
		return 1;
	}
	return 0;
}

static int open_listener(struct dest *dest)
{
	const struct config *config = dest->config;
	char text[ADDRESS_TEXT_BYTES];
	if (address_from_ip(config->dest.listen_ip, config->dest.tunnel_port, &dest->address)) {
		log_error("dest", "dest.listen_ip \"%s\" is not an address", config->dest.listen_ip);
		return 2;
	}
	address_format(&dest->address, text);
	int r = listener_open(workers_loop(dest->workers, 0), &dest->address, on_accept, dest, &dest->listener);
	if (r < 0) {
		log_error("dest", "cannot listen on %s (dest.tunnel_port): %s", text, outcome_text(r));
		return 1;
	}
	log_info("dest", "links are accepted on %s", text);
	return 0;
}

static int start(struct dest *dest)
{
	const struct config *config = dest->config;
	int r = tunnel_identity(config, IDENTITY_SERVER, &dest->identity);
	if (r == 0)
		r = open_tables(dest);
	if (r != 0)
		return r;
	if (workers_new(config->node.workers, &dest->workers) < 0)
		return 1;
	dest->worker_count = workers_count(dest->workers);
	dest->worker = calloc(dest->worker_count, sizeof *dest->worker);
	if (!dest->worker || workers_each(dest->workers, start_worker, dest) < 0)
		return 1;
	if (process_open(workers_loop(dest->workers, 0), config->node.drain_timeout_seconds * 1000, &process_ops, dest,
	                 &dest->process) < 0)
		return 1;
	r = open_listener(dest);
	if (r == 0)
		r = tunnel_http(config, fill_status, dest, &dest->http);
	return r;
}

static void stop(struct dest *dest)
{
	if (dest->http)
		http_stop(&dest->http);
	listener_close(&dest->listener);
	if (dest->worker && dest->workers)
		(void)!workers_each(dest->workers, stop_worker, dest);
	process_close(&dest->process);
	workers_free(&dest->workers);
	keyserver_free(&dest->keyserver);
	registry_free(&dest->registry);
	gate_free(&dest->gate);
	if (dest->identity)
		identity_unref(&dest->identity);
	free(dest->services.services);
	free(dest->worker);
}

int dest_command(int argc, char **argv)
{
	struct dest dest = {.started_ms = clock_ms()};
	int r = config_load(CONFIG_DEST, argc - 1, argv + 1, stdout, stderr, &dest.config);
	if (r != 0)
		return r == CONFIG_HELP ? 0 : r == CONFIG_BAD ? 2 : 1;
	tunnel_log(dest.config);
	int status = process_start() < 0;
	if (status == 0)
		status = start(&dest);
	if (status == 0) {
		log_info("dest", "qanat %s is running with %u workers", QANAT_VERSION, dest.worker_count);
		status = workers_run(dest.workers) < 0 ? 1 : process_exit_code(dest.process);
	}
	stop(&dest);
	config_free(&dest.config);
	return status;
}
