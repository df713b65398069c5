// What people see of `qanat vpn`.

#include "cmd/tunnel.h"
#include "cmd/tunnel_reload.h"
#include "cmd/vpn_internal.h"
#include "core/clock.h"

#include <stdio.h>
#include <stdlib.h>

static void fill_link(struct vpn *vpn, bool is_up, const struct initiator_state *initiator, struct status_link *out)
{
	*out = (struct status_link){.role = vpn->is_server ? "responder" : "initiator", .carrier = "tls", .kem_mode = ""};
	if (vpn->link)
		tunnel_describe_link(vpn->link, out);
	out->state = !vpn->is_server ? initiator->state : is_up ? "up" : "down";
	const char *error = initiator->last_error[0] ? initiator->last_error : vpn->last_refusal;
	if (!out->last_error[0] && !is_up)
		snprintf(out->last_error, sizeof out->last_error, "%.255s", error);
}

static const char *message_of(const struct vpn *vpn, bool is_up, bool is_draining)
{
	if (is_draining)
		return "Stopping";
	if (is_up)
		return "Tunnel is up";
	if (vpn->clients)
		return "Waiting for clients";
	return vpn->is_server ? "Waiting for the client" : "Connecting to the server";
}

// With the lock held.
static void fill(struct vpn *vpn, const struct initiator_state *initiator, struct status_node *status)
{
	uint64_t now = clock_ms();
	bool is_draining = atomic_load(&vpn->draining);
	unsigned up = lanes_up(vpn->lanes);
	bool is_up = up > 0 && !is_draining;
	*status = (struct status_node){
		.command = vpn->is_server ? "vpn server" : "vpn client",
		.version = QANAT_VERSION,
		.uptime_ms = now - vpn->started_ms,
		// A server that waits for its client does what it is for.
		.ready = is_up || (vpn->is_server && !is_draining),
		.health = is_up                                  ? "Healthy"
	              : is_draining || initiator->errors > 0 ? "Unhealthy"
	                                                     : "Connecting",
		.tunnel_established = is_up,
		.last_successful_operation_s = is_up             ? 0
	                                   : vpn->last_up_ms ? (int64_t)((now - vpn->last_up_ms) / 1000)
	                                                     : -1,
		.error_count = vpn->is_server ? tunnel_refusals() : initiator->errors,
		.missed_pongs = vpn->link ? tunnel_missed_pongs(vpn->config, vpn->link) : -1,
		.average_rtt_us = -1,
		.reconnection_attempts = vpn->is_server ? -1 : (int64_t)initiator->attempts,
		.flows_open = up,
		.workers = vpn->worker_count,
	};
	snprintf(status->name, sizeof status->name, "%s", vpn->config->node.name);
	const char *error = is_up ? "" : initiator->last_error[0] ? initiator->last_error : vpn->last_refusal;
	snprintf(status->message, sizeof status->message, "%s%s%.200s", message_of(vpn, is_up, is_draining),
	         error[0] ? ": " : "", error);
	identity_expiry(vpn->identity, &status->own_not_after, &status->ca_not_after);
	tunnel_reload_show(status);
	status->startup_complete = process_is_confined();
	if (vpn->clients) {
		vpn_clients_fill(vpn, status);
		return;
	}
	status->links = calloc(1, sizeof *status->links);
	if (!status->links)
		return;
	status->link_count = 1;
	fill_link(vpn, is_up, initiator, status->links);
	status->average_rtt_us = status->links->rtt_us ? (int64_t)status->links->rtt_us : -1;
}

void vpn_fill_status(void *owner, struct status_node *status)
{
	struct vpn *vpn = owner;
	struct initiator_state initiator = {.state = "down"};
	if (vpn->initiator)
		initiator_read(vpn->initiator, &initiator);
	pthread_mutex_lock(&vpn->lock);
	fill(vpn, &initiator, status);
	pthread_mutex_unlock(&vpn->lock);
}
