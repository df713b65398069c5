// A new configuration for a running vpn: certificates, lists, keys and timings. The device stays as it is.

#include "cmd/tunnel.h"
#include "cmd/tunnel_reload.h"
#include "cmd/vpn_internal.h"
#include "core/log.h"

#include <errno.h>
#include <stdio.h>

static int apply(void *owner, unsigned index, struct loop *loop)
{
	struct vpn *vpn = owner;
	(void)loop;
	if (vpn->is_server)
		return vpn_server_set(&vpn->worker[index]);
	struct lanes_dialling dialling = vpn_dialling(vpn->config);
	lanes_set_dialling(vpn->lanes, index, &dialling);
	return 0;
}

static int take(void *owner, struct config **next, struct identity **identity,
                char problem[TUNNEL_RELOAD_PROBLEM_BYTES])
{
	struct vpn *vpn = owner;
	if (vpn->is_server && vpn_clients_are_for(*next) != (vpn->clients != NULL)) {
		snprintf(problem, TUNNEL_RELOAD_PROBLEM_BYTES,
		         "vpn.clients, vpn.pool_ipv4, vpn.pool_ipv6: a server that assigns addresses, and one that does not, "
		         "become the other only by a restart");
		return -EINVAL;
	}
	int r = vpn->is_server ? vpn_server_tables(vpn, *next) : 0;
	if (r < 0) {
		snprintf(problem, TUNNEL_RELOAD_PROBLEM_BYTES, "%s", outcome_text(r));
		return r;
	}
	r = vpn_routes_set(vpn, *next, problem);
	if (r < 0)
		return r;
	struct config *old = vpn->config;
	struct identity *old_identity = vpn->identity;
	pthread_mutex_lock(&vpn->lock);
	vpn->config = *next;
	vpn->identity = *identity;
	pthread_mutex_unlock(&vpn->lock);
	*next = NULL;
	*identity = NULL;
	tunnel_log(vpn->config);
	process_set_drain(vpn->process, vpn->config->node.drain_timeout_seconds * 1000);
	if (vpn->clients)
		vpn_clients_set(vpn);
	else if (vpn->is_server)
		lanes_peer_set_limit(lanes_only(vpn->lanes), vpn->config->vpn.bandwidth_limit);
	lanes_set_clamp(vpn->lanes, vpn->config->vpn.clamp_mss ? vpn->config->vpn.mtu : 0);
	if (!vpn->is_server)
		vpn_client_set(vpn);
	if (workers_each(vpn->workers, apply, vpn) < 0) {
		// A worker whose listener could not be made uses texts of the old one until the process has ended.
		log_error("vpn", "the new configuration cannot be put into force on every worker");
		process_fail(vpn->process, 1);
		return 0;
	}
	config_free(&old);
	identity_unref(&old_identity);
	return 0;
}

bool vpn_reload(struct vpn *vpn, struct config_reload *outcome)
{
	struct tunnel_reload reload = {.command = vpn->is_server ? CONFIG_VPN_SERVER : CONFIG_VPN_CLIENT,
	                               .argc = vpn->argc,
	                               .argv = vpn->argv,
	                               .running = vpn->config,
	                               .usage = vpn->is_server ? IDENTITY_SERVER : IDENTITY_CLIENT,
	                               .owner = vpn,
	                               .take = take};
	if (!atomic_load(&vpn->draining))
		return tunnel_reload(&reload, outcome);
	log_warn("vpn", "stopping: the configuration is not read again");
	*outcome = (struct config_reload){0};
	config_reload_add_problem(outcome, "stopping: the configuration is not read again");
	return false;
}
