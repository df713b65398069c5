// What people see of source.

#include "cmd/source_internal.h"
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

// With the lock held.
static void fill(struct source *source, const struct initiator_state *initiator, struct status_node *status)
{
	uint64_t now = clock_ms();
	bool draining = atomic_load(&source->node.draining),
		 ready = source->link && source->link_takes_streams && !draining;
	*status = (struct status_node){
		.command = "source",
		.version = QANAT_VERSION,
		.uptime_ms = now - source->node.started_ms,
		.ready = ready,
		.health = health_of(ready, draining, initiator),
		.tunnel_established = source->link != NULL,
		.last_successful_operation_s = source->link         ? 0
	                                   : source->last_up_ms ? (int64_t)((now - source->last_up_ms) / 1000)
	                                                        : -1,
		.error_count = initiator->errors,
		.missed_pongs = source->link ? tunnel_missed_pongs(source->config, source->link) : -1,
		.average_rtt_us = -1,
		.reconnection_attempts = (int64_t)initiator->attempts,
		.flows_open = source_flows_open(source),
		.associations_open = udp_shares_open(source->udp_shares),
		.workers = source->worker_count,
	};
	snprintf(status->name, sizeof status->name, "%s", source->config->node.name);
	if (ready || draining)
		snprintf(status->message, sizeof status->message, "%s",
		         ready ? "All systems operational" : "Stopping: no new connections");
	else
		snprintf(status->message, sizeof status->message, "Establishing tunnel connection%s%.200s",
		         initiator->last_error[0] ? ": " : "", initiator->last_error);
	identity_expiry(source->identity, &status->own_not_after, &status->ca_not_after);
	tunnel_reload_show(status);
	life_show(source->node.life, status);
	status->startup_complete = process_is_confined();
	status->links = calloc(1, sizeof *status->links);
	if (!status->links)
		return;
	status->link_count = 1;
	fill_link(source->link, initiator, status->links);
	status->average_rtt_us = status->links->rtt_us ? (int64_t)status->links->rtt_us : -1;
}

void source_fill_status(void *owner, struct status_node *status)
{
	struct source *source = owner;
	struct initiator_state initiator;
	initiator_read(source->initiator, &initiator);
	pthread_mutex_lock(&source->lock);
	fill(source, &initiator, status);
	pthread_mutex_unlock(&source->lock);
}
