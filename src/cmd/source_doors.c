// What source listens on, and how it changes when the configuration does.

#include "cmd/source_internal.h"
#include "cmd/tunnel.h"
#include "core/counter.h"
#include "core/log.h"
#include "net/socket.h"
#include "node/mail.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- local connections ---------------------------------------------------------------------------------------------

struct arrival {
	struct source_worker *worker;
	int fd;
	struct address peer;
	struct header header;
	bool is_entry;
};

static void on_arrival(void *contents)
{
	struct arrival *arrival = contents;
	if (arrival->is_entry && arrival->worker->entries)
		entries_take(arrival->worker->entries, &arrival->fd, &arrival->peer);
	else if (arrival->worker->flows)
		flows_take_local(arrival->worker->flows, &arrival->fd, &arrival->peer, &arrival->header);
	socket_close(&arrival->fd);
}

uint64_t source_flows_open(const struct source *source)
{
	uint64_t sum = 0;
	for (unsigned i = 0; i < source->worker_count; i++)
		sum += flows_open(source->worker[i].flows);
	return sum;
}

static uint32_t load_of(void *owner, unsigned index)
{
	const struct source *source = owner;
	return flows_open(source->worker[index].flows) + udp_flows_open(source->worker[index].udp);
}

static void on_accept(void *owner, int fd, const struct address *peer)
{
	struct source_door *door = owner;
	struct source *source = door->source;
	if (!source_admits(source, peer)) {
		socket_reset(&fd);
		return;
	}
	unsigned best = workers_lightest(source->node.workers, load_of, source, &source->turn);
	struct arrival arrival = {
		.worker = &source->worker[best], .fd = fd, .peer = *peer, .header = door->header, .is_entry = door->is_entry};
	if (!mail_send(arrival.worker->loop, on_arrival, &arrival, sizeof arrival))
		socket_reset(&fd);
}

// ---- what the configuration asks for -------------------------------------------------------------------------------

struct wanted {
	struct address address;
	struct header header;
	const char *key;
	bool is_entry;
};

static int want_exposed(const struct config *config, const struct config_exposed_port *port, struct wanted *wanted)
{
	*wanted = (struct wanted){.header = {.kind = HEADER_TCP, .port = port->port}, .key = "source.exposed_ports"};
	return address_from_ip(port->listen_ip ? port->listen_ip : config->source.listen_ip, port->port, &wanted->address);
}

static int want_forward(const struct config_forward *forward, struct wanted *wanted)
{
	*wanted = (struct wanted){.header = {.kind = HEADER_TCP}, .key = "source.forwards"};
	snprintf(wanted->header.service, sizeof wanted->header.service, "%s", forward->service);
	return address_parse(forward->listen, &wanted->address);
}

// The seed's README: a listen_port and nothing else.
static int want_single(const struct config *config, struct wanted *wanted)
{
	*wanted = (struct wanted){.header = {.kind = HEADER_TCP, .port = config->source.listen_port},
	                          .key = "source.listen_port"};
	snprintf(wanted->header.service, sizeof wanted->header.service, "%s", SERVICE_DEFAULT);
	return address_from_ip(config->source.listen_ip, config->source.listen_port, &wanted->address);
}

static int want_entry(const struct config *config, struct wanted *wanted)
{
	*wanted = (struct wanted){.header = {.kind = HEADER_TCP}, .key = "source.listen_port", .is_entry = true};
	return address_from_ip(config->source.listen_ip, config->source.listen_port, &wanted->address);
}

// What has been written to *at is wanted for this protocol, or for both.
static struct wanted *want_protocols(struct wanted *at, enum config_protocol protocol)
{
	struct wanted *next = at + 1;
	if (protocol == CONFIG_BOTH)
		*next++ = *at;
	if (protocol != CONFIG_TCP)
		next[-1].header.kind = HEADER_UDP;
	return next;
}

// A list of its own, ended by the count. NULL without memory.
static struct wanted *list_wanted(const struct config *config, size_t *count)
{
	size_t exposed = config->source.exposed_count, forwards = config->source.forward_count;
	struct wanted *list = calloc(2 * (exposed + forwards) + 1, sizeof *list), *at = list;
	int bad = 0;
	bool has_doors = config->source.mode != CONFIG_MODE_PROTOCOL;
	for (size_t i = 0; list && has_doors && i < exposed; i++) {
		bad |= want_exposed(config, &config->source.exposed_ports[i], at);
		at = want_protocols(at, config->source.exposed_ports[i].protocol);
	}
	for (size_t i = 0; list && has_doors && i < forwards; i++) {
		bad |= want_forward(&config->source.forwards[i], at);
		at = want_protocols(at, config->source.forwards[i].protocol);
	}
	if (list && config->source.mode != CONFIG_MODE_TRANSPARENT)
		bad |= want_entry(config, at++);
	else if (list && at == list)
		bad |= want_single(config, at++);
	if (!list)
		log_error("source", "cannot list the addresses to listen on: out of memory");
	if (bad) // the schema has checked every address
		log_error("source", "a listening address of the configuration is not one");
	*count = bad || !list ? 0 : (size_t)(at - list);
	return list;
}

// ---- doors ---------------------------------------------------------------------------------------------------------

static void describe(const struct header *header, char *text, size_t size)
{
	if (header->service[0] && strcmp(header->service, SERVICE_DEFAULT) != 0)
		snprintf(text, size, "service \"%s\"", header->service);
	else
		snprintf(text, size, "the service on port %u%s", header->port, header->service[0] ? ", or the only one" : "");
}

static void door_free(struct source_door *door)
{
	source_udp_close(door);
	listener_close(&door->listener);
	free(door);
}

// Clients of this address would be refused for ever: a supervisor must see it.
static void on_broken(void *owner)
{
	struct source_door *door = owner;
	process_fail(door->source->node.process, 1);
}

static int door_open(struct source *source, const struct wanted *wanted, struct source_door **out)
{
	struct source_door *door = calloc(1, sizeof *door);
	char text[ADDRESS_TEXT_BYTES], service[LIMIT_SERVICE_NAME_BYTES + 64];
	struct address address = wanted->address;
	if (!door) {
		log_error("source", "cannot listen on one more address: out of memory");
		return 1;
	}
	door->source = source;
	door->header = wanted->header;
	door->is_entry = wanted->is_entry;
	address_format(&address, door->listen);
	bool is_udp = door->header.kind == HEADER_UDP;
	int r = is_udp ? source_udp_open(door, &address)
	               : listener_open(workers_loop(source->node.workers, 0), &address, on_accept, door, &door->listener);
	if (r < 0) {
		log_error("source", "cannot listen on %s%s (%s): %s", is_udp ? "udp " : "", door->listen, wanted->key,
		          tunnel_listen_problem(&wanted->address, r));
		free(door);
		return 1;
	}
	if (door->listener)
		listener_on_broken(door->listener, on_broken);
	address_format(&address, text);
	describe(&door->header, service, sizeof service);
	if (door->is_entry)
		log_info("source", "listening on %s for SOCKS 5 and HTTP CONNECT", text);
	else
		log_info("source", "listening on %s%s for %s of dest", is_udp ? "udp " : "", text, service);
	*out = door;
	return 0;
}

static struct source_door *find_open(const struct source *source, const struct wanted *wanted)
{
	char listen[ADDRESS_TEXT_BYTES];
	address_format(&wanted->address, listen);
	for (struct source_door *door = source->doors; door; door = door->next)
		if (strcmp(door->listen, listen) == 0 && door->header.kind == wanted->header.kind)
			return door;
	return NULL;
}

static bool is_wanted(const struct source_door *door, const struct wanted *list, size_t count)
{
	char listen[ADDRESS_TEXT_BYTES];
	for (size_t i = 0; i < count; i++) {
		address_format(&list[i].address, listen);
		if (strcmp(door->listen, listen) == 0 && door->header.kind == list[i].header.kind)
			return true;
	}
	return false;
}

static void close_unwanted(struct source *source, const struct wanted *list, size_t count)
{
	struct source_door **at = &source->doors;
	while (*at) {
		struct source_door *door = *at;
		if (is_wanted(door, list, count)) {
			at = &door->next;
			continue;
		}
		*at = door->next;
		log_info("source", "not listening on %s%s any more", door->udp ? "udp " : "", door->listen);
		door_free(door);
	}
}

static void add_doors(struct source *source, struct source_door *fresh)
{
	while (fresh) {
		struct source_door *next = fresh->next;
		fresh->next = source->doors;
		source->doors = fresh;
		fresh = next;
	}
}

int source_doors_set(struct source *source, const struct config *config)
{
	size_t count = 0;
	struct wanted *list = list_wanted(config, &count);
	struct source_door *fresh = NULL, *door;
	int r = count == 0;
	// All of them are tried, so that every taken port is named.
	for (size_t i = 0; i < count; i++) {
		if (find_open(source, &list[i]))
			continue;
		int opened = door_open(source, &list[i], &door);
		r |= opened;
		if (opened != 0)
			continue;
		door->next = fresh;
		fresh = door;
	}
	while (r != 0 && fresh) {
		door = fresh;
		fresh = door->next;
		door_free(door);
	}
	for (size_t i = 0; r == 0 && i < count; i++) {
		door = find_open(source, &list[i]);
		if (!door)
			continue;
		door->header = list[i].header;
		door->is_entry = list[i].is_entry;
		if (door->udp)
			source_udp_set(door);
	}
	if (r == 0) {
		close_unwanted(source, list, count);
		add_doors(source, fresh);
	}
	free(list);
	return r;
}

void source_doors_close(struct source *source)
{
	while (source->doors) {
		struct source_door *door = source->doors;
		source->doors = door->next;
		door_free(door);
	}
}

void source_doors_drain(struct source *source)
{
	for (struct source_door *door = source->doors; door; door = door->next)
		listener_close(&door->listener);
}
