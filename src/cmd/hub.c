#include "cmd/hub.h"

#include "cmd/hub_internal.h"
#include "cmd/hub_ports.h"
#include "cmd/tunnel.h"
#include "core/log.h"
#include "link/hello.h"
#include "net/socket.h"
#include "node/mail.h"

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

uint32_t hub_connections_max(struct hub *hub)
{
	uint32_t channels = atomic_load(&hub->channels_max);
	bool is_many = channels == 0 || channels > LIMIT_LINK_CONNECTIONS - LIMIT_REVERSE_CONNECTIONS;
	return is_many ? LIMIT_LINK_CONNECTIONS : channels + LIMIT_REVERSE_CONNECTIONS;
}

static void limit_connections(void *owner, const struct fleet_view *view)
{
	if (view->link)
		link_limit_connections(view->link, hub_connections_max(owner));
}

void hub_set_limits(struct hub *hub)
{
	atomic_store(&hub->open_timeout_ms, hub->config->hub.open_timeout_ms);
	atomic_store(&hub->channels_max, hub->config->hub.max_channels_per_device);
	if (hub->pins)
		pins_set(hub->pins, hub->config->hub.max_claims_per_key);
	if (hub->fleet)
		(void)fleet_visit(hub->fleet, "", SIZE_MAX, limit_connections, hub);
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
	listener_close(&hub->listener);
	hub_seats_close(hub);
	hub_ports_close(hub);
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
	process_fail(hub->node.process, 1);
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
	int r = listener_open(workers_loop(hub->node.workers, 0), &address, on_accept, hub, &hub->listener);
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
	struct doors_settings settings = {.loop = workers_loop(hub->node.workers, 0),
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

static int open_ports(struct hub *hub)
{
	char problem[HUB_PORTS_PROBLEM_BYTES] = "";
	if (hub_ports_set(hub, hub->config, problem) == 0)
		return 0;
	log_error("hub", "%s", problem);
	return 1;
}

static int start_workers(struct hub *hub)
{
	const struct config *config = hub->config;
	int r = workers_new(config->node.workers, &hub->node.workers);
	if (r < 0)
		return r;
	hub->worker_count = workers_count(hub->node.workers);
	hub->worker = calloc(hub->worker_count, sizeof *hub->worker);
	r = hub->worker ? reverse_new(hub->worker_count, &hub->reverse) : -ENOMEM;
	if (r == 0)
		r = workers_each(hub->node.workers, start_worker, hub);
	if (r == 0)
		r = tunnel_node_open(&hub->node);
	if (r == 0)
		tunnel_node_set_life(&hub->node, hub->identity);
	return r;
}

static int start(void *owner)
{
	struct hub *hub = owner;
	int r = tunnel_node_identity(&hub->node, &hub->identity);
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
		r = open_ports(hub);
	if (r == 0)
		r = tunnel_node_serve(&hub->node);
	return r;
}

static void stop(void *owner)
{
	struct hub *hub = owner;
	tunnel_node_unserve(&hub->node);
	listener_close(&hub->listener);
	hub_seats_close(hub);
	hub_ports_close(hub);
	atomic_store(&hub->node.draining, true);
	// Flows first, on all workers: a wish that is refused may end on any of them.
	if (hub->worker && hub->node.workers) {
		(void)!workers_each(hub->node.workers, stop_flows, hub);
		hub_audit_stop(hub);
		(void)!workers_each(hub->node.workers, stop_worker, hub);
	}
	doors_free(&hub->doors);
	pins_close(&hub->pins); // which may still tell workers of names
	hub_channels_fini(hub);
	tunnel_node_close(&hub->node);
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

static const struct tunnel_node_kind kind = {
	.subject = "hub",
	.doing = "accepting devices",
	.command = CONFIG_HUB,
	.usage = IDENTITY_SERVER,
	.start = start,
	.stop = stop,
	.drain = on_drain,
	.is_busy = is_busy,
	.take = hub_take,
	.status = hub_fill_status,
	.devices = hub_answer_devices,
	.kick = hub_answer_kick,
};

int hub_command(int argc, char **argv)
{
	struct hub hub = {.lock = PTHREAD_MUTEX_INITIALIZER, .joined.lock = PTHREAD_MUTEX_INITIALIZER};
	hub.node = (struct tunnel_node){.kind = &kind, .owner = &hub, .config = &hub.config};
	take_families(argc, argv);
	return tunnel_node_run(&hub.node, argc, argv);
}
