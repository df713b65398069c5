// A command that is a node, from its configuration to its exit status: the order of start and stop that all have in
// common.

#pragma once

#include "config/config.h"
#include "node/process.h"
#include "node/workers.h"

struct tunnel_node {
	const char *subject; // of its log: "dest"
	const char *doing;   // for the service manager, once it runs
	enum config_command command;
	int argc; // after the command word
	char **argv;
	struct config **config;         // set before `start`, freed after `stop`
	struct workers *const *workers; // both are there once `start` has succeeded
	struct process *const *process;
	void *owner;
	int (*start)(void *owner); // an exit status; problems have been logged
	void (*stop)(void *owner); // of whatever was started, also of half of it
};

// Returns the exit status: 0 stopped as asked, 1 failure while running, 2 wrong command line or configuration.
int tunnel_node_run(const struct tunnel_node *node);
