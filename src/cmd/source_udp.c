// Source's UDP: a socket of each door on every worker, and what associations are set to.

#include "cmd/source_internal.h"
#include "core/log.h"
#include "node/mail.h"

#include <errno.h>
#include <stdlib.h>

struct udp_flows_settings source_udp_settings(const struct source *source, const struct config *config,
                                              struct loop *loop)
{
	return (struct udp_flows_settings){
		.loop = loop,
		.shares = source->udp_shares,
		.idle_ms = config->udp.idle_timeout_seconds * 1000,
		.associations_max = config->udp.max_associations,
		.client_max = config->udp.max_associations_per_client,
		.answer_ms = config->source.connection_timeout_ms,
		.allowed = config->source.allowed_source_ips,
		.allowed_count = config->source.allowed_source_count,
	};
}

static void on_fail(void *contents)
{
	struct source *source = *(struct source **)contents;
	if (source->node.process)
		process_fail(source->node.process, 1);
}

// On any worker's thread. Clients of this address would never be answered: a supervisor must see it.
static void on_broken(void *owner)
{
	struct source_door *door = owner;
	mail_send_surely(workers_loop(door->source->node.workers, 0), on_fail, &door->source, sizeof(struct source *));
}

struct opening {
	struct source_door *door;
	struct address *address;
};

// Worker 0 comes first: it finds out whether the port is free, the others join it.
static int open_one(void *owner, unsigned index, struct loop *loop)
{
	(void)loop;
	struct opening *opening = owner;
	struct source_door *door = opening->door;
	if (index > 0 && !door->udp[0])
		return 0; // worker 0 has said why
	int r = udp_door_open(door->source->worker[index].udp, opening->address,
	                      index == 0 ? DATAGRAM_FIRST : DATAGRAM_JOINS, &door->header, &door->udp[index]);
	if (r == 0)
		udp_door_on_broken(door->udp[index], on_broken, door);
	if (r != DATAGRAM_NOT_SHARED)
		return r;
	log_info("source", "udp %s: the service manager's socket belongs to another user, so one worker serves it alone",
	         door->listen);
	return 0;
}

static int close_one(void *owner, unsigned index, struct loop *loop)
{
	(void)loop;
	struct source_door *door = owner;
	udp_door_close(&door->udp[index]);
	return 0;
}

static int set_one(void *owner, unsigned index, struct loop *loop)
{
	(void)loop;
	struct source_door *door = owner;
	if (door->udp[index])
		udp_door_set(door->udp[index], &door->header);
	return 0;
}

int source_udp_open(struct source_door *door, struct address *address)
{
	struct opening opening = {.door = door, .address = address};
	door->udp = calloc(door->source->worker_count, sizeof *door->udp);
	if (!door->udp)
		return -ENOMEM;
	int r = workers_each(door->source->node.workers, open_one, &opening);
	if (r < 0)
		source_udp_close(door);
	return r;
}

void source_udp_close(struct source_door *door)
{
	if (!door->udp)
		return;
	(void)!workers_each(door->source->node.workers, close_one, door);
	free(door->udp);
	door->udp = NULL;
}

void source_udp_set(struct source_door *door)
{
	(void)!workers_each(door->source->node.workers, set_one, door);
}
