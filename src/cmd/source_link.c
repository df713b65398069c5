// Source's link: one initiator on worker 0; what it says is told to every worker's pool and flows.

#include "cmd/source_internal.h"
#include "cmd/tunnel.h"
#include "config/dests.h"
#include "core/clock.h"
#include "core/log.h"
#include "node/mail.h"
#include "node/notify.h"

struct news {
	struct source_worker *worker;
	struct link *link; // a reference, or NULL
};

static void on_link(void *contents)
{
	struct news *news = contents;
	struct source_worker *worker = news->worker;
	if (worker->pool && pool_set_link(worker->pool, news->link) < 0)
		log_error("source", "no data connections on this worker: out of memory");
	if (worker->flows && news->link)
		flows_link_is_up(worker->flows);
	link_unref(&news->link);
}

static void on_cut(void *contents)
{
	struct news *news = contents;
	stream_cut_all(news->link);
	link_unref(&news->link);
}

static void tell_all(struct source *source, mail_fn open, struct link *link)
{
	for (unsigned i = 0; i < source->worker_count; i++) {
		struct news news = {.worker = &source->worker[i], .link = link ? link_ref(link) : NULL};
		mail_send_surely(source->worker[i].loop, open, &news, sizeof news);
	}
}

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
	notify_status("link %s with %s is up", link_name(link), link_peer(link)->node_name);
	tell_all(source, on_link, link);
}

static void on_draining(void *owner, struct link *link)
{
	struct source *source = owner;
	keep_link(source, link, false);
	tell_all(source, on_link, NULL);
}

static void on_down(void *owner, struct link *link, bool cut)
{
	struct source *source = owner;
	// An earlier link, which has a successor, takes nothing with it but its own streams.
	if (link == source->link) {
		keep_link(source, NULL, false);
		notify_status("no link with dest: dialling again");
		tell_all(source, on_link, NULL);
	}
	if (cut)
		tell_all(source, on_cut, link);
}

static void on_given_up(void *owner, const char *reason)
{
	(void)reason; // logged
	struct source *source = owner;
	process_fail(source->node.process, 1);
}

static const struct initiator_ops initiator_ops = {.on_up = on_up,
                                                   .on_draining = on_draining,
                                                   .on_down = on_down,
                                                   .on_given_up = on_given_up};

static enum destinations_order order_of(enum config_dest_selection selection)
{
	switch (selection) {
	case CONFIG_DEST_PRIORITY:
		return DESTINATIONS_PRIORITY;
	case CONFIG_DEST_ROUND_ROBIN:
		return DESTINATIONS_ROUND_ROBIN;
	}
	return DESTINATIONS_PRIORITY;
}

// `dests` are lent.
static struct initiator_settings settings_of(struct source *source, const struct config *config,
                                             struct destination dests[LIMIT_DESTS])
{
	size_t count = dests_count(config);
	for (size_t i = 0; i < count; i++)
		dests_get(config, i, dests[i].host, &dests[i].port);
	return (struct initiator_settings){
		.loop = workers_loop(source->node.workers, 0),
		.identity = source->identity,
		.pq = tunnel_pq(config),
		.dests = dests,
		.dest_count = count,
		.order = order_of(config->source.dest_selection),
		.failback_ms = config->source.failback_interval_seconds * 1000,
		.outbound = config->source.allowed_outbound,
		.outbound_count = config->source.allowed_outbound_count,
		.peer_name = config->auth.peer_name,
		.allowed_peers = (const char *const *)config->auth.allowed_peers,
		.allowed_count = config->auth.allowed_peer_count,
		.congestion = config->link.congestion,
		.keepalive_ms = config->link.keep_alive_interval_ms,
		.handshake_ms = config->link.handshake_timeout_ms,
		.user_timeout_ms = config->link.user_timeout_ms,
		.reconnect = config->source.reconnection_enabled,
		.attempts_max = config->source.max_reconnect_attempts,
		.delay_first_ms = config->source.initial_reconnect_delay_ms,
		.delay_max_ms = config->source.max_reconnect_delay_ms,
		.control = tunnel_control(config, CONTROL_INITIATOR),
		.link = tunnel_link(config),
		.keycache = source->keycache,
	};
}

static void on_network_changed(void *owner)
{
	struct source *source = owner;
	if (source->initiator)
		initiator_network_changed(source->initiator);
}

int source_link_start(struct source *source)
{
	// Also when the mode of today needs none: a reload may change it.
	int r = source->keycache ? 0 : keycache_new(2, &source->keycache);
	if (r < 0) {
		log_error("source", "no room for McEliece keys: %s", outcome_text(r));
		return 1;
	}
	struct destination dests[LIMIT_DESTS];
	struct initiator_settings settings = settings_of(source, source->config, dests);
	r = initiator_new(&settings, &initiator_ops, source, &source->initiator);
	if (r < 0)
		log_error("source", "cannot start: %s", outcome_text(r));
	tunnel_node_watch_network(&source->node, on_network_changed);
	return r < 0;
}

void source_link_set(struct source *source)
{
	struct destination dests[LIMIT_DESTS];
	struct initiator_settings settings = settings_of(source, source->config, dests);
	int r = initiator_set(source->initiator, &settings);
	if (r < 0) {
		// A revocation may be among what is not in force: better no source than one that keeps such a link.
		log_error("source", "the new configuration cannot be put into force on the link: %s", outcome_text(r));
		process_fail(source->node.process, 1);
	}
}
