#include "cmd/proxy.h"

#include "cmd/proxy_internal.h"
#include "cmd/tunnel.h"
#include "cmd/tunnel_node.h"
#include "cmd/tunnel_socket.h"
#include "core/clock.h"
#include "core/log.h"
#include "node/mail.h"
#include "node/notify.h"

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
	atomic_store(&proxy->draining, true);
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

static bool reload(void *owner)
{
	struct config_reload outcome;
	bool ok = proxy_reload(owner, &outcome);
	config_reload_fini(&outcome);
	return ok;
}

static void on_reload(void *owner)
{
	(void)reload(owner);
}

static const struct process_ops process_ops = {.on_drain = on_drain, .is_busy = is_busy, .on_reload = on_reload};

// ---- the control socket -------------------------------------------------------------------------------------------

static void on_ask_reload(void *owner, reload_answer_fn answer, void *to)
{
	struct config_reload outcome;
	bool ok = proxy_reload(owner, &outcome);
	tunnel_socket_report(ok, &outcome, answer, to);
	config_reload_fini(&outcome);
}

static bool on_ask_drain(void *owner)
{
	struct proxy *proxy = owner;
	return process_drain(proxy->process, "asked to on the control socket");
}

static const struct control_socket_ops control_socket_ops = {.status = proxy_fill_status,
                                                             .reload = on_ask_reload,
                                                             .drain = on_ask_drain};

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
	int r = workers_new(config->node.workers, &proxy->workers);
	if (r < 0)
		return r;
	proxy->worker_count = workers_count(proxy->workers);
	proxy->worker = calloc(proxy->worker_count, sizeof *proxy->worker);
	r = proxy->worker ? workers_each(proxy->workers, start_worker, proxy) : -ENOMEM;
	if (r == 0)
		r = process_open(workers_loop(proxy->workers, 0), config->node.drain_timeout_seconds * 1000, &process_ops,
		                 proxy, &proxy->process);
	if (r == 0)
		r = watchdog_open(proxy->workers, notify_watchdog_ms(), notify_alive, &proxy->watchdog);
	if (r == 0)
		r = life_open(workers_loop(proxy->workers, 0), reload, proxy, &proxy->life);
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
	int r = probes_new(workers_loop(proxy->workers, 0), &proxy->probes);
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
		r = tunnel_socket_open(proxy->config, "proxy", workers_loop(proxy->workers, 0), &control_socket_ops, proxy,
		                       &proxy->control_socket);
	// Last: who hears of /health may count on all the rest.
	if (r == 0)
		r = tunnel_http(proxy->config, proxy_fill_status, proxy, &proxy->http);
	return r;
}

static void stop(void *owner)
{
	struct proxy *proxy = owner;
	if (proxy->http)
		http_stop(&proxy->http);
	control_socket_close(&proxy->control_socket);
	proxy_doors_close(proxy);
	probes_free(&proxy->probes);
	if (proxy->worker && proxy->workers)
		(void)!workers_each(proxy->workers, stop_worker, proxy);
	life_close(&proxy->life);
	watchdog_close(&proxy->watchdog);
	process_close(&proxy->process);
	workers_free(&proxy->workers);
	targets_unref(&proxy->targets);
	sidecar_shares_free(&proxy->shares);
	proxy_material_fini(&proxy->material);
	free(proxy->doors);
	free(proxy->worker);
}

int proxy_command(int argc, char **argv)
{
	struct proxy proxy = {.argc = argc - 1,
	                      .argv = argv + 1,
	                      .lock = PTHREAD_MUTEX_INITIALIZER,
	                      .started_ms = clock_ms()};
	return tunnel_node_run(&(struct tunnel_node){.subject = "proxy",
	                                             .doing = "accepting connections",
	                                             .command = CONFIG_PROXY,
	                                             .argc = proxy.argc,
	                                             .argv = proxy.argv,
	                                             .config = &proxy.config,
	                                             .workers = &proxy.workers,
	                                             .process = &proxy.process,
	                                             .owner = &proxy,
	                                             .start = start,
	                                             .stop = stop});
}
