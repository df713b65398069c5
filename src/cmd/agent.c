#include "cmd/agent.h"

#include "cmd/agent_internal.h"
#include "cmd/tunnel.h"
#include "cmd/tunnel_socket.h"
#include "config/target.h"
#include "core/clock.h"
#include "core/log.h"
#include "node/mail.h"
#include "node/notify.h"

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
	else if (atomic_load(&worker->agent->draining))
		stream_refuse(&stream, HEADER_DRAINING, "the device's agent stops");
	else
		flows_take_stream(worker->flows, stream, header);
}

struct pool_settings agent_pool_settings(struct agent_worker *worker)
{
	const struct agent *agent = worker->agent;
	const struct config *config = agent->config;
	unsigned wanted = atomic_load(&agent->draining) ? 0 : config->agent.parked_connections;
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
	atomic_store(&agent->draining, true);
	for (unsigned i = 0; i < agent->worker_count; i++) {
		struct agent_worker *worker = &agent->worker[i];
		mail_send_surely(worker->loop, on_drain_worker, &worker, sizeof worker);
	}
}

static bool is_busy(void *owner)
{
	return agent_flows_open(owner) > 0;
}

static void on_reload(void *owner)
{
	struct config_reload outcome;
	(void)agent_reload(owner, &outcome);
	config_reload_fini(&outcome);
}

static const struct process_ops process_ops = {.on_drain = on_drain, .is_busy = is_busy, .on_reload = on_reload};

static void on_ask_reload(void *owner, reload_answer_fn answer, void *to)
{
	struct config_reload outcome;
	bool ok = agent_reload(owner, &outcome);
	tunnel_socket_report(ok, &outcome, answer, to);
	config_reload_fini(&outcome);
}

static bool on_ask_drain(void *owner)
{
	struct agent *agent = owner;
	return process_drain(agent->process, "asked to on the control socket");
}

static const struct control_socket_ops control_socket_ops = {.status = agent_fill_status,
                                                             .reload = on_ask_reload,
                                                             .drain = on_ask_drain};

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
	int r = workers_new(config->node.workers, &agent->workers);
	if (r < 0)
		return r;
	agent->worker_count = workers_count(agent->workers);
	agent->worker = calloc(agent->worker_count, sizeof *agent->worker);
	r = agent->worker ? workers_each(agent->workers, start_worker, agent) : -ENOMEM;
	if (r == 0)
		r = process_open(workers_loop(agent->workers, 0), config->node.drain_timeout_seconds * 1000, &process_ops,
		                 agent, &agent->process);
	if (r == 0)
		r = watchdog_open(agent->workers, notify_watchdog_ms(), notify_alive, &agent->watchdog);
	return r;
}

static int start(struct agent *agent)
{
	const struct config *config = agent->config;
	int r = tunnel_identity(config, IDENTITY_CLIENT, &agent->identity);
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
		r = tunnel_socket_open(config, "agent", workers_loop(agent->workers, 0), &control_socket_ops, agent,
		                       &agent->control_socket);
	// Last: who hears of /health may count on all the rest.
	if (r == 0)
		r = tunnel_http(config, agent_fill_status, agent, &agent->http);
	return r;
}

static void stop(struct agent *agent)
{
	if (agent->http)
		http_stop(&agent->http);
	control_socket_close(&agent->control_socket);
	if (agent->worker && agent->workers)
		(void)!workers_each(agent->workers, stop_worker, agent);
	initiator_free(&agent->initiator, CONTROL_REASON_SHUTDOWN);
	watchdog_close(&agent->watchdog);
	process_close(&agent->process);
	link_unref(&agent->link);
	workers_free(&agent->workers);
	keycache_free(&agent->keycache);
	service_table_unref(&agent->services);
	if (agent->identity)
		identity_unref(&agent->identity);
	free(agent->worker);
}

static int run(struct agent *agent)
{
	int r = workers_run(agent->workers);
	if (r == 0)
		return process_exit_code(agent->process);
	log_error("agent", "the main loop failed: %s", outcome_text(r));
	return 1;
}

int agent_command(int argc, char **argv)
{
	struct agent agent = {.argc = argc - 1,
	                      .argv = argv + 1,
	                      .lock = PTHREAD_MUTEX_INITIALIZER,
	                      .started_ms = clock_ms()};
	int r = config_load(CONFIG_AGENT, agent.argc, agent.argv, stdout, stderr, &agent.config);
	if (r != 0)
		return r == CONFIG_HELP ? 0 : r == CONFIG_BAD ? 2 : 1;
	tunnel_log(agent.config);
	int status = process_start() != 0;
	if (status == 0)
		status = start(&agent);
	if (status == 0)
		status = process_confine_here() != 0;
	if (status == 0) {
		notify_ready();
		notify_status("dialling the hub");
		log_info("agent", "qanat %s is running with %u workers", QANAT_VERSION, agent.worker_count);
		status = run(&agent);
	}
	stop(&agent);
	config_free(&agent.config);
	return status;
}
