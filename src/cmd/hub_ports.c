#include "cmd/hub_ports.h"

#include "cmd/hub_audit.h"
#include "cmd/hub_internal.h"
#include "cmd/tunnel.h"
#include "core/brake.h"
#include "core/clock.h"
#include "core/counter.h"
#include "core/log.h"
#include "net/socket.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct hub_port {
	struct hub *hub;
	struct hub_port *next;
	char listen[ADDRESS_TEXT_BYTES]; // as configured
	struct listener *listener;
	char device[NAMING_BYTES];
	char service[LIMIT_SERVICE_NAME_BYTES + 1];
	struct cidr *sources; // empty: all; only on loopback
	size_t source_count;
};

static void free_port(struct hub_port *port)
{
	listener_close(&port->listener);
	free(port->sources);
	free(port);
}

static void free_ports(struct hub_port *ports)
{
	for (struct hub_port *next; ports; ports = next) {
		next = ports->next;
		free_port(ports);
	}
}

static struct hub_port *find(struct hub_port *ports, const char *listen)
{
	while (ports && strcmp(ports->listen, listen) != 0)
		ports = ports->next;
	return ports;
}

// ---- connections ---------------------------------------------------------------------------------------------------

// Before there is anything of the device's that it could count for.
static void refuse(const struct hub_port *port, int fd, const char *from, enum counter counter, const char *why)
{
	static struct brake brake = {.per_second = LIMIT_REFUSAL_LINES_PER_S}; // worker 0
	counter_add(counter, 1);
	if (brake_passes(&brake, clock_ms()))
		log_warn("hub", "device %s: a connection from %s to %s was refused: %s", port->device, from, port->listen, why);
	hub_audit_session_refused(port->hub->audit,
	                          &(struct hub_audit_session){.from = from,
	                                                      .device = port->device,
	                                                      .service = port->service,
	                                                      .address = "",
	                                                      .begun_ms = clock_wall_ms()},
	                          why);
	socket_close(&fd);
}

static void on_accept(void *owner, int fd, const struct address *peer)
{
	const struct hub_port *port = owner;
	char from[ADDRESS_TEXT_BYTES];
	address_format(peer, from);
	// Hostile: whoever can reach the port.
	if (!cidr_list_allows(port->sources, port->source_count, &peer->any)) {
		refuse(port, fd, from, COUNTER_CHANNEL_NOT_ALLOWED, "hub.tcp.allowed_source_ips does not list its address");
		return;
	}
	struct device *device = fleet_find(port->hub->fleet, port->device);
	if (!device) {
		refuse(port, fd, from, COUNTER_CHANNEL_OFFLINE, "no device with this name was ever here");
		return;
	}
	// As with the sockets: a claimed name is nobody's until it is on the disk.
	if (port->hub->pins && !pins_keeps(port->hub->pins, port->device)) {
		refuse(port, fd, from, COUNTER_CHANNEL_OFFLINE, "its name is not kept yet");
		device_unref(&device);
		return;
	}
	hub_channel_take_tcp(port->hub, device, port->service, fd, peer);
	device_unref(&device);
}

// A port that accepts nothing is of no use: a supervisor must see it.
static void on_broken(void *owner)
{
	const struct hub_port *port = owner;
	process_fail(port->hub->node.process, 1);
}

// ---- sets of them --------------------------------------------------------------------------------------------------

static int fill(struct hub_port *port, const struct config_hub_tcp *from)
{
	struct cidr *sources = calloc(from->source_count + 1, sizeof *sources);
	if (!sources)
		return -ENOMEM;
	if (from->source_count > 0)
		memcpy(sources, from->sources, from->source_count * sizeof *sources);
	free(port->sources);
	port->sources = sources;
	port->source_count = from->source_count;
	snprintf(port->device, sizeof port->device, "%s", from->device);
	// "default" is what people call it; on the wire it is the first of the device's list.
	snprintf(port->service, sizeof port->service, "%s",
	         from->service && strcmp(from->service, "default") != 0 ? from->service : SERVICE_DEFAULT);
	return 0;
}

static int open_port(struct hub *hub, const struct config_hub_tcp *from, struct hub_port **list,
                     char problem[HUB_PORTS_PROBLEM_BYTES])
{
	struct address address = {0};
	char text[ADDRESS_TEXT_BYTES];
	struct hub_port *port = calloc(1, sizeof *port);
	int r = port ? fill(port, from) : -ENOMEM;
	if (r == 0 && address_parse(from->listen, &address) != 0)
		r = -EINVAL;
	if (r == 0) {
		port->hub = hub;
		snprintf(port->listen, sizeof port->listen, "%s", from->listen);
		r = listener_open(workers_loop(hub->node.workers, 0), &address, on_accept, port, &port->listener);
	}
	if (r < 0) {
		snprintf(problem, HUB_PORTS_PROBLEM_BYTES, "cannot listen on %s (hub.tcp, device %s): %s", from->listen,
		         from->device, r == -EINVAL ? "it is no address" : tunnel_listen_problem(&address, r));
		if (port)
			free_port(port);
		return r;
	}
	listener_on_broken(port->listener, on_broken);
	address_format(&address, text);
	log_info("hub", "device %s is reached on %s as well", from->device, text);
	port->next = *list;
	*list = port;
	return 0;
}

// The last step, which forgets those that are not wanted any more.
static void keep_wanted(struct hub *hub, const struct config_of_hub *config)
{
	struct hub_port *kept = NULL, *next;
	for (struct hub_port *port = hub->ports; port; port = next) {
		const struct config_hub_tcp *wanted = NULL;
		next = port->next;
		for (size_t i = 0; i < config->tcp_count && !wanted; i++)
			if (strcmp(config->tcp[i].listen, port->listen) == 0)
				wanted = &config->tcp[i];
		if (!wanted || fill(port, wanted) < 0) {
			log_info("hub", "%s is closed", port->listen);
			free_port(port);
			continue;
		}
		port->next = kept;
		kept = port;
	}
	hub->ports = kept;
}

int hub_ports_set(struct hub *hub, const struct config *config, char problem[HUB_PORTS_PROBLEM_BYTES])
{
	struct hub_port *fresh = NULL;
	for (size_t i = 0; i < config->hub.tcp_count; i++) {
		if (find(hub->ports, config->hub.tcp[i].listen))
			continue;
		int r = open_port(hub, &config->hub.tcp[i], &fresh, problem);
		if (r < 0) {
			free_ports(fresh);
			return r;
		}
	}
	keep_wanted(hub, &config->hub);
	while (fresh) {
		struct hub_port *port = fresh;
		fresh = port->next;
		port->next = hub->ports;
		hub->ports = port;
	}
	return 0;
}

void hub_ports_close(struct hub *hub)
{
	free_ports(hub->ports);
	hub->ports = NULL;
}
