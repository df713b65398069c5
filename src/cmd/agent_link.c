// The agent's link: one initiator on worker 0; what it says is told to every worker's pool. OPENs go to each worker in
// turn, whose pool dials the data connection that the hub waits for.

#include "cmd/agent_internal.h"
#include "cmd/tunnel.h"
#include "config/dests.h"
#include "core/clock.h"
#include "core/log.h"
#include "link/hello.h"
#include "node/mail.h"
#include "node/notify.h"

#include <stdio.h>
#include <string.h>

struct news {
	struct agent_worker *worker;
	struct link *link; // a reference, or NULL
};

static void on_link(void *contents)
{
	struct news *news = contents;
	struct agent_worker *worker = news->worker;
	if (worker->pool && pool_set_link(worker->pool, news->link) < 0)
		log_error("agent", "no data connections on this worker: out of memory");
	link_unref(&news->link);
}

static void on_cut(void *contents)
{
	struct news *news = contents;
	stream_cut_all(news->link);
	link_unref(&news->link);
}

static void tell_all(struct agent *agent, mail_fn open, struct link *link)
{
	for (unsigned i = 0; i < agent->worker_count; i++) {
		struct news news = {.worker = &agent->worker[i], .link = link ? link_ref(link) : NULL};
		mail_send_surely(agent->worker[i].loop, open, &news, sizeof news);
	}
}

static void keep_link(struct agent *agent, struct link *link, bool takes_streams)
{
	pthread_mutex_lock(&agent->lock);
	struct link *old = agent->link;
	agent->link = link ? link_ref(link) : NULL;
	agent->link_takes_streams = takes_streams;
	agent->last_up_ms = clock_ms();
	pthread_mutex_unlock(&agent->lock);
	link_unref(&old);
}

static void on_up(void *owner, struct link *link)
{
	struct agent *agent = owner;
	keep_link(agent, link, true);
	notify_status("link %s with hub %s is up", link_name(link), link_peer(link)->node_name);
	tell_all(agent, on_link, link);
}

static void on_draining(void *owner, struct link *link)
{
	struct agent *agent = owner;
	keep_link(agent, link, false);
	tell_all(agent, on_link, NULL);
}

static void on_down(void *owner, struct link *link, bool cut)
{
	struct agent *agent = owner;
	// An earlier link, which has a successor, takes nothing with it but its own streams.
	if (link == agent->link) {
		keep_link(agent, NULL, false);
		notify_status("no link with a hub: dialling again");
		tell_all(agent, on_link, NULL);
	}
	if (cut)
		tell_all(agent, on_cut, link);
}

static void on_given_up(void *owner, const char *reason)
{
	(void)owner;
	(void)reason; // never: it is told to go on for ever
}

// ---- OPEN ----------------------------------------------------------------------------------------------------------

struct claim {
	struct agent_worker *worker;
	struct link *link;
	struct control_open open;
	struct header_answer answer;
};

static void on_claim_refused(void *contents)
{
	struct claim *claim = contents;
	if (claim->worker->agent->initiator)
		initiator_open_failed(claim->worker->agent->initiator, claim->link, claim->open.token, &claim->answer);
	link_unref(&claim->link);
}

// The link's session is on worker 0.
static void refuse(struct claim *claim, enum header_status status, const char *reason)
{
	claim->answer.status = status;
	snprintf(claim->answer.reason, sizeof claim->answer.reason, "%s", reason);
	mail_send_surely(claim->worker->agent->worker[0].loop, on_claim_refused, claim, sizeof *claim);
}

void agent_claim_lost(void *owner, struct link *link, const uint8_t token[STREAM_TOKEN_BYTES],
                      const struct header_answer *answer)
{
	struct claim claim = {.worker = owner, .link = link_ref(link)};
	memcpy(claim.open.token, token, sizeof claim.open.token);
	refuse(&claim, answer->status, answer->reason);
}

static void on_claim(void *contents)
{
	struct claim *claim = contents;
	int r = claim->worker->pool ? pool_claim(claim->worker->pool, claim->link, &claim->open) : POOL_NO_LINK;
	if (r == 0)
		link_unref(&claim->link);
	else
		refuse(claim, r == POOL_NO_LINK ? HEADER_DRAINING : HEADER_LIMIT,
		       r == POOL_NO_LINK ? "the device gives up this link"
		                         : "the device dials as many connections as it may already");
}

// On worker 0. What is not offered is refused here, before anything is dialled.
static void on_open(void *owner, struct link *link, const struct control_open *open)
{
	struct agent *agent = owner;
	struct claim claim = {.worker = &agent->worker[agent->turn++ % agent->worker_count], .open = *open};
	struct header header = {.kind = HEADER_TCP};
	snprintf(header.service, sizeof header.service, "%s", open->service);
	claim.link = link_ref(link);
	if (atomic_load(&agent->node.draining)) {
		refuse(&claim, HEADER_DRAINING, "the device's agent stops");
	} else if (!service_find(agent->services, &header)) {
		log_warn("agent", "link %s: the hub asks for service %s, which is not offered here", link_name(link),
		         open->service);
		refuse(&claim, HEADER_NO_SERVICE, "no such service on the device");
	} else if (!mail_send(claim.worker->loop, on_claim, &claim, sizeof claim)) {
		refuse(&claim, HEADER_INTERNAL, "out of memory");
	}
}

static const struct initiator_ops initiator_ops = {
	.on_up = on_up, .on_draining = on_draining, .on_down = on_down, .on_open = on_open, .on_given_up = on_given_up};

// ---- out of a configuration ----------------------------------------------------------------------------------------

static size_t list_hubs(const struct config *config, struct destination hubs[LIMIT_DESTS])
{
	size_t count = 0;
	if (config->agent.hub_host) {
		snprintf(hubs[0].host, sizeof hubs[0].host, "%s", config->agent.hub_host);
		hubs[0].port = config->agent.hub_port;
		count = 1;
	}
	for (size_t i = 0; i < config->agent.hub_count && count < LIMIT_DESTS; i++)
		if (!dests_parse(config->agent.hubs[i], hubs[count].host, &hubs[count].port))
			count++;
	return count;
}

static struct control_settings control_of(const struct agent *agent)
{
	const struct config *config = agent->config;
	struct control_settings control = tunnel_control(config, CONTROL_INITIATOR);
	control.hello.features = HELLO_REVERSE;
	control.heartbeat_ms = control.hello.heartbeat_ms = config->agent.ping_seconds * 1000;
	if (control.heartbeat_timeout_ms > control.heartbeat_ms)
		control.heartbeat_timeout_ms = control.heartbeat_ms;
	if (config->agent.name)
		snprintf(control.hello.device, sizeof control.hello.device, "%s", config->agent.name);
	service_list(agent->services, control.hello.services, sizeof control.hello.services);
	return control;
}

// `hubs` are lent.
static struct initiator_settings settings_of(struct agent *agent, struct destination hubs[LIMIT_DESTS])
{
	const struct config *config = agent->config;
	return (struct initiator_settings){
		.loop = workers_loop(agent->node.workers, 0),
		.identity = agent->identity,
		.pq = tunnel_pq(config),
		.dests = hubs,
		.dest_count = list_hubs(config, hubs),
		.order = DESTINATIONS_PRIORITY,
		.failback_ms = config->agent.failback_interval_seconds * 1000,
		.peer_name = config->auth.peer_name,
		.allowed_peers = (const char *const *)config->auth.allowed_peers,
		.allowed_count = config->auth.allowed_peer_count,
		.congestion = config->link.congestion,
		.keepalive_ms = config->link.keep_alive_interval_ms,
		.handshake_ms = config->link.handshake_timeout_ms,
		.user_timeout_ms = config->link.user_timeout_ms,
		.reconnect = true,
		.full_jitter = true,
		.delay_first_ms = config->agent.initial_reconnect_delay_ms,
		.delay_max_ms = config->agent.max_reconnect_delay_ms,
		.control = control_of(agent),
		.link = tunnel_link(config),
		.keycache = agent->keycache,
	};
}

static void on_network_changed(void *owner)
{
	struct agent *agent = owner;
	if (agent->initiator)
		initiator_network_changed(agent->initiator);
}

int agent_link_start(struct agent *agent)
{
	int r = agent->keycache ? 0 : keycache_new(2, &agent->keycache);
	if (r < 0) {
		log_error("agent", "no room for McEliece keys: %s", outcome_text(r));
		return 1;
	}
	struct destination hubs[LIMIT_DESTS];
	struct initiator_settings settings = settings_of(agent, hubs);
	r = initiator_new(&settings, &initiator_ops, agent, &agent->initiator);
	if (r < 0)
		log_error("agent", "cannot start: %s", outcome_text(r));
	tunnel_node_watch_network(&agent->node, on_network_changed);
	return r < 0;
}

void agent_link_set(struct agent *agent)
{
	struct destination hubs[LIMIT_DESTS];
	struct initiator_settings settings = settings_of(agent, hubs);
	int r = initiator_set(agent->initiator, &settings);
	if (r < 0) {
		// A revocation may be among what is not in force: better no agent than one that keeps such a link.
		log_error("agent", "the new configuration cannot be put into force on the link: %s", outcome_text(r));
		process_fail(agent->node.process, 1);
		return;
	}
	// SIGHUP is also what scripts send when the network has changed.
	initiator_network_changed(agent->initiator);
}
