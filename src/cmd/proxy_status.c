// What people see of proxy.

#include "cmd/proxy_internal.h"
#include "cmd/tunnel.h"
#include "cmd/tunnel_reload.h"
#include "core/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void describe_targets(struct proxy *proxy, struct status_node *status)
{
	size_t count = targets_count(proxy->targets);
	status->targets = calloc(count + 1, sizeof *status->targets);
	status->target_count = status->targets ? count : 0;
	for (size_t i = 0; i < status->target_count; i++) {
		struct targets_sight sight;
		targets_look(proxy->targets, i, &sight);
		struct tally *tally = sidecar_tally(proxy->shares, sight.name);
		snprintf(status->targets[i].name, sizeof status->targets[i].name, "%s", sight.name);
		status->targets[i].state = targets_health_name(sight.health);
		if (tally)
			tally_read(tally, &status->targets[i].sums);
	}
}

// The first of our certificates and of those we believe to end.
static void describe_expiry(const struct proxy *proxy, struct status_node *status)
{
	int64_t own, ca, lists;
	for (size_t i = 0; i < proxy->material.identity_count; i++) {
		identity_expiry(proxy->material.identities[i], &own, &ca);
		if (status->own_not_after == 0 || (own != 0 && own < status->own_not_after))
			status->own_not_after = own;
	}
	if (proxy->material.trust)
		trust_expiry(proxy->material.trust, &status->ca_not_after, &lists);
}

static bool some_target_is_down(const struct status_node *status, bool *all)
{
	bool any = false;
	*all = status->target_count > 0;
	for (size_t i = 0; i < status->target_count; i++) {
		bool is_down = strcmp(status->targets[i].state, "down") == 0;
		any = any || is_down;
		*all = *all && is_down;
	}
	return any;
}

// Who is unhealthy is left out by a load balancer. Without checks that would be for ever: then only a client finds out
// that a target is back, and none would come.
static void judge_health(struct status_node *status, bool draining, bool checks)
{
	bool all, any = some_target_is_down(status, &all);
	status->health = draining || (all && checks) ? "Unhealthy" : any ? "Degraded" : "Healthy";
	snprintf(status->message, sizeof status->message, "%s",
	         draining ? "Stopping: no new connections"
	         : all    ? "No target answers"
	         : any    ? "A target does not answer"
	                  : "All systems operational");
}

void proxy_fill_status(void *owner, struct status_node *status)
{
	struct proxy *proxy = owner;
	bool draining = atomic_load(&proxy->node.draining);
	*status = (struct status_node){
		.command = "proxy",
		.version = QANAT_VERSION,
		.uptime_ms = clock_ms() - proxy->node.started_ms,
		.ready = !draining, // the listeners are open before this is served
		.missed_pongs = -1,
		.average_rtt_us = -1,
		.reconnection_attempts = -1,
		.last_successful_operation_s = -1,
		.flows_open = proxy_open(proxy),
		.workers = proxy->worker_count,
		.is_proxy = true,
	};
	tunnel_reload_show(status);
	status->startup_complete = process_is_confined();
	struct tally *total = sidecar_tally(proxy->shares, "");
	if (total)
		tally_read(total, &status->sums);
	status->error_count = status->sums.number[TALLY_UNREACHABLE];
	for (size_t i = TALLY_OK + 1; i < TALLY_OUTCOME_COUNT; i++)
		status->error_count += status->sums.word[TALLY_OUTCOME][i];
	pthread_mutex_lock(&proxy->lock);
	describe_targets(proxy, status);
	describe_expiry(proxy, status);
	snprintf(status->name, sizeof status->name, "%s", proxy->config->node.name ? proxy->config->node.name : "");
	bool checks = proxy->config->proxy.health_kind != CONFIG_HEALTH_OFF;
	pthread_mutex_unlock(&proxy->lock);
	judge_health(status, draining, checks);
	life_show(proxy->node.life, status);
}
