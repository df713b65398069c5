// `qanat source`: one initiator on worker 0, listeners there, and on each worker a pool of data connections and the
// flows that use them. An accepted socket goes to the worker with the fewest flows and stays there.

#include "cmd/source.h"

#include "cmd/tunnel.h"
#include "core/clock.h"
#include "core/counter.h"
#include "core/log.h"
#include "edge/listener.h"
#include "flow/flow.h"
#include "link/initiator.h"
#include "net/socket.h"
#include "node/process.h"
#include "node/workers.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct source;

struct source_worker {
	struct loop *loop;
	struct pool *pool;
	struct flows *flows;
};

struct source_door { // a listener and what those who come through it want
	struct source *source;
	struct listener *listener;
	struct address address;
	struct header header;
};

struct source {
	struct config *config;
	struct identity *identity;
	struct workers *workers;
	struct source_worker *worker;
	unsigned worker_count, turn;
	struct source_door *doors;
	size_t door_count;
	struct keycache *keycache;
	struct initiator *initiator;
	struct process *process;
	struct http *http;
	uint64_t started_ms;

	pthread_mutex_t lock; // for the HTTP thread
	struct link *link;
	bool link_takes_streams;
	uint64_t last_up_ms;
	_Atomic bool draining;
};

// ---- mail to workers -----------------------------------------------------------------------------------------------

struct mail {
	struct loop_task task;
	struct source_worker *worker;
	enum { MAIL_SOCKET, MAIL_LINK, MAIL_CUT, MAIL_DRAIN } kind;
	int fd;
	struct address peer;
	const struct header *header; // a door's, lives as long as the node
	struct link *link;           // a reference, or NULL
};

static void open_mail(struct mail *mail)
{
	struct source_worker *worker = mail->worker;
	switch (mail->kind) {
	case MAIL_SOCKET:
		if (worker->flows)
			flows_take_local(worker->flows, &mail->fd, &mail->peer, mail->header);
		socket_close(&mail->fd);
		break;
	case MAIL_LINK:
		if (worker->pool && pool_set_link(worker->pool, mail->link) < 0)
			log_error("source", "no data connections on this worker: out of memory");
		if (worker->flows && mail->link)
			flows_link_is_up(worker->flows);
		break;
	case MAIL_CUT:
		stream_cut_all(mail->link);
		break;
	case MAIL_DRAIN:
		if (worker->flows)
			flows_drain(worker->flows);
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

// Takes the mail's contents. What is for worker 0 itself is done at once.
static void send_mail(struct source *source, unsigned index, struct mail *contents)
{
	contents->worker = &source->worker[index];
	if (index == 0) {
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
	loop_post(source->worker[index].loop, &mail->task);
}

static void tell_all(struct source *source, int kind, struct link *link)
{
	for (unsigned i = 0; i < source->worker_count; i++) {
		struct mail mail = {.kind = kind, .fd = -1, .link = link ? link_ref(link) : NULL};
		send_mail(source, i, &mail);
	}
}

// ---- local connections ---------------------------------------------------------------------------------------------

static uint64_t all_flows(const struct source *source)
{
	uint64_t sum = 0;
	for (unsigned i = 0; i < source->worker_count; i++)
		sum += flows_open(source->worker[i].flows);
	return sum;
}

// The fewest flows; among equals each in turn.
static unsigned least_loaded(struct source *source)
{
	unsigned best = source->turn++ % source->worker_count;
	for (unsigned i = 0; i < source->worker_count; i++)
		if (flows_open(source->worker[i].flows) < flows_open(source->worker[best].flows))
			best = i;
	return best;
}

static void on_accept(void *owner, int fd, const struct address *peer)
{
	struct source_door *door = owner;
	struct source *source = door->source;
	if (all_flows(source) >= source->config->source.max_connections) {
		counter_add(COUNTER_FLOW_REFUSED_LIMIT, 1);
		log_warn("source", "a connection was refused: source.max_connections = %u are open",
		         source->config->source.max_connections);
		socket_reset(&fd);
		return;
	}
	struct mail mail = {.kind = MAIL_SOCKET, .fd = fd, .peer = *peer, .header = &door->header};
	send_mail(source, least_loaded(source), &mail);
}

static int open_door(struct source *source, const char *what)
{
	struct source_door *door = &source->doors[source->door_count];
	char text[ADDRESS_TEXT_BYTES], service[LIMIT_SERVICE_NAME_BYTES + 32];
	address_format(&door->address, text);
	door->source = source;
	door->header.kind = HEADER_TCP;
	int r = listener_open(workers_loop(source->workers, 0), &door->address, on_accept, door, &door->listener);
	if (r < 0) {
		log_error("source", "cannot listen on %s (%s): %s", text, what, outcome_text(r));
		return 1;
	}
	source->door_count++;
	address_format(&door->address, text);
	if (door->header.service[0] && strcmp(door->header.service, SERVICE_DEFAULT) != 0)
		snprintf(service, sizeof service, "service \"%s\"", door->header.service);
	else
		snprintf(service, sizeof service, "the service on port %u%s", door->header.port,
		         door->header.service[0] ? ", or the only one" : "");
	log_info("source", "listening on %s for %s of dest", text, service);
	return 0;
}

static int open_doors(struct source *source)
{
	const struct config *config = source->config;
	source->doors = calloc(config->source.exposed_count + config->source.forward_count + 1, sizeof *source->doors);
	if (!source->doors)
		return 1;
	int r = 0;
	for (size_t i = 0; i < config->source.exposed_count; i++) {
		const struct config_exposed_port *port = &config->source.exposed_ports[i];
		struct source_door *door = &source->doors[source->door_count];
		door->header.port = port->port;
		if (address_from_ip(port->listen_ip ? port->listen_ip : config->source.listen_ip, port->port, &door->address))
			return 2;
		r |= open_door(source, "source.exposed_ports");
	}
	for (size_t i = 0; i < config->source.forward_count; i++) {
		const struct config_forward *forward = &config->source.forwards[i];
		struct source_door *door = &source->doors[source->door_count];
		snprintf(door->header.service, sizeof door->header.service, "%s", forward->service);
		if (address_parse(forward->listen, &door->address))
			return 2;
		r |= open_door(source, "source.forwards");
	}
	if (r != 0 || source->door_count > 0)
		return r;
	// The seed's README: a listen_port and nothing else.
	struct source_door *door = &source->doors[0];
	snprintf(door->header.service, sizeof door->header.service, "%s", SERVICE_DEFAULT);
	door->header.port = config->source.listen_port;
	if (address_from_ip(config->source.listen_ip, config->source.listen_port, &door->address))
		return 2;
	return open_door(source, "source.listen_port");
}

// ---- the link ------------------------------------------------------------------------------------------------------

static void keep_link(struct source *source, struct link *link, bool takes_streams)
{
	pthread_mutex_lock(&source->lock);
	struct link *old = source->link;
	source->link = link ? link_ref(link) : NULL;
	source->link_takes_streams = takes_streams;
	source->last_up_ms = clock_ms();
	pthread_mutex_unlock(&source->lock);
	link_unref(&old);
}

static void on_up(void *owner, struct link *link)
{
	struct source *source = owner;
	keep_link(source, link, true);
	tell_all(source, MAIL_LINK, link);
}

static void on_draining(void *owner, struct link *link)
{
	struct source *source = owner;
	keep_link(source, link, false);
	tell_all(source, MAIL_LINK, NULL);
}

static void on_down(void *owner, struct link *link, bool cut)
{
	struct source *source = owner;
	keep_link(source, NULL, false);
	tell_all(source, MAIL_LINK, NULL);
	if (cut)
		tell_all(source, MAIL_CUT, link);
}

static void on_given_up(void *owner, const char *reason)
{
	(void)reason; // logged
	struct source *source = owner;
	process_fail(source->process, 1);
}

static const struct initiator_ops initiator_ops = {.on_up = on_up,
                                                   .on_draining = on_draining,
                                                   .on_down = on_down,
                                                   .on_given_up = on_given_up};

static int start_link(struct source *source)
{
	const struct config *config = source->config;
	if (config->crypto.kem_mode != CONFIG_KEM_MLKEM768 && keycache_new(2, &source->keycache) < 0)
		return 1;
	struct initiator_settings settings = {
		.loop = workers_loop(source->workers, 0),
		.identity = source->identity,
		.pq = tunnel_pq(config),
		.host = config->source.dest_host,
		.port = config->source.dest_tunnel_port,
		.peer_name = config->auth.peer_name,
		.allowed_peers = (const char *const *)config->auth.allowed_peers,
		.allowed_count = config->auth.allowed_peer_count,
		.congestion = config->link.congestion,
		.keepalive_ms = config->link.keep_alive_interval_ms,
		.handshake_ms = config->link.handshake_timeout_ms,
		.reconnect = config->source.reconnection_enabled,
		.attempts_max = config->source.max_reconnect_attempts,
		.delay_first_ms = config->source.initial_reconnect_delay_ms,
		.delay_max_ms = config->source.max_reconnect_delay_ms,
		.control = tunnel_control(config, CONTROL_INITIATOR),
		.link = tunnel_link(config),
		.keycache = source->keycache,
	};
	int r = initiator_new(&settings, &initiator_ops, source, &source->initiator);
	if (r < 0)
		log_error("source", "cannot start: %s", outcome_text(r));
	return r < 0;
}

// ---- what people see -----------------------------------------------------------------------------------------------

static const char *health_of(bool ready, bool draining, const struct initiator_state *initiator)
{
	if (ready)
		return "Healthy";
	return initiator->errors > 0 || draining ? "Unhealthy" : "Connecting";
}

static void fill_link(const struct source *source, struct link *link, const struct initiator_state *initiator,
                      struct status_link *out)
{
	*out = (struct status_link){.role = "initiator", .carrier = "tls", .kem_mode = ""};
	if (link)
		tunnel_describe_link(source->config, link, out);
	out->state = initiator->state;
	if (!out->last_error[0])
		snprintf(out->last_error, sizeof out->last_error, "%s", initiator->last_error);
}

static void fill_status(void *owner, struct status_node *status)
{
	struct source *source = owner;
	struct initiator_state initiator;
	initiator_read(source->initiator, &initiator);
	uint64_t now = clock_ms();
	bool draining = atomic_load(&source->draining);
	pthread_mutex_lock(&source->lock);
	struct link *link = source->link ? link_ref(source->link) : NULL;
	bool ready = link && source->link_takes_streams && !draining;
	uint64_t last_up_ms = source->last_up_ms;
	pthread_mutex_unlock(&source->lock);
	*status = (struct status_node){
		.command = "source",
		.version = QANAT_VERSION,
		.uptime_ms = now - source->started_ms,
		.ready = ready,
		.health = health_of(ready, draining, &initiator),
		.tunnel_established = link != NULL,
		.last_successful_operation_s = link         ? 0
	                                   : last_up_ms ? (int64_t)((now - last_up_ms) / 1000)
	                                                : -1,
		.error_count = initiator.errors,
		.missed_pongs = link ? tunnel_missed_pongs(source->config, link) : -1,
		.average_rtt_us = -1,
		.reconnection_attempts = (int64_t)initiator.attempts,
		.flows_open = all_flows(source),
		.workers = source->worker_count,
	};
	snprintf(status->name, sizeof status->name, "%s", source->config->node.name);
	if (ready || draining)
		snprintf(status->message, sizeof status->message, "%s",
		         ready ? "All systems operational" : "Stopping: no new connections");
	else
		snprintf(status->message, sizeof status->message, "Establishing tunnel connection%s%.200s",
		         initiator.last_error[0] ? ": " : "", initiator.last_error);
	status->links = calloc(1, sizeof *status->links);
	if (status->links) {
		status->link_count = 1;
		fill_link(source, link, &initiator, status->links);
		status->average_rtt_us = status->links->rtt_us ? (int64_t)status->links->rtt_us : -1;
	}
	link_unref(&link);
}

// ---- start and stop ------------------------------------------------------------------------------------------------

static int start_worker(void *owner, unsigned index, struct loop *loop)
{
	struct source *source = owner;
	const struct config *config = source->config;
	struct source_worker *worker = &source->worker[index];
	struct pool_settings pool = {
		.loop = loop,
		.size = config->source.pool_size,
		.congestion = config->link.congestion,
		.keepalive_ms = config->link.keep_alive_interval_ms,
		.handshake_ms = config->link.handshake_timeout_ms,
	};
	worker->loop = loop;
	int r = pool_new(&pool, &worker->pool);
	if (r < 0)
		return r;
	struct flows_settings flows = {
		.loop = loop,
		.congestion = config->link.congestion,
		.keepalive_ms = config->link.keep_alive_interval_ms,
		.wait_ms = config->source.connection_timeout_ms,
		.pool = worker->pool,
	};
	return flows_new(&flows, &worker->flows);
}

static int stop_worker(void *owner, unsigned index, struct loop *loop)
{
	(void)loop;
	struct source *source = owner;
	flows_free(&source->worker[index].flows);
	pool_free(&source->worker[index].pool);
	return 0;
}

static void on_drain(void *owner)
{
	struct source *source = owner;
	atomic_store(&source->draining, true);
	for (size_t i = 0; i < source->door_count; i++)
		listener_close(&source->doors[i].listener);
	tell_all(source, MAIL_DRAIN, NULL);
}

static bool is_busy(void *owner)
{
	return all_flows(owner) > 0;
}

static void on_reload(void *owner)
{
	(void)owner;
	log_warn("source", "SIGHUP: reloading the configuration is not built yet; restart to change it");
}

static const struct process_ops process_ops = {.on_drain = on_drain, .is_busy = is_busy, .on_reload = on_reload};

static int start(struct source *source)
{
	const struct config *config = source->config;
	int r = tunnel_identity(config, IDENTITY_CLIENT, &source->identity);
	if (r != 0)
		return r;
	if (workers_new(config->node.workers, &source->workers) < 0)
		return 1;
	source->worker_count = workers_count(source->workers);
	source->worker = calloc(source->worker_count, sizeof *source->worker);
	if (!source->worker || workers_each(source->workers, start_worker, source) < 0)
		return 1;
	if (process_open(workers_loop(source->workers, 0), config->node.drain_timeout_seconds * 1000, &process_ops, source,
	                 &source->process) < 0)
		return 1;
	r = open_doors(source);
	if (r == 0)
		r = start_link(source);
	if (r == 0)
		r = tunnel_http(config, fill_status, source, &source->http);
	return r;
}

static void stop(struct source *source)
{
	if (source->http)
		http_stop(&source->http);
	for (size_t i = 0; i < source->door_count; i++)
		listener_close(&source->doors[i].listener);
	if (source->worker && source->workers)
		(void)!workers_each(source->workers, stop_worker, source);
	initiator_free(&source->initiator, CONTROL_REASON_SHUTDOWN);
	process_close(&source->process);
	link_unref(&source->link);
	workers_free(&source->workers);
	keycache_free(&source->keycache);
	if (source->identity)
		identity_unref(&source->identity);
	free(source->worker);
	free(source->doors);
}

int source_command(int argc, char **argv)
{
	struct source source = {.lock = PTHREAD_MUTEX_INITIALIZER, .started_ms = clock_ms()};
	int r = config_load(CONFIG_SOURCE, argc - 1, argv + 1, stdout, stderr, &source.config);
	if (r != 0)
		return r == CONFIG_HELP ? 0 : r == CONFIG_BAD ? 2 : 1;
	tunnel_log(source.config);
	int status = process_start() < 0;
	if (status == 0)
		status = start(&source);
	if (status == 0) {
		log_info("source", "qanat %s is running with %u workers", QANAT_VERSION, source.worker_count);
		status = workers_run(source.workers) < 0 ? 1 : process_exit_code(source.process);
	}
	stop(&source);
	config_free(&source.config);
	return status;
}
