// A new configuration for a running proxy.

#include "cmd/proxy_internal.h"
#include "cmd/tunnel.h"
#include "core/log.h"

#include <errno.h>
#include <stdio.h>

static int apply(void *owner, unsigned index, struct loop *loop)
{
	(void)loop;
	struct proxy *proxy = owner;
	struct proxy_worker *worker = &proxy->worker[index];
	struct tls_profile *profile = NULL;
	char problem[PROXY_PROBLEM_BYTES] = "";
	int r = proxy_make_profile(proxy->config, &proxy->material, &profile, problem);
	if (r != 0)
		return r < 0 ? r : -EINVAL; // it was made a moment ago, on worker 0
	struct sidecars_settings settings = proxy_sidecars_settings(worker, profile);
	// Whatever has changed, in the files or in the configuration: who would not be let in now goes.
	r = sidecars_set(worker->sidecars, &settings, true);
	tls_profile_free(&profile);
	return r;
}

// Everything that may fail. `material` and `targets` are filled as far as it went.
static int prepare(struct proxy *proxy, const struct config *next, struct proxy_material *material,
                   struct targets **targets, char problem[TUNNEL_RELOAD_PROBLEM_BYTES])
{
	struct tls_profile *profile = NULL;
	struct sidecar_limits limits = proxy_limits(next);
	int r = proxy_check_life(next, problem);
	if (r == 0)
		r = proxy_material_load(next, material, problem);
	if (r == 0)
		r = proxy_make_profile(next, material, &profile, problem);
	tls_profile_free(&profile);
	if (r == 0)
		r = proxy_make_targets(next, proxy->targets, targets);
	if (r == 0)
		r = sidecar_shares_set(proxy->shares, &limits);
	if (r < 0)
		snprintf(problem, TUNNEL_RELOAD_PROBLEM_BYTES, "%s", outcome_text(r));
	return r;
}

int proxy_take(void *owner, struct config **next, struct identity **identity, char problem[TUNNEL_RELOAD_PROBLEM_BYTES])
{
	(void)identity;
	struct proxy *proxy = owner;
	struct proxy_material material = {0};
	struct targets *targets = NULL;
	int r = prepare(proxy, *next, &material, &targets, problem);
	if (r != 0) {
		proxy_material_fini(&material);
		targets_unref(&targets);
		return r;
	}
	struct config *old = proxy->config;
	struct proxy_material old_material = proxy->material;
	struct targets *old_targets = proxy->targets;
	pthread_mutex_lock(&proxy->lock);
	proxy->config = *next;
	proxy->material = material;
	proxy->targets = targets;
	pthread_mutex_unlock(&proxy->lock);
	*next = NULL;
	tunnel_log(proxy->config);
	process_set_drain(proxy->node.process, proxy->config->node.drain_timeout_seconds * 1000);
	// Waits for every worker: nobody looks at the old texts afterwards.
	r = workers_each(proxy->node.workers, apply, proxy);
	struct probes_settings probes = proxy_probes_settings(proxy->config);
	if (r == 0)
		r = probes_set(proxy->probes, proxy->targets, &probes);
	if (r < 0) {
		// A worker that could not take it uses texts of the old one until the process has ended.
		log_error("proxy", "the new configuration cannot be put into force on every worker: %s", outcome_text(r));
		process_fail(proxy->node.process, 1);
		return 0;
	}
	proxy_set_life(proxy);
	config_free(&old);
	proxy_material_fini(&old_material);
	targets_unref(&old_targets);
	return 0;
}
