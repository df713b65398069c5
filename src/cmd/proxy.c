#include "cmd/proxy.h"

#include "cmd/proxy_internal.h"
#include "cmd/tunnel.h"
#include "core/clock.h"
#include "core/log.h"
#include "node/mail.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

// ---- the process ---------------------------------------------------------------------------------------------------

static void on_drain_worker(void *contents)
{
	struct proxy_worker *worker = *(struct proxy_worker **)contents;
	if (worker->sidecars)
		sidecars_drain(worker->sidecars);
}

static void on_drain(void *owner)
{
	struct proxy *proxy = owner;
	proxy_doors_close(proxy);
	for (unsigned i = 0; i < proxy->worker_count; i++) {
		struct proxy_worker *worker = &proxy->worker[i];
		mail_send_surely(worker->loop, on_drain_worker, &worker, sizeof worker);
	}
}

static bool is_busy(void *owner)
{
	return proxy_open(owner) > 0;
}

// ---- start and stop ------------------------------------------------------------------------------------------------

static int start_worker(void *owner, unsigned index, struct loop *loop)
{
	struct proxy *proxy = owner;
	struct proxy_worker *worker = &proxy->worker[index];
	struct tls_profile *profile = NULL;
	char problem[PROXY_PROBLEM_BYTES] = "";
	worker->proxy = proxy;
	worker->loop = loop;
	int r = proxy_make_profile(proxy->config, &proxy->material, &profile, problem);
	if (r > 0) {
		log_error("proxy", "%s", problem);
		return -EINVAL;
	}
	if (r < 0)
		return r;
	struct sidecars_settings settings = proxy_sidecars_settings(worker, profile);
	r = sidecars_new(&settings, &worker->sidecars);
	tls_profile_free(&profile);
	return r;
}

static int stop_worker(void *owner, unsigned index, struct loop *loop)
{
	(void)loop;
	struct proxy *proxy = owner;
	sidecars_free(&proxy->worker[index].sidecars);
	authorise_unref(&proxy->worker[index].authorise);
	return 0;
}

static int start_workers(struct proxy *proxy)
{
	const struct config *config = proxy->config;
	int r = workers_new(config->node.workers, &proxy->node.workers);
	if (r < 0)
		return r;
	proxy->worker_count = workers_count(proxy->node.workers);
	proxy->worker = calloc(proxy->worker_count, sizeof *proxy->worker);
	r = proxy->worker ? workers_each(proxy->node.workers, start_worker, proxy) : -ENOMEM;
	if (r == 0)
		r = tunnel_node_open(&proxy->node);
	if (r == 0)
		proxy_set_life(proxy);
	return r;
}

// All that can be wrong with files is found before anything is opened.
static int load(struct proxy *proxy)
{
	char problem[PROXY_PROBLEM_BYTES] = "";
	struct tls_profile *profile = NULL;
	int r = proxy_material_load(proxy->config, &proxy->material, problem);
	if (r == 0)
		r = proxy_make_profile(proxy->config, &proxy->material, &profile, problem);
	tls_profile_free(&profile);
	if (r == 0)
		return 0;
	log_error("proxy", "%s", r > 0 ? problem : outcome_text(r));
	return 1;
}

static int start_probes(struct proxy *proxy)
{
	struct probes_settings settings = proxy_probes_settings(proxy->config);
	int r = probes_new(workers_loop(proxy->node.workers, 0), &proxy->probes);
	if (r == 0)
		r = probes_set(proxy->probes, proxy->targets, &settings);
	if (r < 0)
		log_error("proxy", "cannot check targets: %s", outcome_text(r));
	return r;
}

static int start(void *owner)
{
	struct proxy *proxy = owner;
	struct sidecar_limits limits = proxy_limits(proxy->config);
	if (proxy_prepare_life(proxy->config) != 0 || load(proxy) != 0)
		return 1;
	proxy->refusals.per_second = LIMIT_REFUSAL_LINES_PER_S;
	int r = sidecar_shares_new(&limits, clock_ns(), &proxy->shares);
	if (r == 0)
		r = proxy_make_targets(proxy->config, NULL, &proxy->targets);
	if (r == 0)
		r = start_workers(proxy);
	if (r < 0) {
		log_error("proxy", "cannot start: %s", outcome_text(r));
		return 1;
	}
	r = start_probes(proxy) < 0;
	if (r == 0)
		r = proxy_doors_open(proxy);
	if (r == 0)
		r = tunnel_node_serve(&proxy->node);
	return r;
}

static void stop(void *owner)
{
	struct proxy *proxy = owner;
	tunnel_node_unserve(&proxy->node);
	proxy_doors_close(proxy);
	probes_free(&proxy->probes);
	if (proxy->worker && proxy->node.workers)
		(void)!workers_each(proxy->node.workers, stop_worker, proxy);
	tunnel_node_close(&proxy->node);
	targets_unref(&proxy->targets);
	sidecar_shares_free(&proxy->shares);
	proxy_material_fini(&proxy->material);
	free(proxy->doors);
	free(proxy->worker);
}

static const struct tunnel_node_kind kind = {
	.subject = "proxy",
	.doing = "accepting connections",
	.command = CONFIG_PROXY,
	.has_own_files = true,
	.start = start,
	.stop = stop,
	.drain = on_drain,
	.is_busy = is_busy,
	.take = proxy_take,
	.status = proxy_fill_status,
};

int proxy_command(int argc, char **argv)
{
	struct proxy proxy = {.lock = PTHREAD_MUTEX_INITIALIZER};
	proxy.node = (struct tunnel_node){.kind = &kind, .owner = &proxy, .config = &proxy.config};
	return tunnel_node_run(&proxy.node, argc, argv);
}
