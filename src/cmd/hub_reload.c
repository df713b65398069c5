// A new configuration for a running hub.

#include "cmd/hub_internal.h"
#include "cmd/hub_ports.h"
#include "cmd/tunnel.h"
#include "core/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static int apply(void *owner, unsigned index, struct loop *loop)
{
	struct hub *hub = owner;
	struct hub_worker *worker = &hub->worker[index];
	struct flows_settings flows = hub_flows_settings(hub, loop);
	struct responder_settings responder = hub_responder_settings(hub, index);
	worker->policy = hub->policy;
	flows_set(worker->flows, &flows);
	return responder_set(worker->responder, &responder);
}

static int prepare(struct hub *hub, const struct config *next, struct hub_policy **policy,
                   char problem[TUNNEL_RELOAD_PROBLEM_BYTES])
{
	char text[HUB_POLICY_PROBLEM_BYTES];
	int r = hub_policy_new(next, policy, text);
	if (r != 0) {
		snprintf(problem, TUNNEL_RELOAD_PROBLEM_BYTES, "%s", text);
		return r;
	}
	struct cidr *sources = gate_copy_sources(next->hub.allowed_source_ips, next->hub.allowed_source_count);
	char ports[HUB_PORTS_PROBLEM_BYTES] = "";
	if (!sources)
		r = -ENOMEM;
	// One that is there already is told the new interval below: a reload that is refused changes nothing.
	if (r == 0 && !hub->keyserver)
		r = hub_make_keyserver(hub, next);
	if (r == 0)
		r = hub_ports_set(hub, next, ports);
	if (r < 0) {
		free(sources);
		hub_policy_free(policy);
		snprintf(problem, TUNNEL_RELOAD_PROBLEM_BYTES, "%s", ports[0] ? ports : outcome_text(r));
		return r;
	}
	// Nothing can fail from here on.
	gate_take_sources(hub->gate, &sources, next->hub.allowed_source_count);
	return hub->keyserver ? hub_make_keyserver(hub, next) : 0;
}

static void after(struct hub *hub)
{
	struct fleet_settings fleet = hub_fleet_settings(hub->config);
	hub_set_limits(hub);
	fleet_set(hub->fleet, &fleet);
	doors_set(hub->doors, hub->policy->mode, hub->policy->uid, hub->policy->gid);
	hub_seats_look_all(hub);
	audit_reopen(hub->audit);
	hub_cut_denied(hub);
}

int hub_take(void *owner, struct config **next, struct identity **identity, char problem[TUNNEL_RELOAD_PROBLEM_BYTES])
{
	struct hub *hub = owner;
	struct hub_policy *policy = NULL;
	int r = prepare(hub, *next, &policy, problem);
	if (r < 0)
		return r;
	struct config *old = hub->config;
	struct identity *old_identity = hub->identity;
	struct hub_policy *old_policy = hub->policy;
	pthread_mutex_lock(&hub->lock);
	hub->config = *next;
	hub->identity = *identity;
	hub->policy = policy;
	pthread_mutex_unlock(&hub->lock);
	*next = NULL;
	*identity = NULL;
	tunnel_log(hub->config);
	process_set_drain(hub->node.process, hub->config->node.drain_timeout_seconds * 1000);
	// Waits for every worker: nobody looks at the old texts afterwards.
	r = workers_each(hub->node.workers, apply, hub);
	if (r < 0) {
		log_error("hub", "the new configuration cannot be put into force on every worker: %s", outcome_text(r));
		process_fail(hub->node.process, 1);
		return 0;
	}
	after(hub);
	hub_policy_free(&old_policy);
	config_free(&old);
	identity_unref(&old_identity);
	tunnel_node_set_life(&hub->node, hub->identity);
	return 0;
}
