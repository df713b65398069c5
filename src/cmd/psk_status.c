// What people see of `qanat psk`: one link, of the wire's own kind.

#include "cmd/psk_internal.h"

#include "cmd/tunnel_reload.h"
#include "core/clock.h"
#include "core/counter.h"

#include <stdio.h>
#include <stdlib.h>

static void fill_link(struct psk *psk, bool is_up, struct status_link *link)
{
	struct packets_state state;
	packets_read(psk->packets, &state);
	*link = (struct status_link){
		.role = psk->is_server ? "server" : "client",
		.state = is_up            ? "up"
	             : psk->is_server ? "down"
	                              : "connecting",
		.carrier = is_up ? psk->carrier : "",
		.kem_mode = psk->config->psk.pq ? "hybrid" : "none",
		.epoch = is_up ? state.generation : 0,
		.bytes_outward = is_up ? state.bytes_outward : 0,
		.bytes_inward = is_up ? state.bytes_inward : 0,
		.streams_open = is_up,
		.streams_total = psk->sessions,
		.up_ms = is_up ? clock_ms() - psk->up_since_ms : 0,
	};
	if (is_up)
		address_format(&psk->peer, link->peer_address);
	snprintf(link->tls_version, sizeof link->tls_version, "%s", psk->config->psk.pq ? "psk-pq/1" : "ttun/v1");
	snprintf(link->kem_legs, sizeof link->kem_legs, "%s", psk->config->psk.pq ? "X25519+ML-KEM-768" : "");
	snprintf(link->tls_cipher, sizeof link->tls_cipher, "%s",
	         (is_up ? psk->method : psk->config->psk.method) == CONFIG_PSK_AES ? "aes-256-gcm" : "chacha20-poly1305");
	snprintf(link->last_error, sizeof link->last_error, "%s", psk->last_error);
}

// With the lock held.
static void fill(struct psk *psk, struct status_node *status)
{
	uint64_t now = clock_ms();
	bool is_up = psk->peer.length > 0 && !psk->is_draining;
	*status = (struct status_node){
		.command = psk->is_server ? "psk server" : "psk client",
		.version = QANAT_VERSION,
		.uptime_ms = now - psk->started_ms,
		// A server that waits for its client does what it is for.
		.ready = is_up || (psk->is_server && !psk->is_draining),
		.health = is_up              ? "Healthy"
	              : psk->is_draining ? "Unhealthy"
	                                 : "Connecting",
		.tunnel_established = is_up,
		.last_successful_operation_s = is_up             ? 0
	                                   : psk->last_up_ms ? (int64_t)((now - psk->last_up_ms) / 1000)
	                                                     : -1,
		.error_count = psk->failures,
		.missed_pongs = -1,
		.average_rtt_us = -1,
		.reconnection_attempts = psk->is_server ? -1 : (int64_t)psk->attempts,
		.flows_open = is_up,
		.workers = workers_count(psk->workers),
	};
	tunnel_reload_show(status);
	status->startup_complete = process_is_confined();
	snprintf(status->name, sizeof status->name, "%s", psk->config->node.name);
	snprintf(status->message, sizeof status->message, "%s%s%.200s",
	         is_up              ? "Tunnel is up"
	         : psk->is_draining ? "Stopping"
	         : psk->is_server   ? "Waiting for the client"
	                            : "Connecting to the server",
	         psk->last_error[0] ? ": " : "", psk->last_error);
	status->links = calloc(1, sizeof *status->links);
	if (!status->links)
		return;
	status->link_count = 1;
	fill_link(psk, is_up, status->links);
}

void psk_fill_status(void *owner, struct status_node *status)
{
	struct psk *psk = owner;
	pthread_mutex_lock(&psk->lock);
	fill(psk, status);
	pthread_mutex_unlock(&psk->lock);
}
