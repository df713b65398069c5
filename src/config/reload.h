// The configuration read once more beside the running one: what is wrong with it, what changes at once, what needs a
// restart.

#pragma once

#include "config/config.h"

struct config_names { // texts belong to the list
	char **names;
	size_t count;
};

struct config_reload {
	// Complete, with the running values of the keys that need a restart. NULL when there are problems.
	struct config *next;
	struct config_names problems;      // as they are printed at a start
	struct config_names changed;       // paths of keys whose new value is in `next`
	struct config_names needs_restart; // paths of keys whose new value is not
};

// The same flags, environment and file as at the start (argv after the command word). 0 or CONFIG_BAD;
// config_reload_fini is due in both cases. `running` is only read. What is taken out of `next` is set to NULL there.
MUST_USE int config_reload(enum config_command command, int argc, char **argv, const struct config *running,
                           struct config_reload *reload);
// One more problem, found while the new configuration was tried.
void config_reload_add_problem(struct config_reload *reload, const char *problem);
void config_reload_fini(struct config_reload *reload);
