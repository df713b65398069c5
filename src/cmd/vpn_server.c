// The listening side: strangers prove themselves to a responder on each worker. Who is served: with addresses to assign
// as vpn_clients.c says; else one client at a time. The next is let in when the link of the one before is down, or at
// once when it is the same (its certificate has the same subject and issuer) and its link is younger: then its new data
// connections replace the old ones one by one.

#include "cmd/vpn_internal.h"

#include "cmd/tunnel.h"
#include "core/clock.h"
#include "core/log.h"
#include "limits.h"
#include "net/socket.h"
#include "node/mail.h"
#include "node/notify.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

// ---- who is served

static bool is_same_peer(struct link *a, struct link *b)
{
	const struct link_peer *one = link_peer(a), *other = link_peer(b);
	return strcmp(one->certificate.subject, other->certificate.subject) == 0 &&
	       strcmp(one->certificate.issuer, other->certificate.issuer) == 0;
}

// A late data connection of a link that its client has replaced already must not take it back.
static bool is_younger(struct link *link, struct link *than)
{
	struct link_state mine, other;
	link_read(link, &mine);
	link_read(than, &other);
	return mine.up_since_ms >= other.up_since_ms;
}

static void on_other(void *contents)
{
	struct vpn_news *news = contents;
	lanes_drop(news->worker->vpn->lanes, news->worker->index, NULL, news->link);
	link_unref(&news->link);
}

// From any worker.
static bool admits(struct vpn *vpn, struct link *link)
{
	pthread_mutex_lock(&vpn->lock);
	struct link *now = vpn->link;
	bool is_known = now == link, is_same = now && is_same_peer(now, link);
	bool is_admitted = is_known || !now || !link_is_up(now) || (is_same && is_younger(link, now));
	if (is_admitted && !is_known) {
		vpn->link = link_ref(link);
		vpn->last_up_ms = clock_ms();
	}
	pthread_mutex_unlock(&vpn->lock);
	if (!is_admitted || is_known)
		return is_admitted;
	log_info("vpn", "the client is %s (%s) on link %s", link_peer(link)->certificate.subject, link_peer(link)->address,
	         link_name(link));
	notify_status("serving %s", link_peer(link)->node_name);
	if (now && !is_same)
		vpn_tell_all(vpn, on_other, link);
	link_unref(&now);
	return true;
}

static bool on_up(void *owner, struct link *link)
{
	struct vpn_worker *worker = owner;
	// Point to point its data connections decide; the registry and the log have it.
	return !worker->vpn->clients || vpn_clients_up(worker->vpn, link);
}

static void on_over(void *contents)
{
	struct vpn_news *news = contents;
	stream_drop_parked(news->link);
	link_unref(&news->link);
}

static void on_down(void *owner, struct link *link, bool cut)
{
	struct vpn_worker *worker = owner;
	struct vpn *vpn = worker->vpn;
	if (vpn->clients) {
		vpn_clients_down(vpn, link);
		vpn_tell_all(vpn, cut ? vpn_on_cut : on_over, link);
		return;
	}
	pthread_mutex_lock(&vpn->lock);
	bool was_served = vpn->link == link;
	if (was_served) {
		vpn->link = NULL;
		vpn->last_up_ms = clock_ms();
	}
	pthread_mutex_unlock(&vpn->lock);
	vpn_tell_all(vpn, cut ? vpn_on_cut : on_over, link);
	if (!was_served)
		return;
	notify_status("waiting for the client");
	link_unref(&(struct link *){link});
}

static void take_lane(struct vpn_worker *worker, struct stream *stream, const struct header *header)
{
	struct lanes_peer *peer = vpn_clients_peer(worker->vpn, stream_link(stream));
	if (!peer)
		stream_refuse(&stream, HEADER_LIMIT, "another link of this client has taken over");
	else
		lanes_take(worker->vpn->lanes, worker->index, peer, stream, header->port);
	lanes_peer_unref(&peer);
}

static enum control_reason grant(void *owner, const struct link_peer *peer, struct grant *given,
                                 char text[LIMIT_REASON_BYTES + 1])
{
	struct vpn_worker *worker = owner;
	return worker->vpn->clients ? vpn_clients_grant(worker->vpn, peer, given, text) : CONTROL_REASON_NONE;
}

static void on_header(void *owner, struct stream *stream, const struct header *header)
{
	struct vpn_worker *worker = owner;
	struct vpn *vpn = worker->vpn;
	// Hostile: a client of ours opens nothing else.
	if (header->kind != HEADER_PACKETS)
		stream_refuse(&stream, HEADER_NO_SERVICE, "this node carries packets only");
	else if (vpn->clients)
		take_lane(worker, stream, header);
	else if (!admits(vpn, stream_link(stream)))
		stream_refuse(&stream, HEADER_LIMIT, "the server serves another client, or another link of this one");
	else
		lanes_take(vpn->lanes, worker->index, lanes_only(vpn->lanes), stream, header->port);
}

static const struct responder_ops responder_ops = {.grant = grant,
                                                   .on_up = on_up,
                                                   .on_down = on_down,
                                                   .on_header = on_header};

// ---- connections

struct arrival {
	struct vpn_worker *worker;
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

// In turn, so that the data connections of a client are spread; one with fewer lanes comes first.
static void on_accept(void *owner, int fd, const struct address *peer)
{
	struct vpn *vpn = owner;
	unsigned best = vpn->turn++ % vpn->worker_count;
	for (unsigned i = 0; i < vpn->worker_count; i++)
		if (lanes_of(vpn->lanes, i) + 1 < lanes_of(vpn->lanes, best))
			best = i;
	struct arrival arrival = {.worker = &vpn->worker[best], .fd = fd, .peer = *peer};
	if (!mail_send(arrival.worker->loop, on_arrival, &arrival, sizeof arrival))
		socket_close(&fd);
}

static void on_broken(void *owner)
{
	struct vpn *vpn = owner;
	process_fail(vpn->process, 1);
}

static int open_door(struct vpn *vpn, const char *ip, uint16_t port, struct listener **door)
{
	struct address address;
	char text[ADDRESS_TEXT_BYTES];
	if (address_from_ip(ip, port, &address) != 0)
		return 2; // has been checked with the configuration
	address_format(&address, text);
	int r = listener_open(workers_loop(vpn->workers, 0), &address, on_accept, vpn, door);
	if (r < 0) {
		log_error("vpn", "cannot listen on %s: %s", text, tunnel_listen_problem(&address, r));
		return 1;
	}
	listener_on_broken(*door, on_broken);
	return 0;
}

// Either kind of connection is taken on either; which one it is its handshake says.
int vpn_server_doors(struct vpn *vpn)
{
	const struct config_of_vpn *config = &vpn->config->vpn;
	bool is_one = config->control_port == config->data_port &&
	              strcmp(config->control_bind_address, config->data_bind_address) == 0;
	int r = open_door(vpn, config->control_bind_address, config->control_port, &vpn->doors[0]);
	if (r == 0 && !is_one)
		r = open_door(vpn, config->data_bind_address, config->data_port, &vpn->doors[1]);
	if (r == 0)
		log_info("vpn", "clients are accepted on port %u, their data connections on port %u", config->control_port,
		         config->data_port);
	return r;
}

// ---- out of a configuration

static struct responder_settings settings_of(struct vpn_worker *worker)
{
	struct vpn *vpn = worker->vpn;
	const struct config *config = vpn->config;
	struct link_settings link = tunnel_link(config);
	link.connections_max = LIMIT_LANES_PER_NUMBER * config->vpn.stream_count + LIMIT_LANES_SPARE;
	return (struct responder_settings){
		.loop = worker->loop,
		.identity = vpn->identity,
		.pq = tunnel_pq(config),
		.allowed_peers = (const char *const *)config->auth.allowed_peers,
		.allowed_count = config->auth.allowed_peer_count,
		.congestion = config->link.congestion,
		.keepalive_ms = config->link.keep_alive_interval_ms,
		.handshake_ms = config->link.handshake_timeout_ms,
		.user_timeout_ms = config->link.user_timeout_ms,
		.registry = vpn->registry,
		.gate = vpn->gate,
		.keyserver = vpn->keyserver,
		.control = vpn_control(vpn, config, CONTROL_RESPONDER),
		.link = link,
	};
}

int vpn_server_worker(struct vpn_worker *worker)
{
	struct responder_settings settings = settings_of(worker);
	return responder_new(&settings, &responder_ops, worker, &worker->responder);
}

int vpn_server_set(struct vpn_worker *worker)
{
	struct responder_settings settings = settings_of(worker);
	return responder_set(worker->responder, &settings);
}

static int make_keyserver(struct vpn *vpn, const struct config *config)
{
	uint32_t rotation_ms = config->crypto.key_rotation_interval_seconds * 1000;
	if (config->crypto.kem_mode == CONFIG_KEM_MLKEM768)
		return 0;
	if (vpn->keyserver) {
		keyserver_set(vpn->keyserver, rotation_ms);
		return 0;
	}
	int r = keyserver_new(rotation_ms, &vpn->keyserver);
	return r == 0 ? keyserver_wait(vpn->keyserver) : r;
}

int vpn_server_tables(struct vpn *vpn, const struct config *config)
{
	struct admission_limits limits = {
		.in_flight = LIMIT_CONTROL_HANDSHAKES,
		.per_address = LIMIT_CONTROL_HANDSHAKES_PER_ADDRESS,
		.window_ms = LIMIT_ADDRESS_WINDOW_MS,
		.table = LIMIT_ADDRESS_TABLE,
	};
	int r = vpn->registry ? 0 : registry_new(&vpn->registry);
	if (r == 0 && !vpn->gate)
		r = gate_new(&limits, NULL, 0, &vpn->gate);
	return r == 0 ? make_keyserver(vpn, config) : r;
}

static void on_goaway(void *contents)
{
	struct vpn_worker *worker = *(struct vpn_worker **)contents;
	if (worker->responder)
		responder_goaway(worker->responder, 0);
}

void vpn_server_drain(struct vpn *vpn)
{
	for (unsigned i = 0; i < COUNT_OF(vpn->doors); i++)
		listener_close(&vpn->doors[i]);
	for (unsigned i = 0; i < vpn->worker_count; i++) {
		struct vpn_worker *worker = &vpn->worker[i];
		mail_send_surely(worker->loop, on_goaway, &worker, sizeof worker);
	}
}
