// What people see of an agent.

#include "cmd/agent_internal.h"
#include "cmd/tunnel.h"
#include "cmd/tunnel_reload.h"
#include "core/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *health_of(bool ready, bool draining, const struct initiator_state *initiator)
{
	if (ready)
		return "Healthy";
	return initiator->errors > 0 || draining ? "Unhealthy" : "Connecting";
}

static void fill_link(struct link *link, const struct initiator_state *initiator, struct status_link *out)
{
	*out = (struct status_link){.role = "initiator", .carrier = "tls", .kem_mode = ""};
	if (link)
		tunnel_describe_link(link, out);
	out->state = initiator->state;
	if (!out->last_error[0])
		snprintf(out->last_error, sizeof out->last_error, "%s", initiator->last_error);
}

static int64_t missed_pongs(const struct agent *agent)
{
	struct link_state state;
	link_read(agent->link, &state);
	return (int64_t)((clock_ms() - state.heard_ms) / (agent->config->agent.ping_seconds * 1000ULL));
}

// With the lock held.
static void fill(struct agent *agent, const struct initiator_state *initiator, struct status_node *status)
{
	uint64_t now = clock_ms();
	bool draining = atomic_load(&agent->node.draining), ready = agent->link && agent->link_takes_streams && !draining;
	*status = (struct status_node){
		.command = "agent",
		.version = QANAT_VERSION,
		.uptime_ms = now - agent->node.started_ms,
		.ready = ready,
		.health = health_of(ready, draining, initiator),
		.tunnel_established = agent->link != NULL,
		.last_successful_operation_s = agent->link         ? 0
	                                   : agent->last_up_ms ? (int64_t)((now - agent->last_up_ms) / 1000)
	                                                       : -1,
		.error_count = initiator->errors,
		.missed_pongs = agent->link ? missed_pongs(agent) : -1,
		.average_rtt_us = -1,
		.reconnection_attempts = (int64_t)initiator->attempts,
		.flows_open = agent_flows_open(agent),
		.workers = agent->worker_count,
	};
	snprintf(status->name, sizeof status->name, "%s", agent->config->node.name);
	if (ready || draining)
		snprintf(status->message, sizeof status->message, "%s",
		         ready ? "All systems operational" : "Stopping: no new connections");
	else
		snprintf(status->message, sizeof status->message, "Connecting to the hub%s%.200s",
		         initiator->last_error[0] ? ": " : "", initiator->last_error);
	tunnel_describe_services(agent->services, status);
	identity_expiry(agent->identity, &status->own_not_after, &status->ca_not_after);
	tunnel_reload_show(status);
	status->startup_complete = process_is_confined();
	life_show(agent->node.life, status);
	status->links = calloc(1, sizeof *status->links);
	if (!status->links)
		return;
	status->link_count = 1;
	fill_link(agent->link, initiator, status->links);
	status->average_rtt_us = status->links->rtt_us ? (int64_t)status->links->rtt_us : -1;
}

void agent_fill_status(void *owner, struct status_node *status)
{
	struct agent *agent = owner;
	struct initiator_state initiator;
	initiator_read(agent->initiator, &initiator);
	pthread_mutex_lock(&agent->lock);
	fill(agent, &initiator, status);
	pthread_mutex_unlock(&agent->lock);
}
