#include "cmd/tunnel_node.h"

#include "cmd/tunnel.h"
#include "core/log.h"
#include "node/notify.h"

#include <stdio.h>

static int run(const struct tunnel_node *node)
{
	notify_ready();
	notify_status("%s", node->doing);
	log_info(node->subject, "qanat %s is running with %u workers", QANAT_VERSION, workers_count(*node->workers));
	int r = workers_run(*node->workers);
	if (r == 0)
		return process_exit_code(*node->process);
	log_error(node->subject, "the main loop failed: %s", outcome_text(r));
	return 1;
}

int tunnel_node_run(const struct tunnel_node *node)
{
	int r = config_load(node->command, node->argc, node->argv, stdout, stderr, node->config);
	if (r != 0)
		return r == CONFIG_HELP ? 0 : r == CONFIG_BAD ? 2 : 1;
	tunnel_log(*node->config);
	int status = process_start() != 0;
	if (status == 0)
		status = node->start(node->owner);
	if (status == 0)
		status = process_confine_here() != 0;
	if (status == 0)
		status = run(node);
	node->stop(node->owner);
	config_free(node->config);
	return status;
}
