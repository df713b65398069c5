// What people see of dest.

#include "cmd/dest_internal.h"
#include "cmd/tunnel.h"
#include "cmd/tunnel_reload.h"
#include "core/clock.h"

#include <stdio.h>
#include <stdlib.h>

// Links listed in one answer; the rest is only counted.
#define LINKS_SHOWN 1000

struct link_list {
	struct status_link *links;
	size_t count, room;
};

static void visit(void *owner, struct link *link)
{
	struct link_list *list = owner;
	if (list->count < list->room)
		tunnel_describe_link(link, &list->links[list->count++]);
}

void dest_fill_status(void *owner, struct status_node *status)
{
	struct dest *dest = owner;
	size_t known = registry_count(dest->registry);
	struct link_list list = {.room = known < LINKS_SHOWN ? known : LINKS_SHOWN};
	list.links = list.room ? calloc(list.room, sizeof *list.links) : NULL;
	if (!list.links)
		list.room = 0;
	registry_visit(dest->registry, visit, &list);
	bool draining = atomic_load(&dest->node.draining);
	*status = (struct status_node){
		.command = "dest",
		.version = QANAT_VERSION,
		.uptime_ms = clock_ms() - dest->node.started_ms,
		.ready = !draining, // the listener is open before this is served
		.health = draining ? "Unhealthy" : "Healthy",
		.tunnel_established = known > 0,
		.last_successful_operation_s = known > 0 ? 0 : -1,
		.error_count = tunnel_refusals(),
		.missed_pongs = -1,
		.average_rtt_us = -1,
		.reconnection_attempts = -1,
		.flows_open = dest_flows_open(dest),
		.associations_open = udp_shares_open(dest->udp_shares),
		.workers = dest->worker_count,
		.links = list.links,
		.link_count = list.count,
	};
	tunnel_reload_show(status);
	status->startup_complete = process_is_confined();
	pthread_mutex_lock(&dest->lock);
	identity_expiry(dest->identity, &status->own_not_after, &status->ca_not_after);
	tunnel_describe_services(dest->services, status);
	snprintf(status->name, sizeof status->name, "%s", dest->config->node.name);
	pthread_mutex_unlock(&dest->lock);
	snprintf(status->message, sizeof status->message, "%s",
	         draining ? "Stopping: no new links" : "All systems operational");
	life_show(dest->node.life, status);
}
