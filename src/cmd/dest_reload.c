// A new configuration for a running dest.

#include "cmd/dest_internal.h"
#include "cmd/tunnel.h"
#include "core/log.h"

#include <stdio.h>

static int apply(void *owner, unsigned index, struct loop *loop)
{
	struct dest *dest = owner;
	struct dest_worker *worker = &dest->worker[index];
	struct flows_settings flows = dest_flows_settings(dest, loop);
	struct responder_settings responder = dest_responder_settings(dest, loop);
	struct udp_flows_settings udp = dest_udp_settings(dest, loop);
	flows_set(worker->flows, &flows);
	udp_flows_set(worker->udp, &udp);
	return responder_set(worker->responder, &responder);
}

static int prepare(struct dest *dest, const struct config *next, struct service_table **services)
{
	int r = dest_make_services(dest, next, services);
	if (r == 0)
		r = dest_make_keyserver(dest, next);
	if (r == 0)
		r = gate_set_sources(dest->gate, next->dest.allowed_source_ips, next->dest.allowed_source_count);
	return r;
}

int dest_take(void *owner, struct config **next, struct identity **identity, char problem[TUNNEL_RELOAD_PROBLEM_BYTES])
{
	struct dest *dest = owner;
	struct service_table *services = NULL;
	int r = prepare(dest, *next, &services);
	if (r < 0) {
		service_table_unref(&services);
		snprintf(problem, TUNNEL_RELOAD_PROBLEM_BYTES, "%s", outcome_text(r));
		return r;
	}
	struct config *old = dest->config;
	struct identity *old_identity = dest->identity;
	pthread_mutex_lock(&dest->lock);
	dest->config = *next;
	dest->identity = *identity;
	service_table_unref(&dest->services);
	dest->services = services;
	pthread_mutex_unlock(&dest->lock);
	*next = NULL;
	*identity = NULL;
	tunnel_log(dest->config);
	process_set_drain(dest->node.process, dest->config->node.drain_timeout_seconds * 1000);
	// Waits for every worker: nobody looks at the old texts afterwards.
	r = workers_each(dest->node.workers, apply, dest);
	if (r < 0) {
		// A worker whose listener could not be made uses texts of the old one until the process has ended.
		log_error("dest", "the new configuration cannot be put into force on every worker: %s", outcome_text(r));
		process_fail(dest->node.process, 1);
		return 0;
	}
	config_free(&old);
	identity_unref(&old_identity);
	tunnel_node_set_life(&dest->node, dest->identity);
	return 0;
}
