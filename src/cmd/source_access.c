// Who may come in at source's doors, and what the clients of its entry may ask for.

#include "cmd/source_internal.h"
#include "config/dests.h"
#include "core/counter.h"
#include "core/log.h"

#include <errno.h>
#include <stdlib.h>

static bool refuse(struct source *source, const struct address *peer, enum counter counter, const char *reason)
{
	char text[ADDRESS_TEXT_BYTES];
	uint64_t now = loop_now_ms(workers_loop(source->node.workers, 0));
	uint64_t held = brake_sum(&source->refusals, now);
	counter_add(counter, 1);
	address_format(peer, text);
	if (held > 0)
		log_warn("source", "%llu more connections were refused", (unsigned long long)held);
	if (brake_passes(&source->refusals, now))
		log_warn("source", "%s: a connection was refused: %s", text, reason);
	return false;
}

bool source_admits(struct source *source, const struct address *peer)
{
	const struct config *config = source->config;
	if (!cidr_list_allows(config->source.allowed_source_ips, config->source.allowed_source_count, &peer->any))
		return refuse(source, peer, COUNTER_ADMISSION_SOURCE,
		              "it is not in source.connection_filter.allowed_source_ips");
	uint64_t open = source_flows_open(source);
	for (unsigned i = 0; i < source->worker_count; i++)
		open += entries_open(source->worker[i].entries);
	if (open >= config->source.max_connections)
		return refuse(source, peer, COUNTER_FLOW_REFUSED_LIMIT, "source.max_connections are open");
	return true;
}

int source_make_routes(const struct config *config, struct route_table **routes)
{
	size_t port_count = config->source.exposed_count, name_count = config->source.forward_count;
	*routes = NULL;
	if (config->source.mode == CONFIG_MODE_TRANSPARENT)
		return 0;
	struct route_port *ports = calloc(port_count + 1, sizeof *ports);
	struct route_name *names = calloc(name_count + 1, sizeof *names);
	for (size_t i = 0; ports && i < port_count; i++)
		ports[i] = (struct route_port){.port = config->source.exposed_ports[i].port,
		                               .tcp = config->source.exposed_ports[i].protocol != CONFIG_UDP,
		                               .udp = config->source.exposed_ports[i].protocol != CONFIG_TCP};
	for (size_t i = 0; names && i < name_count; i++)
		names[i] = (struct route_name){.service = config->source.forwards[i].service,
		                               .tcp = config->source.forwards[i].protocol != CONFIG_UDP,
		                               .udp = config->source.forwards[i].protocol != CONFIG_TCP};
	char hosts[LIMIT_DESTS][DESTS_HOST_BYTES];
	const char *dests[LIMIT_DESTS];
	uint16_t unused;
	for (size_t i = 0; i < dests_count(config); i++) {
		dests_get(config, i, hosts[i], &unused);
		dests[i] = hosts[i];
	}
	struct route_settings settings = {
		.dest_hosts = dests,
		.dest_host_count = dests_count(config),
		.outbound = config->source.allowed_outbound,
		.outbound_count = config->source.allowed_outbound_count,
		.ports = ports,
		.port_count = port_count,
		.names = names,
		.name_count = name_count,
	};
	int r = ports && names ? route_table_new(&settings, routes) : -ENOMEM;
	free(ports);
	free(names);
	return r;
}
