#include "cmd/tunnel_reload.h"

#include "cmd/life.h"
#include "cmd/tunnel.h"
#include "core/clock.h"
#include "core/counter.h"
#include "core/log.h"
#include "node/notify.h"

#include <stdatomic.h>
#include <stdio.h>

static _Atomic uint64_t last_ms; // 0: there was none
static _Atomic bool last_ok;

void tunnel_reload_show(struct status_node *status)
{
	uint64_t last = atomic_load(&last_ms);
	status->reload_age_ms = last ? (int64_t)(clock_ms() - last) : -1;
	status->reload_ok = atomic_load(&last_ok);
}

static int load_identity(const struct tunnel_reload *reload, const struct config *config, struct identity **identity,
                         char problem[TUNNEL_RELOAD_PROBLEM_BYTES])
{
	struct identity_files files = tunnel_identity_files(config, reload->usage);
	char text[IDENTITY_PROBLEM_BYTES];
	int r = life_check(config, &(struct life_files){&files, 1}, text);
	if (r == 0)
		r = identity_load(&files, identity, text);
	if (r != 0)
		snprintf(problem, TUNNEL_RELOAD_PROBLEM_BYTES, "%s", r == IDENTITY_REFUSED ? text : outcome_text(r));
	return r;
}

static int take(const struct tunnel_reload *reload, struct config_reload *outcome,
                char problem[TUNNEL_RELOAD_PROBLEM_BYTES])
{
	struct identity *identity = NULL;
	int r = reload->has_own_files ? 0 : load_identity(reload, outcome->next, &identity, problem);
	if (r == 0)
		r = reload->take(reload->owner, &outcome->next, &identity, problem);
	if (identity)
		identity_unref(&identity);
	return r;
}

static void say(const struct config_reload *outcome)
{
	for (size_t i = 0; i < outcome->changed.count; i++)
		log_info("reload", "%s has changed", outcome->changed.names[i]);
	for (size_t i = 0; i < outcome->needs_restart.count; i++)
		log_warn("reload", "%s has changed, but needs a restart: the old value stays", outcome->needs_restart.names[i]);
}

bool tunnel_reload(const struct tunnel_reload *reload, struct config_reload *outcome)
{
	char problem[TUNNEL_RELOAD_PROBLEM_BYTES] = "";
	notify_reloading();
	int r = config_reload(reload->command, reload->argc, reload->argv, reload->running, outcome);
	if (r == 0 && (r = take(reload, outcome, problem)) != 0)
		config_reload_add_problem(outcome, problem);
	atomic_store(&last_ok, r == 0);
	atomic_store(&last_ms, clock_ms());
	counter_add(r == 0 ? COUNTER_RELOAD_OK : COUNTER_RELOAD_REFUSED, 1);
	for (size_t i = 0; i < outcome->problems.count; i++)
		log_error("reload", "%s", outcome->problems.names[i]);
	if (r == 0) {
		say(outcome);
		log_info("reload", "the configuration was read again: %zu keys have changed, certificates are fresh",
		         outcome->changed.count);
	} else {
		log_error("reload", "the new configuration is refused (%zu problems); the old one serves on",
		          outcome->problems.count);
	}
	notify_ready();
	notify_status(r == 0 ? "reloaded" : "a reload was refused: the old configuration serves on (see the log)");
	return r == 0;
}
