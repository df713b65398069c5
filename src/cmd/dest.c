#include "cmd/dest.h"

#include "cmd/dest_internal.h"
#include "cmd/tunnel.h"
#include "core/clock.h"
#include "core/log.h"
#include "net/socket.h"
#include "node/mail.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

// ---- connections ---------------------------------------------------------------------------------------------------

uint64_t dest_flows_open(const struct dest *dest)
{
	uint64_t sum = 0;
	for (unsigned i = 0; i < dest->worker_count; i++)
		sum += flows_open(dest->worker[i].flows);
	return sum;
}

struct arrival {
	struct dest_worker *worker;
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

static uint32_t load_of(void *owner, unsigned index)
{
	const struct dest *dest = owner;
	return flows_open(dest->worker[index].flows) + udp_flows_open(dest->worker[index].udp);
}

static void on_accept(void *owner, int fd, const struct address *peer)
{
	struct dest *dest = owner;
	unsigned best = workers_lightest(dest->node.workers, load_of, dest, &dest->turn);
	struct arrival arrival = {.worker = &dest->worker[best], .fd = fd, .peer = *peer};
	if (!mail_send(arrival.worker->loop, on_arrival, &arrival, sizeof arrival))
		socket_close(&fd);
}

static bool on_up(void *owner, struct link *link)
{
	(void)owner;
	(void)link; // the registry and the log have it
	return true;
}

static void on_cut(void *contents)
{
	struct link **link = contents;
	stream_cut_all(*link);
	link_unref(link);
}

static void on_over(void *contents)
{
	struct link **link = contents;
	stream_drop_parked(*link);
	link_unref(link);
}

static void on_down(void *owner, struct link *link, bool cut)
{
	struct dest_worker *worker = owner;
	struct dest *dest = worker->dest;
	for (unsigned i = 0; i < dest->worker_count; i++) {
		struct link *reference = link_ref(link);
		mail_send_surely(dest->worker[i].loop, cut ? on_cut : on_over, &reference, sizeof reference);
	}
}

static void on_header(void *owner, struct stream *stream, const struct header *header)
{
	struct dest_worker *worker = owner;
	// Hostile: only an end of a vpn opens such streams, and a link with one is refused.
	if (header->kind == HEADER_PACKETS)
		stream_refuse(&stream, HEADER_NO_SERVICE, "this node is no end of a vpn");
	else if (header->kind == HEADER_UDP)
		udp_flows_take_stream(worker->udp, stream, header);
	else
		flows_take_stream(worker->flows, stream, header);
}

static const struct responder_ops responder_ops = {.on_up = on_up, .on_down = on_down, .on_header = on_header};

// ---- out of a configuration ----------------------------------------------------------------------------------------

struct responder_settings dest_responder_settings(struct dest *dest, struct loop *loop)
{
	const struct config *config = dest->config;
	struct responder_settings settings = {
		.loop = loop,
		.identity = dest->identity,
		.pq = tunnel_pq(config),
		.allowed_peers = (const char *const *)config->auth.allowed_peers,
		.allowed_count = config->auth.allowed_peer_count,
		.congestion = config->link.congestion,
		.keepalive_ms = config->link.keep_alive_interval_ms,
		.handshake_ms = config->link.handshake_timeout_ms,
		.user_timeout_ms = config->link.user_timeout_ms,
		.registry = dest->registry,
		.gate = dest->gate,
		.keyserver = dest->keyserver,
		.control = tunnel_control(config, CONTROL_RESPONDER),
		.link = tunnel_link(config),
	};
	service_list(dest->services, settings.control.hello.services, sizeof settings.control.hello.services);
	return settings;
}

struct flows_settings dest_flows_settings(struct dest *dest, struct loop *loop)
{
	const struct config *config = dest->config;
	struct flows_settings settings = {
		.loop = loop,
		.congestion = config->link.congestion,
		.keepalive_ms = config->link.keep_alive_interval_ms,
		.target_ms = config->dest.target_connect_timeout_ms,
		.idle_ms = config->dest.idle_timeout_ms,
		.age_ms = config->link.max_stream_age_seconds * 1000ULL,
		.services = dest->services,
		.client_max = config->dest.max_connections_per_client,
		.clients = dest->clients,
	};
	identity_describe(identity_certificate(dest->identity), &settings.own);
	return settings;
}

struct udp_flows_settings dest_udp_settings(struct dest *dest, struct loop *loop)
{
	const struct config *config = dest->config;
	return (struct udp_flows_settings){
		.loop = loop,
		.shares = dest->udp_shares,
		.idle_ms = config->udp.idle_timeout_seconds * 1000,
		.associations_max = config->udp.max_associations,
		.services = dest->services,
		.target_ms = config->dest.target_connect_timeout_ms,
		.peers = dest->clients,
		.peer_max = config->dest.max_connections_per_client,
	};
}

static enum service_protocol protocol_of(enum config_protocol protocol)
{
	return protocol == CONFIG_BOTH ? SERVICE_BOTH : protocol == CONFIG_UDP ? SERVICE_UDP : SERVICE_TCP;
}

int dest_make_services(const struct dest *dest, const struct config *config, struct service_table **services)
{
	struct service_settings *list = calloc(config->dest.service_count + 1, sizeof *list);
	if (!list)
		return -ENOMEM;
	for (size_t i = 0; i < config->dest.service_count; i++) {
		const struct config_service *from = &config->dest.services[i];
		list[i] = (struct service_settings){
			.name = from->name,
			.port = from->port,
			.target_host = from->target_host,
			.target_port = from->target_port,
			.connections_max = from->max_connections ? from->max_connections : config->dest.max_connections_per_service,
			.protocol = protocol_of(from->protocol),
			.clients = (const char *const *)from->allowed_clients,
			.client_count = from->allowed_client_count,
			.introduces = from->proxy == CONFIG_PROXY_V2,
		};
		log_info("dest", "service \"%s\" (port %u) reaches %s:%u", from->name, from->port, from->target_host,
		         from->target_port);
	}
	int r = service_table_new(list, config->dest.service_count, dest->services, services);
	free(list);
	return r;
}

int dest_make_keyserver(struct dest *dest, const struct config *config)
{
	if (config->crypto.kem_mode == CONFIG_KEM_MLKEM768)
		return 0;
	uint32_t rotation_ms = config->crypto.key_rotation_interval_seconds * 1000;
	if (dest->keyserver) {
		keyserver_set(dest->keyserver, rotation_ms);
		return 0;
	}
	int r = keyserver_new(rotation_ms, &dest->keyserver);
	if (r == 0)
		r = keyserver_wait(dest->keyserver);
	return r;
}

// ---- the process ---------------------------------------------------------------------------------------------------

static void on_goaway(void *contents)
{
	struct dest_worker *worker = *(struct dest_worker **)contents;
	if (worker->responder)
		responder_goaway(worker->responder, worker->dest->config->node.drain_timeout_seconds * 1000);
}

static void on_drain(void *owner)
{
	struct dest *dest = owner;
	listener_close(&dest->listener);
	for (unsigned i = 0; i < dest->worker_count; i++) {
		struct dest_worker *worker = &dest->worker[i];
		mail_send_surely(worker->loop, on_goaway, &worker, sizeof worker);
	}
}

static bool is_busy(void *owner)
{
	return dest_flows_open(owner) > 0;
}

// ---- start and stop ------------------------------------------------------------------------------------------------

static int start_worker(void *owner, unsigned index, struct loop *loop)
{
	struct dest *dest = owner;
	struct dest_worker *worker = &dest->worker[index];
	worker->dest = dest;
	worker->loop = loop;
	struct flows_settings flows = dest_flows_settings(dest, loop);
	int r = flows_new(&flows, &worker->flows);
	if (r < 0)
		return r;
	struct udp_flows_settings udp = dest_udp_settings(dest, loop);
	r = udp_flows_new(&udp, &worker->udp);
	if (r < 0)
		return r;
	struct responder_settings settings = dest_responder_settings(dest, loop);
	return responder_new(&settings, &responder_ops, worker, &worker->responder);
}

static int stop_worker(void *owner, unsigned index, struct loop *loop)
{
	(void)loop;
	struct dest *dest = owner;
	flows_free(&dest->worker[index].flows);
	udp_flows_free(&dest->worker[index].udp);
	responder_free(&dest->worker[index].responder, CONTROL_REASON_SHUTDOWN);
	return 0;
}

static int open_tables(struct dest *dest)
{
	const struct config *config = dest->config;
	struct admission_limits limits = {
		.in_flight = LIMIT_CONTROL_HANDSHAKES,
		.per_address = LIMIT_CONTROL_HANDSHAKES_PER_ADDRESS,
		.window_ms = LIMIT_ADDRESS_WINDOW_MS,
		.table = LIMIT_ADDRESS_TABLE,
	};
	int r = quota_new(LIMIT_QUOTA_KEYS, clock_ns(), &dest->clients);
	if (r == 0)
		r = udp_shares_new(clock_ns(), &dest->udp_shares);
	if (r == 0)
		r = dest_make_services(dest, config, &dest->services);
	if (r == 0)
		r = registry_new(&dest->registry);
	if (r == 0)
		r = gate_new(&limits, config->dest.allowed_source_ips, config->dest.allowed_source_count, &dest->gate);
	if (r == 0)
		r = dest_make_keyserver(dest, config);
	if (r < 0) {
		log_error("dest", "cannot start: %s", outcome_text(r));
		return 1;
	}
	return 0;
}

// A dest that accepts nothing is of no use: a supervisor must see it end.
static void on_broken(void *owner)
{
	struct dest *dest = owner;
	process_fail(dest->node.process, 1);
}

static int open_listener(struct dest *dest)
{
	const struct config *config = dest->config;
	struct address address;
	char text[ADDRESS_TEXT_BYTES];
	if (address_from_ip(config->dest.listen_ip, config->dest.tunnel_port, &address)) {
		log_error("dest", "dest.listen_ip \"%s\" is not an address", config->dest.listen_ip);
		return 2;
	}
	address_format(&address, text);
	int r = listener_open(workers_loop(dest->node.workers, 0), &address, on_accept, dest, &dest->listener);
	if (r < 0) {
		log_error("dest", "cannot listen on %s (dest.tunnel_port): %s", text, tunnel_listen_problem(&address, r));
		return 1;
	}
	listener_on_broken(dest->listener, on_broken);
	log_info("dest", "links are accepted on %s", text);
	return 0;
}

static int start_workers(struct dest *dest)
{
	const struct config *config = dest->config;
	int r = workers_new(config->node.workers, &dest->node.workers);
	if (r < 0)
		return r;
	dest->worker_count = workers_count(dest->node.workers);
	dest->worker = calloc(dest->worker_count, sizeof *dest->worker);
	r = dest->worker ? workers_each(dest->node.workers, start_worker, dest) : -ENOMEM;
	if (r == 0)
		r = tunnel_node_open(&dest->node);
	if (r == 0)
		tunnel_node_set_life(&dest->node, dest->identity);
	return r;
}

static int start(void *owner)
{
	struct dest *dest = owner;
	int r = tunnel_node_identity(&dest->node, &dest->identity);
	if (r == 0)
		r = open_tables(dest);
	if (r != 0)
		return r;
	r = start_workers(dest);
	if (r < 0) {
		log_error("dest", "cannot start: %s", outcome_text(r));
		return 1;
	}
	r = open_listener(dest);
	if (r == 0)
		r = tunnel_node_serve(&dest->node);
	return r;
}

static void stop(void *owner)
{
	struct dest *dest = owner;
	tunnel_node_unserve(&dest->node);
	listener_close(&dest->listener);
	if (dest->worker && dest->node.workers)
		(void)!workers_each(dest->node.workers, stop_worker, dest);
	tunnel_node_close(&dest->node);
	keyserver_free(&dest->keyserver);
	registry_free(&dest->registry);
	gate_free(&dest->gate);
	if (dest->identity)
		identity_unref(&dest->identity);
	service_table_unref(&dest->services);
	quota_free(&dest->clients);
	udp_shares_free(&dest->udp_shares);
	free(dest->worker);
}

static const struct tunnel_node_kind kind = {
	.subject = "dest",
	.doing = "accepting links",
	.command = CONFIG_DEST,
	.usage = IDENTITY_SERVER,
	.start = start,
	.stop = stop,
	.drain = on_drain,
	.is_busy = is_busy,
	.take = dest_take,
	.status = dest_fill_status,
};

int dest_command(int argc, char **argv)
{
	struct dest dest = {.lock = PTHREAD_MUTEX_INITIALIZER};
	dest.node = (struct tunnel_node){.kind = &kind, .owner = &dest, .config = &dest.config};
	return tunnel_node_run(&dest.node, argc, argv);
}
