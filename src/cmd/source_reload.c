// A new configuration for a running source.

#include "cmd/source_internal.h"
#include "cmd/tunnel.h"
#include "core/log.h"

#include <stdio.h>

static int apply(void *owner, unsigned index, struct loop *loop)
{
	struct source *source = owner;
	struct source_worker *worker = &source->worker[index];
	struct pool_settings pool = source_pool_settings(source->config, loop);
	struct flows_settings flows = source_flows_settings(source->config, loop);
	pool_set(worker->pool, &pool);
	flows_set(worker->flows, &flows);
	entries_set(worker->entries, source->routes);
	struct udp_flows_settings udp = source_udp_settings(source, source->config, loop);
	udp_flows_set(worker->udp, &udp);
	return 0;
}

// Only the doors can fail; after them everything is swapped.
int source_take(void *owner, struct config **next, struct identity **identity,
                char problem[TUNNEL_RELOAD_PROBLEM_BYTES])
{
	struct source *source = owner;
	struct route_table *routes;
	if (source_make_routes(*next, &routes) < 0) {
		snprintf(problem, TUNNEL_RELOAD_PROBLEM_BYTES, "out of memory");
		return 1;
	}
	if (source_doors_set(source, *next) != 0) {
		snprintf(problem, TUNNEL_RELOAD_PROBLEM_BYTES, "a listening address is taken or not allowed (named above)");
		route_table_unref(&routes);
		return 1;
	}
	route_table_unref(&source->routes);
	source->routes = routes;
	struct config *old = source->config;
	struct identity *old_identity = source->identity;
	pthread_mutex_lock(&source->lock);
	source->config = *next;
	source->identity = *identity;
	pthread_mutex_unlock(&source->lock);
	*next = NULL;
	*identity = NULL;
	tunnel_log(source->config);
	process_set_drain(source->node.process, source->config->node.drain_timeout_seconds * 1000);
	// Waits for every worker: nobody looks at the old texts afterwards.
	(void)!workers_each(source->node.workers, apply, source);
	source_link_set(source);
	config_free(&old);
	identity_unref(&old_identity);
	tunnel_node_set_life(&source->node, source->identity);
	return 0;
}
