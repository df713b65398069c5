// A new configuration for a running source.

#include "cmd/source_internal.h"
#include "cmd/tunnel.h"
#include "cmd/tunnel_reload.h"
#include "core/log.h"

#include <stdio.h>

void source_set_life(struct source *source)
{
	struct identity_files files = tunnel_identity_files(source->config, IDENTITY_CLIENT);
	life_set(source->life, source->config, &(struct life_files){&files, 1},
	         &(struct life_identities){.list = &source->identity, .count = 1});
}

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
static int take(void *owner, struct config **next, struct identity **identity,
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
	process_set_drain(source->process, source->config->node.drain_timeout_seconds * 1000);
	// Waits for every worker: nobody looks at the old texts afterwards.
	(void)!workers_each(source->workers, apply, source);
	source_link_set(source);
	config_free(&old);
	identity_unref(&old_identity);
	source_set_life(source);
	return 0;
}

bool source_reload(struct source *source, struct config_reload *outcome)
{
	struct tunnel_reload reload = {.command = CONFIG_SOURCE,
	                               .argc = source->argc,
	                               .argv = source->argv,
	                               .running = source->config,
	                               .usage = IDENTITY_CLIENT,
	                               .owner = source,
	                               .take = take};
	life_mark(source->life);
	if (!atomic_load(&source->draining))
		return tunnel_reload(&reload, outcome);
	log_warn("source", "stopping: the configuration is not read again");
	*outcome = (struct config_reload){0};
	config_reload_add_problem(outcome, "stopping: the configuration is not read again");
	return false;
}
