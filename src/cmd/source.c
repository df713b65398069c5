#include "cmd/source.h"

#include "cmd/source_internal.h"
#include "cmd/tunnel.h"
#include "core/clock.h"
#include "core/log.h"
#include "limits.h"
#include "node/mail.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct pool_settings source_pool_settings(const struct config *config, struct loop *loop)
{
	return (struct pool_settings){
		.loop = loop,
		.size = config->source.pool_size,
		.congestion = config->link.congestion,
		.keepalive_ms = config->link.keep_alive_interval_ms,
		.handshake_ms = config->link.handshake_timeout_ms,
	};
}

struct flows_settings source_flows_settings(const struct config *config, struct loop *loop)
{
	return (struct flows_settings){
		.loop = loop,
		.congestion = config->link.congestion,
		.keepalive_ms = config->link.keep_alive_interval_ms,
		.wait_ms = config->source.connection_timeout_ms,
		.idle_ms = config->source.idle_timeout_ms,
		.client_max = config->source.max_connections_per_client,
		.age_ms = config->link.max_stream_age_seconds * 1000ULL,
	};
}

// ---- the process ---------------------------------------------------------------------------------------------------

static void on_drain_worker(void *contents)
{
	struct source_worker *worker = *(struct source_worker **)contents;
	if (worker->entries)
		entries_drain(worker->entries);
	if (worker->flows)
		flows_drain(worker->flows);
	if (worker->udp)
		udp_flows_drain(worker->udp);
}

static void on_drain(void *owner)
{
	struct source *source = owner;
	source_doors_drain(source);
	for (unsigned i = 0; i < source->worker_count; i++) {
		struct source_worker *worker = &source->worker[i];
		mail_send_surely(worker->loop, on_drain_worker, &worker, sizeof worker);
	}
}

// Associations have no end that could be waited for: they go on while flows finish, and end with them.
static bool is_busy(void *owner)
{
	return source_flows_open(owner) > 0;
}

// ---- start and stop ------------------------------------------------------------------------------------------------

static int start_worker(void *owner, unsigned index, struct loop *loop)
{
	struct source *source = owner;
	struct source_worker *worker = &source->worker[index];
	struct pool_settings pool = source_pool_settings(source->config, loop);
	worker->loop = loop;
	int r = pool_new(&pool, &worker->pool);
	if (r < 0)
		return r;
	struct flows_settings flows = source_flows_settings(source->config, loop);
	flows.pool = worker->pool;
	flows.clients = source->clients;
	flows.dials_max = LIMIT_DIALS / source->worker_count;
	r = flows_new(&flows, &worker->flows);
	struct udp_flows_settings udp = source_udp_settings(source, source->config, loop);
	udp.pool = worker->pool;
	if (r == 0)
		r = udp_flows_new(&udp, &worker->udp);
	if (r == 0)
		r = entries_new(loop, worker->flows, worker->udp, &worker->entries);
	if (r == 0)
		entries_set(worker->entries, source->routes);
	return r;
}

static int stop_worker(void *owner, unsigned index, struct loop *loop)
{
	(void)loop;
	struct source *source = owner;
	entries_free(&source->worker[index].entries);
	flows_free(&source->worker[index].flows);
	udp_flows_free(&source->worker[index].udp);
	pool_free(&source->worker[index].pool);
	return 0;
}

static int start_workers(struct source *source)
{
	const struct config *config = source->config;
	int r = workers_new(config->node.workers, &source->node.workers);
	if (r < 0)
		return r;
	source->worker_count = workers_count(source->node.workers);
	source->worker = calloc(source->worker_count, sizeof *source->worker);
	r = source->worker ? workers_each(source->node.workers, start_worker, source) : -ENOMEM;
	if (r == 0)
		r = tunnel_node_open(&source->node);
	if (r == 0)
		tunnel_node_set_life(&source->node, source->identity);
	return r;
}

static int start(void *owner)
{
	struct source *source = owner;
	const struct config *config = source->config;
	int r = tunnel_node_identity(&source->node, &source->identity);
	if (r != 0)
		return r;
	source->refusals.per_second = LIMIT_REFUSAL_LINES_PER_S;
	r = quota_new(LIMIT_QUOTA_KEYS, clock_ns(), &source->clients);
	if (r == 0)
		r = udp_shares_new(clock_ns(), &source->udp_shares);
	if (r == 0)
		r = source_make_routes(config, &source->routes);
	if (r == 0)
		r = start_workers(source);
	if (r < 0) {
		log_error("source", "cannot start: %s", outcome_text(r));
		return 1;
	}
	r = source_doors_set(source, config);
	if (r == 0)
		r = source_link_start(source);
	if (r == 0)
		r = tunnel_node_serve(&source->node);
	return r;
}

static void stop(void *owner)
{
	struct source *source = owner;
	tunnel_node_unserve(&source->node);
	source_doors_close(source);
	if (source->worker && source->node.workers)
		(void)!workers_each(source->node.workers, stop_worker, source);
	initiator_free(&source->initiator, CONTROL_REASON_SHUTDOWN);
	link_unref(&source->link);
	tunnel_node_close(&source->node);
	keycache_free(&source->keycache);
	route_table_unref(&source->routes);
	quota_free(&source->clients);
	udp_shares_free(&source->udp_shares);
	if (source->identity)
		identity_unref(&source->identity);
	free(source->worker);
}

static const struct tunnel_node_kind kind = {
	.subject = "source",
	.doing = "listening; dialling dest",
	.command = CONFIG_SOURCE,
	.usage = IDENTITY_CLIENT,
	.start = start,
	.stop = stop,
	.drain = on_drain,
	.is_busy = is_busy,
	.take = source_take,
	.status = source_fill_status,
};

int source_command(int argc, char **argv)
{
	struct source source = {.lock = PTHREAD_MUTEX_INITIALIZER};
	source.node = (struct tunnel_node){.kind = &kind, .owner = &source, .config = &source.config};
	return tunnel_node_run(&source.node, argc, argv);
}
