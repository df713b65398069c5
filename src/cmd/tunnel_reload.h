// Reading the configuration again while a node runs: what `source` and `dest` have in common. Everything is tried
// before anything is swapped: whatever is wrong, the old configuration serves on.

#pragma once

#include "config/reload.h"
#include "crypto/identity.h"
#include "ops/status.h"

#define TUNNEL_RELOAD_PROBLEM_BYTES 512

struct tunnel_reload {
	enum config_command command;
	int argc; // after the command word
	char **argv;
	const struct config *running;
	enum identity_usage usage;
	bool has_own_files; // [auth] is not for it: `take` loads what it needs, and gets no identity
	void *owner;
	// Puts both into force and takes them (NULL is left). 0; otherwise nothing has changed and `problem` says why.
	int (*take)(void *owner, struct config **next, struct identity **identity,
	            char problem[TUNNEL_RELOAD_PROBLEM_BYTES]);
};

// Runs it on worker 0. The outcome is logged, counted, and kept in `outcome` (config_reload_fini is due; `next` is
// NULL). True: the new configuration is in force.
bool tunnel_reload(const struct tunnel_reload *reload, struct config_reload *outcome);
// What the last one came to. From any thread.
void tunnel_reload_show(struct status_node *status);
