// The dialling side: one initiator on worker 0; what it says is told to every worker's lanes. The device, its routes
// and the lanes that live outlast a link.

#include "cmd/vpn_internal.h"

#include "cmd/tunnel.h"
#include "core/clock.h"
#include "core/log.h"
#include "node/notify.h"

#include <stdio.h>

static void on_link(void *contents)
{
	struct vpn_news *news = contents;
	if (lanes_set_link(news->worker->vpn->lanes, news->worker->index, news->link) < 0)
		log_error("vpn", "no data connections on this worker: out of memory");
	link_unref(&news->link);
}

static void keep_link(struct vpn *vpn, struct link *link)
{
	pthread_mutex_lock(&vpn->lock);
	struct link *old = vpn->link;
	vpn->link = link ? link_ref(link) : NULL;
	vpn->last_up_ms = clock_ms();
	pthread_mutex_unlock(&vpn->lock);
	link_unref(&old);
}

static void on_up(void *owner, struct link *link)
{
	struct vpn *vpn = owner;
	if (!vpn_assign(vpn, link_peer(link))) {
		vpn_note_refusal(vpn, "the addresses that the server assigns cannot be set");
		initiator_refuse(vpn->initiator);
		return;
	}
	keep_link(vpn, link);
	tun_routes_note_link(vpn->routes, true);
	notify_status("link %s with %s is up", link_name(link), link_peer(link)->node_name);
	vpn_tell_all(vpn, on_link, link);
}

static void on_draining(void *owner, struct link *link)
{
	(void)link;
	vpn_tell_all(owner, on_link, NULL);
}

static void on_down(void *owner, struct link *link, bool cut)
{
	struct vpn *vpn = owner;
	// An earlier link, which has a successor, takes nothing with it but its own lanes.
	if (link == vpn->link) {
		keep_link(vpn, NULL);
		tun_routes_note_link(vpn->routes, false);
		notify_status("no link with the server: dialling again");
		vpn_tell_all(vpn, on_link, NULL);
	}
	if (cut)
		vpn_tell_all(vpn, vpn_on_cut, link);
}

static void on_given_up(void *owner, const char *reason)
{
	struct vpn *vpn = owner;
	(void)reason; // logged
	process_fail(vpn->process, 1);
}

static const struct initiator_ops initiator_ops = {.on_up = on_up,
                                                   .on_draining = on_draining,
                                                   .on_down = on_down,
                                                   .on_given_up = on_given_up};

// A server with a route of its own is dialled where that leads to, without a question to a name service.
static size_t list_dests(struct vpn *vpn, const struct config *config, struct destination dests[DIAL_ADDRESSES])
{
	const struct address *known;
	char text[ADDRESS_TEXT_BYTES];
	size_t count = tun_routes_pinned(vpn->routes, &known), used = 0;
	for (size_t i = 0; i < count; i++) {
		address_format(&known[i], text);
		used += address_split(text, dests[used].host, sizeof dests[used].host, &dests[used].port) == 0;
	}
	if (used > 0)
		return used;
	snprintf(dests[0].host, sizeof dests[0].host, "%s", config->vpn.server);
	dests[0].port = config->vpn.control_port;
	return 1;
}

static struct initiator_settings settings_of(struct vpn *vpn, const struct config *config,
                                             struct destination dests[DIAL_ADDRESSES])
{
	struct initiator_settings settings = {
		.loop = workers_loop(vpn->workers, 0),
		.identity = vpn->identity,
		.pq = tunnel_pq(config),
		.dests = dests,
		.dest_count = list_dests(vpn, config, dests),
		.order = DESTINATIONS_PRIORITY,
		.peer_name = config->auth.peer_name ? config->auth.peer_name : config->vpn.server,
		.allowed_peers = (const char *const *)config->auth.allowed_peers,
		.allowed_count = config->auth.allowed_peer_count,
		.congestion = config->link.congestion,
		.keepalive_ms = config->link.keep_alive_interval_ms,
		.handshake_ms = config->link.handshake_timeout_ms,
		.user_timeout_ms = config->link.user_timeout_ms,
		.reconnect = true,
		.delay_first_ms = config->vpn.initial_reconnect_delay_ms,
		.delay_max_ms = config->vpn.max_reconnect_delay_ms,
		.control = vpn_control(vpn, config, CONTROL_INITIATOR),
		.link = tunnel_link(config),
		.keycache = vpn->keycache,
	};
	settings.link.data_port = config->vpn.data_port;
	return settings;
}

int vpn_client_start(struct vpn *vpn)
{
	struct destination dests[DIAL_ADDRESSES];
	int r = keycache_new(2, &vpn->keycache);
	if (r == 0) {
		struct initiator_settings settings = settings_of(vpn, vpn->config, dests);
		r = initiator_new(&settings, &initiator_ops, vpn, &vpn->initiator);
	}
	if (r < 0)
		log_error("vpn", "cannot start: %s", outcome_text(r));
	return r < 0;
}

void vpn_client_set(struct vpn *vpn)
{
	struct destination dests[DIAL_ADDRESSES];
	struct initiator_settings settings = settings_of(vpn, vpn->config, dests);
	int r = initiator_set(vpn->initiator, &settings);
	if (r < 0) {
		log_error("vpn", "the new configuration cannot be put into force on the link: %s", outcome_text(r));
		process_fail(vpn->process, 1);
	}
}
