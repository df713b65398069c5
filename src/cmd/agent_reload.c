// A new configuration for a running agent.

#include "cmd/agent_internal.h"
#include "cmd/tunnel.h"
#include "core/log.h"

#include <stdio.h>

static int apply(void *owner, unsigned index, struct loop *loop)
{
	struct agent *agent = owner;
	struct agent_worker *worker = &agent->worker[index];
	struct flows_settings flows = agent_flows_settings(agent, loop);
	struct pool_settings pool = agent_pool_settings(worker);
	flows_set(worker->flows, &flows);
	pool_set(worker->pool, &pool);
	return 0;
}

int agent_take(void *owner, struct config **next, struct identity **identity, char problem[TUNNEL_RELOAD_PROBLEM_BYTES])
{
	struct agent *agent = owner;
	struct service_table *services = NULL;
	if (agent_make_services(agent, *next, &services) < 0) {
		snprintf(problem, TUNNEL_RELOAD_PROBLEM_BYTES, "out of memory");
		return 1;
	}
	struct config *old = agent->config;
	struct identity *old_identity = agent->identity;
	pthread_mutex_lock(&agent->lock);
	agent->config = *next;
	agent->identity = *identity;
	service_table_unref(&agent->services);
	agent->services = services;
	pthread_mutex_unlock(&agent->lock);
	*next = NULL;
	*identity = NULL;
	tunnel_log(agent->config);
	process_set_drain(agent->node.process, agent->config->node.drain_timeout_seconds * 1000);
	// Waits for every worker: nobody looks at the old texts afterwards.
	(void)!workers_each(agent->node.workers, apply, agent);
	agent_link_set(agent);
	config_free(&old);
	identity_unref(&old_identity);
	tunnel_node_set_life(&agent->node, agent->identity);
	return 0;
}
