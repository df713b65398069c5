#include "cmd/agent.h"

#include "cmd/agent_internal.h"
#include "cmd/tunnel.h"
#include "config/target.h"
#include "core/log.h"
#include "node/mail.h"

#include <errno.h>
#include <stdlib.h>

uint64_t agent_flows_open(const struct agent *agent)
{
	uint64_t sum = 0;
	for (unsigned i = 0; i < agent->worker_count; i++)
		sum += flows_open(agent->worker[i].flows);
	return sum;
}

// ---- out of a configuration ----------------------------------------------------------------------------------------

static void on_header(void *owner, struct stream *stream, const struct header *header)
{
	struct agent_worker *worker = owner;
	// Hostile: services carry bytes here; whoever asks for datagrams asks for what is not offered.
	if (header->kind != HEADER_TCP)
		stream_refuse(&stream, HEADER_NO_SERVICE, "no such service on the device");
	else if (atomic_load(&worker->agent->node.draining))
		stream_refuse(&stream, HEADER_DRAINING, "the device's agent stops");
	else
		flows_take_stream(worker->flows, stream, header);
}

struct pool_settings agent_pool_settings(struct agent_worker *worker)
{
	const struct agent *agent = worker->agent;
	const struct config *config = agent->config;
	unsigned wanted = atomic_load(&agent->node.draining) ? 0 : config->agent.parked_connections;
	return (struct pool_settings){
		.loop = worker->loop,
		.size = wanted / agent->worker_count + (worker->index < wanted % agent->worker_count),
		.congestion = config->link.congestion,
		.keepalive_ms = config->link.keep_alive_interval_ms,
		.handshake_ms = config->link.handshake_timeout_ms,
		.on_header = on_header,
		.on_claim_lost = agent_claim_lost,
		.owner = worker,
	};
}

struct flows_settings agent_flows_settings(const struct agent *agent, struct loop *loop)
{
	const struct config *config = agent->config;
	struct flows_settings settings = {
		.loop = loop,
		.congestion = config->link.congestion,
		.keepalive_ms = config->link.keep_alive_interval_ms,
		.target_ms = config->agent.target_connect_timeout_ms,
		.is_impatient = true,
		.idle_ms = config->agent.idle_timeout_ms,
		.age_ms = config->link.max_stream_age_seconds * 1000ULL,
		.services = agent->services,
	};
	identity_describe(identity_certificate(agent->identity), &settings.own);
	return settings;
}

static void take_service(const struct config *config, const struct config_agent_service *from,
                         char host[TARGET_HOST_BYTES], struct service_settings *to)
{
	*to = (struct service_settings){
		.name = from->name,
		.target_host = host,
		.connections_max = from->max_connections ? from->max_connections : config->agent.max_connections_per_service,
		.protocol = SERVICE_TCP,
		.clients = (const char *const *)from->allowed_hubs,
		.client_count = from->allowed_hub_count,
		.introduces = from->proxy == CONFIG_PROXY_V2,
	};
	(void)target_split(from->target, host, &to->target_port); // checked when it was read
	log_info("agent", "service \"%s\" reaches %s", from->name, from->target);
}

int agent_make_services(const struct agent *agent, const struct config *config, struct service_table **services)
{
	const struct config_of_agent *from = &config->agent;
	struct service_settings *list = calloc(from->service_count + 1, sizeof *list);
	char(*hosts)[TARGET_HOST_BYTES] = calloc(from->service_count + 1, sizeof *hosts);
	size_t count = 0;
	int r = list && hosts ? 0 : -ENOMEM;
	if (r == 0 && from->local_host)
		list[count++] = (struct service_settings){.name = "default",
		                                          .target_host = from->local_host,
		                                          .target_port = from->local_port,
		                                          .connections_max = from->max_connections_per_service};
	for (size_t i = 0; r == 0 && i < from->service_count; i++, count++)
		take_service(config, &from->services[i], hosts[i], &list[count]);
	if (r == 0)
		r = service_table_new(list, count, agent->services, services);
	free(hosts);
	free(list);
	return r;
}

// ---- the process ---------------------------------------------------------------------------------------------------

static void on_drain_worker(void *contents)
{
	struct agent_worker *worker = *(struct agent_worker **)contents;
	struct pool_settings pool = agent_pool_settings(worker);
	if (worker->pool)
		pool_set(worker->pool, &pool);
}

static void on_drain(void *owner)
{
	struct agent *agent = owner;
	for (unsigned i = 0; i < agent->worker_count; i++) {
		struct agent_worker *worker = &agent->worker[i];
		mail_send_surely(worker->loop, on_drain_worker, &worker, sizeof worker);
	}
}

static bool is_busy(void *owner)
{
	return agent_flows_open(owner) > 0;
}

// ---- start and stop ------------------------------------------------------------------------------------------------

static int start_worker(void *owner, unsigned index, struct loop *loop)
{
	struct agent *agent = owner;
	struct agent_worker *worker = &agent->worker[index];
	*worker = (struct agent_worker){.agent = agent, .loop = loop, .index = index};
	struct flows_settings flows = agent_flows_settings(agent, loop);
	int r = flows_new(&flows, &worker->flows);
	if (r < 0)
		return r;
	struct pool_settings pool = agent_pool_settings(worker);
	return pool_new(&pool, &worker->pool);
}

static int stop_worker(void *owner, unsigned index, struct loop *loop)
{
	(void)loop;
	struct agent *agent = owner;
	pool_free(&agent->worker[index].pool);
	flows_free(&agent->worker[index].flows);
	return 0;
}

static int start_workers(struct agent *agent)
{
	const struct config *config = agent->config;
	int r = workers_new(config->node.workers, &agent->node.workers);
	if (r < 0)
		return r;
	agent->worker_count = workers_count(agent->node.workers);
	agent->worker = calloc(agent->worker_count, sizeof *agent->worker);
	r = agent->worker ? workers_each(agent->node.workers, start_worker, agent) : -ENOMEM;
	if (r == 0)
		r = tunnel_node_open(&agent->node);
	if (r == 0)
		tunnel_node_set_life(&agent->node, agent->identity);
	return r;
}

static int start(void *owner)
{
	struct agent *agent = owner;
	const struct config *config = agent->config;
	int r = tunnel_node_identity(&agent->node, &agent->identity);
	if (r != 0)
		return r;
	r = agent_make_services(agent, config, &agent->services);
	if (r == 0)
		r = start_workers(agent);
	if (r < 0) {
		log_error("agent", "cannot start: %s", outcome_text(r));
		return 1;
	}
	r = agent_link_start(agent);
	if (r == 0)
		r = tunnel_node_serve(&agent->node);
	return r;
}

static void stop(void *owner)
{
	struct agent *agent = owner;
	tunnel_node_unserve(&agent->node);
	if (agent->worker && agent->node.workers)
		(void)!workers_each(agent->node.workers, stop_worker, agent);
	initiator_free(&agent->initiator, CONTROL_REASON_SHUTDOWN);
	link_unref(&agent->link);
	tunnel_node_close(&agent->node);
	keycache_free(&agent->keycache);
	service_table_unref(&agent->services);
	if (agent->identity)
		identity_unref(&agent->identity);
	free(agent->worker);
}

static const struct tunnel_node_kind kind = {
	.subject = "agent",
	.doing = "dialling the hub",
	.command = CONFIG_AGENT,
	.usage = IDENTITY_CLIENT,
	.start = start,
	.stop = stop,
	.drain = on_drain,
	.is_busy = is_busy,
	.take = agent_take,
	.status = agent_fill_status,
};

int agent_command(int argc, char **argv)
{
	struct agent agent = {.lock = PTHREAD_MUTEX_INITIALIZER};
	agent.node = (struct tunnel_node){.kind = &kind, .owner = &agent, .config = &agent.config};
	return tunnel_node_run(&agent.node, argc, argv);
}
