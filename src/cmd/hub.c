#include "cmd/hub.h"

#include "cmd/hub_internal.h"
#include "cmd/tunnel.h"
#include "cmd/tunnel_socket.h"
#include "core/clock.h"
#include "core/log.h"
#include "link/hello.h"
#include "net/socket.h"
#include "node/mail.h"
#include "node/notify.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- connections of devices ----------------------------------------------------------------------------------------

struct arrival {
	struct hub_worker *worker;
	int fd;
	struct address peer;
};

static void on_arrival(void *contents)
{
	struct arrival *arrival = contents;
	if (arrival->worker->responder)
		responder_take(arrival->worker->responder, &arrival->fd, &arrival->peer);
	socket_close(&arrival->fd);
}

// In turn: a parked connection is worth as much as a control connection, and both last.
static void on_accept(void *owner, int fd, const struct address *peer)
{
	struct hub *hub = owner;
	struct arrival arrival = {.worker = &hub->worker[hub->turn++ % hub->worker_count], .fd = fd, .peer = *peer};
	if (!mail_send(arrival.worker->loop, on_arrival, &arrival, sizeof arrival))
		socket_close(&fd);
}

// ---- out of a configuration ----------------------------------------------------------------------------------------

struct responder_settings hub_responder_settings(struct hub *hub, unsigned index)
{
	const struct config *config = hub->config;
	struct responder_settings settings = {
		.loop = hub->worker[index].loop,
		.identity = hub->identity,
		.pq = tunnel_pq(config),
		.allowed_peers = (const char *const *)config->auth.allowed_peers,
		.allowed_count = config->auth.allowed_peer_count,
		.congestion = config->link.congestion,
		.keepalive_ms = config->link.keep_alive_interval_ms,
		.handshake_ms = config->link.handshake_timeout_ms,
		.user_timeout_ms = config->link.user_timeout_ms,
		.registry = hub->registry,
		.gate = hub->gate,
		.keyserver = hub->keyserver,
		.control = tunnel_control(config, CONTROL_RESPONDER),
		.link = tunnel_link(config),
		.reverse = hub->worker[index].reverse,
	};
	settings.control.hello.features |= HELLO_REVERSE;
	return settings;
}

struct flows_settings hub_flows_settings(const struct hub *hub, struct loop *loop)
{
	const struct config *config = hub->config;
	return (struct flows_settings){
		.loop = loop,
		.congestion = config->link.congestion,
		.keepalive_ms = config->link.keep_alive_interval_ms,
		.wait_ms = config->hub.open_timeout_ms,
		.idle_ms = config->hub.idle_timeout_ms,
		.age_ms = config->link.max_stream_age_seconds * 1000ULL,
	};
}

struct fleet_settings hub_fleet_settings(const struct config *config)
{
	return (struct fleet_settings){.devices_max = config->hub.max_devices,
	                               .any_key = config->hub.takeover == CONFIG_HUB_SAME_NAME,
	                               .bytes_per_second = config->hub.max_bytes_per_second_per_device};
}

void hub_set_limits(struct hub *hub)
{
	atomic_store(&hub->open_timeout_ms, hub->config->hub.open_timeout_ms);
	atomic_store(&hub->channels_max, hub->config->hub.max_channels_per_device);
	if (hub->pins)
		pins_set(hub->pins, hub->config->hub.max_claims_per_key);
}

int hub_make_keyserver(struct hub *hub, const struct config *config)
{
	if (config->crypto.kem_mode == CONFIG_KEM_MLKEM768)
		return 0;
	uint32_t rotation_ms = config->crypto.key_rotation_interval_seconds * 1000;
	if (hub->keyserver) {
		keyserver_set(hub->keyserver, rotation_ms);
		return 0;
	}
	int r = keyserver_new(rotation_ms, &hub->keyserver);
	return r == 0 ? keyserver_wait(hub->keyserver) : r;
}

// ---- the process ---------------------------------------------------------------------------------------------------

static void on_goaway(void *contents)
{
	struct hub_worker *worker = *(struct hub_worker **)contents;
	if (worker->responder)
		responder_goaway(worker->responder, worker->hub->config->node.drain_timeout_seconds * 1000);
}

static void on_drain(void *owner)
{
	struct hub *hub = owner;
	atomic_store(&hub->draining, true);
	listener_close(&hub->listener);
	hub_seats_close(hub);
	for (unsigned i = 0; i < hub->worker_count; i++) {
		struct hub_worker *worker = &hub->worker[i];
		mail_send_surely(worker->loop, on_goaway, &worker, sizeof worker);
	}
}

static bool is_busy(void *owner)
{
	struct hub *hub = owner;
	return atomic_load(&hub->channels) > 0;
}

static void on_reload(void *owner)
{
	struct config_reload outcome;
	(void)hub_reload(owner, &outcome);
	config_reload_fini(&outcome);
}

static const struct process_ops process_ops = {.on_drain = on_drain, .is_busy = is_busy, .on_reload = on_reload};

static void on_ask_reload(void *owner, reload_answer_fn answer, void *to)
{
	struct config_reload outcome;
	bool ok = hub_reload(owner, &outcome);
	tunnel_socket_report(ok, &outcome, answer, to);
	config_reload_fini(&outcome);
}

static bool on_ask_drain(void *owner)
{
	struct hub *hub = owner;
	return process_drain(hub->process, "asked to on the control socket");
}

static const struct control_socket_ops control_socket_ops = {.status = hub_fill_status,
                                                             .reload = on_ask_reload,
                                                             .drain = on_ask_drain,
                                                             .devices = hub_answer_devices,
                                                             .kick = hub_answer_kick};

// ---- start and stop ------------------------------------------------------------------------------------------------

static int start_worker(void *owner, unsigned index, struct loop *loop)
{
	struct hub *hub = owner;
	struct hub_worker *worker = &hub->worker[index];
	*worker = (struct hub_worker){.hub = hub, .loop = loop, .policy = hub->policy};
	int r = reverse_worker_new(hub->reverse, index, loop, &worker->reverse);
	if (r < 0)
		return r;
	struct flows_settings flows = hub_flows_settings(hub, loop);
	r = flows_new(&flows, &worker->flows);
	if (r < 0)
		return r;
	struct responder_settings settings = hub_responder_settings(hub, index);
	return responder_new(&settings, &hub_responder_ops, worker, &worker->responder);
}

static int stop_flows(void *owner, unsigned index, struct loop *loop)
{
	struct hub *hub = owner;
	(void)loop;
	flows_free(&hub->worker[index].flows);
	return 0;
}

static int stop_worker(void *owner, unsigned index, struct loop *loop)
{
	struct hub *hub = owner;
	(void)loop;
	// The responder tells its reverse worker of the links that go with it.
	responder_free(&hub->worker[index].responder, CONTROL_REASON_SHUTDOWN);
	reverse_worker_free(&hub->worker[index].reverse);
	return 0;
}

static int open_files(struct hub *hub)
{
	const struct config_of_hub *config = &hub->config->hub;
	char problem[HUB_POLICY_PROBLEM_BYTES] = "";
	int r = hub_policy_new(hub->config, &hub->policy, problem);
	if (r != 0) {
		log_error("hub", "cannot start: %s", problem);
		return 2;
	}
	if (config->audit_path && (r = audit_open(config->audit_path, &hub->audit)) < 0) {
		log_error("hub", "hub.audit_path: %s: %s", config->audit_path, outcome_text(r));
		return 1;
	}
	if (config->identity != CONFIG_HUB_CLAIMED)
		return 0;
	log_warn("hub",
	         "hub.identity is \"claimed\": devices are called what they say; one that has another's key can pass "
	         "for it. Certificates of their own are better");
	problem[0] = '\0';
	struct pins_settings pins = {.path = config->claims_path,
	                             .most = LIMIT_DEVICES,
	                             .most_per_key = config->max_claims_per_key,
	                             .on_kept = hub_on_kept,
	                             .owner = hub};
	r = pins_open(&pins, &hub->pins, problem);
	if (r != 0)
		log_error("hub", "hub.claims_path: %s: %s", config->claims_path, r < 0 ? outcome_text(r) : problem);
	return r != 0;
}

static int open_tables(struct hub *hub)
{
	const struct config *config = hub->config;
	struct admission_limits limits = {
		.in_flight = config->hub.handshakes_at_once,
		.per_address = config->hub.handshakes_per_address,
		.window_ms = LIMIT_ADDRESS_WINDOW_MS,
		.table = LIMIT_ADDRESS_TABLE,
	};
	struct fleet_settings fleet = hub_fleet_settings(config);
	hub_set_limits(hub);
	int r = fleet_new(&fleet, &hub->fleet);
	if (r == 0)
		r = registry_new(&hub->registry);
	if (r == 0)
		r = gate_new(&limits, config->hub.allowed_source_ips, config->hub.allowed_source_count, &hub->gate);
	if (r == 0)
		r = hub_make_keyserver(hub, config);
	if (r < 0)
		log_error("hub", "cannot start: %s", outcome_text(r));
	return r < 0;
}

static void on_broken(void *owner)
{
	struct hub *hub = owner;
	process_fail(hub->process, 1);
}

static int open_listener(struct hub *hub)
{
	const struct config_of_hub *config = &hub->config->hub;
	struct address address;
	char text[ADDRESS_TEXT_BYTES];
	if (address_from_ip(config->listen_ip, config->listen_port, &address)) {
		log_error("hub", "hub.listen_ip \"%s\" is not an address", config->listen_ip);
		return 2;
	}
	int r = listener_open(workers_loop(hub->workers, 0), &address, on_accept, hub, &hub->listener);
	address_format(&address, text);
	if (r < 0) {
		log_error("hub", "cannot listen on %s (hub.listen_port): %s", text, tunnel_listen_problem(&address, r));
		return 1;
	}
	listener_on_broken(hub->listener, on_broken);
	log_info("hub", "devices are accepted on %s, their sockets are in %s", text, config->directory);
	return 0;
}

static int open_doors(struct hub *hub)
{
	char problem[DOORS_PROBLEM_BYTES] = "no memory";
	struct doors_settings settings = {.loop = workers_loop(hub->workers, 0),
	                                  .path = hub->config->hub.directory,
	                                  .mode = hub->policy->mode,
	                                  .uid = hub->policy->uid,
	                                  .gid = hub->policy->gid,
	                                  .on_accept = hub_seat_accept};
	int r = doors_new(&settings, &hub->doors, problem);
	if (r != 0)
		log_error("hub", "hub.directory: %s", problem);
	return r != 0;
}

static int start_workers(struct hub *hub)
{
	const struct config *config = hub->config;
	int r = workers_new(config->node.workers, &hub->workers);
	if (r < 0)
		return r;
	hub->worker_count = workers_count(hub->workers);
	hub->worker = calloc(hub->worker_count, sizeof *hub->worker);
	r = hub->worker ? reverse_new(hub->worker_count, &hub->reverse) : -ENOMEM;
	if (r == 0)
		r = workers_each(hub->workers, start_worker, hub);
	if (r == 0)
		r = process_open(workers_loop(hub->workers, 0), config->node.drain_timeout_seconds * 1000, &process_ops, hub,
		                 &hub->process);
	if (r == 0)
		r = watchdog_open(hub->workers, notify_watchdog_ms(), notify_alive, &hub->watchdog);
	return r;
}

static int start(struct hub *hub)
{
	int r = tunnel_identity(hub->config, IDENTITY_SERVER, &hub->identity);
	if (r == 0)
		r = open_files(hub);
	if (r == 0)
		r = open_tables(hub);
	if (r != 0)
		return r;
	r = start_workers(hub);
	if (r < 0) {
		log_error("hub", "cannot start: %s", outcome_text(r));
		return 1;
	}
	r = open_doors(hub);
	if (r == 0)
		r = hub_channels_init(hub) < 0;
	if (r == 0)
		r = open_listener(hub);
	if (r == 0)
		r = tunnel_socket_open(hub->config, "hub", workers_loop(hub->workers, 0), &control_socket_ops, hub,
		                       &hub->control_socket);
	// Last: who hears of /health may count on all the rest.
	if (r == 0)
		r = tunnel_http(hub->config, hub_fill_status, hub, &hub->http);
	return r;
}

static void stop(struct hub *hub)
{
	if (hub->http)
		http_stop(&hub->http);
	control_socket_close(&hub->control_socket);
	listener_close(&hub->listener);
	hub_seats_close(hub);
	atomic_store(&hub->draining, true);
	// Flows first, on all workers: a wish that is refused may end on any of them.
	if (hub->worker && hub->workers) {
		(void)!workers_each(hub->workers, stop_flows, hub);
		(void)!workers_each(hub->workers, stop_worker, hub);
	}
	doors_free(&hub->doors);
	pins_close(&hub->pins); // which may still tell workers of names
	hub_channels_fini(hub);
	watchdog_close(&hub->watchdog);
	process_close(&hub->process);
	workers_free(&hub->workers);
	reverse_free(&hub->reverse);
	keyserver_free(&hub->keyserver);
	registry_free(&hub->registry);
	gate_free(&hub->gate);
	fleet_free(&hub->fleet);
	audit_close(&hub->audit);
	hub_policy_free(&hub->policy);
	if (hub->identity)
		identity_unref(&hub->identity);
	free(hub->worker);
}

static int run(struct hub *hub)
{
	int r = workers_run(hub->workers);
	if (r == 0)
		return process_exit_code(hub->process);
	log_error("hub", "the main loop failed: %s", outcome_text(r));
	return 1;
}

// -4 and -6 of the seed stand for listen_ip.
static void take_families(int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		if (strcmp(argv[i], "-4") == 0)
			argv[i] = (char *)"--listen-ip=0.0.0.0";
		else if (strcmp(argv[i], "-6") == 0)
			argv[i] = (char *)"--listen-ip=::";
	}
}

int hub_command(int argc, char **argv)
{
	struct hub hub = {.argc = argc - 1,
	                  .argv = argv + 1,
	                  .lock = PTHREAD_MUTEX_INITIALIZER,
	                  .joined.lock = PTHREAD_MUTEX_INITIALIZER,
	                  .started_ms = clock_ms()};
	take_families(hub.argc, hub.argv);
	int r = config_load(CONFIG_HUB, hub.argc, hub.argv, stdout, stderr, &hub.config);
	if (r != 0)
		return r == CONFIG_HELP ? 0 : r == CONFIG_BAD ? 2 : 1;
	tunnel_log(hub.config);
	int status = process_start() != 0;
	if (status == 0)
		status = start(&hub);
	if (status == 0)
		status = process_confine_here() != 0;
	if (status == 0) {
		notify_ready();
		notify_status("accepting devices");
		log_info("hub", "qanat %s is running with %u workers", QANAT_VERSION, hub.worker_count);
		status = run(&hub);
	}
	stop(&hub);
	config_free(&hub.config);
	return status;
}
