// Source's UDP ports. The kernel keeps a client on one of the sockets that share a port, so each worker has a table of
// its own and no lock.

#include "flow/udp_flow_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// Chains of the table: as many as there are associations by default, 128 KiB once the first door is opened.
#define CHAINS 16384
#define NO_RUN UINT16_MAX

struct udp_door {
	struct udp_flows *flows;
	struct udp_port *port;
	struct udp_flow *listed;
	struct header header;
	void (*on_broken)(void *owner);
	void *owner;
};

// ---- the table -----------------------------------------------------------------------------------------------------

static uint64_t mix(uint64_t a, uint64_t b)
{
	unsigned __int128 product = (unsigned __int128)(a ^ 0x9e3779b97f4a7c15u) * (b ^ 0xd1b54a32d192ed03u);
	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

// Hostile: the seed keeps those who choose their addresses from choosing a chain.
static size_t chain_of(const struct udp_flows *flows, const void *door, const struct address *client)
{
	uint64_t words[3] = {0};
	if (client->any.sa_family == AF_INET6) {
		memcpy(words, &client->in6.sin6_addr, sizeof client->in6.sin6_addr);
		words[2] = (uint64_t)client->in6.sin6_scope_id << 16 | client->in6.sin6_port;
	} else {
		words[0] = client->in4.sin_addr.s_addr;
		words[2] = client->in4.sin_port;
	}
	uint64_t sum = mix(flows->seed ^ words[0], words[1] ^ (uintptr_t)door);
	return mix(sum ^ words[2], flows->seed) % CHAINS;
}

static bool is_same(const struct address *a, const struct address *b)
{
	if (a->any.sa_family != b->any.sa_family)
		return false;
	if (a->any.sa_family == AF_INET6)
		return a->in6.sin6_port == b->in6.sin6_port && a->in6.sin6_scope_id == b->in6.sin6_scope_id &&
		       memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof a->in6.sin6_addr) == 0;
	return a->in4.sin_port == b->in4.sin_port && a->in4.sin_addr.s_addr == b->in4.sin_addr.s_addr;
}

static struct udp_flow *find(const struct udp_door *door, const struct address *client)
{
	struct udp_flow *flow = door->flows->chains[chain_of(door->flows, door, client)];
	while (flow && (flow->door != door || !is_same(&flow->client, client)))
		flow = flow->chain;
	return flow;
}

void udp_door_forget(struct udp_flow *flow)
{
	struct udp_flow **at = &flow->flows->chains[chain_of(flow->flows, flow->door, &flow->client)];
	while (*at && *at != flow)
		at = &(*at)->chain;
	if (*at)
		*at = flow->chain;
}

static struct udp_flow *begin(struct udp_door *door, const struct datagram_run *run)
{
	struct udp_flow *flow = udp_flow_admit(door->flows, &run->peer, datagram_run_count(run));
	if (!flow)
		return NULL;
	struct udp_flow **chain = &door->flows->chains[chain_of(door->flows, door, &run->peer)];
	flow->door = door;
	udp_flow_list(flow, door->port, &door->listed);
	flow->header = door->header;
	flow->first_run = NO_RUN;
	flow->chain = *chain;
	*chain = flow;
	return flow;
}

// ---- what arrives --------------------------------------------------------------------------------------------------

// All that one client sent leaves together, also when what others sent lies in between.
static void on_runs(void *owner, const struct datagram_run *runs, size_t count)
{
	struct udp_door *door = owner;
	struct udp_flow *touched[DATAGRAM_BATCH];
	uint16_t next[DATAGRAM_BATCH];
	size_t n = 0;
	for (size_t i = 0; i < count; i++) {
		struct udp_flow *flow = n > 0 && is_same(&touched[n - 1]->client, &runs[i].peer) ? touched[n - 1]
		                                                                                 : find(door, &runs[i].peer);
		if (!flow && !(flow = begin(door, &runs[i])))
			continue;
		next[i] = NO_RUN;
		flow->local = runs[i].local;
		if (flow->first_run == NO_RUN) {
			flow->first_run = (uint16_t)i;
			touched[n++] = flow;
		} else {
			next[flow->last_run] = (uint16_t)i;
		}
		flow->last_run = (uint16_t)i;
	}
	for (size_t k = 0; k < n; k++) {
		uint16_t at = touched[k]->first_run;
		touched[k]->first_run = NO_RUN;
		for (; at != NO_RUN; at = next[at])
			udp_flow_gather(touched[k], &runs[at]);
		udp_flow_flush(touched[k]);
	}
}

// ---- doors ---------------------------------------------------------------------------------------------------------

int udp_door_open(struct udp_flows *flows, struct address *address, enum datagram_role role,
                  const struct header *header, struct udp_door **out)
{
	if (!flows->chains && !(flows->chains = calloc(CHAINS, sizeof *flows->chains)))
		return -ENOMEM;
	struct udp_door *door = calloc(1, sizeof *door);
	if (!door)
		return -ENOMEM;
	door->flows = flows;
	door->header = *header;
	int r = udp_port_open(flows->settings.loop, address, role, on_runs, door, &door->port);
	if (r != 0)
		free(door);
	else
		*out = door;
	return r;
}

void udp_door_set(struct udp_door *door, const struct header *header)
{
	door->header = *header;
}

static void on_port_broken(void *owner)
{
	struct udp_door *door = owner;
	door->on_broken(door->owner);
}

void udp_door_on_broken(struct udp_door *door, void (*on_broken)(void *owner), void *owner)
{
	door->on_broken = on_broken;
	door->owner = owner;
	udp_port_on_broken(door->port, on_port_broken);
}

void udp_door_close(struct udp_door **slot)
{
	struct udp_door *door = *slot;
	*slot = NULL;
	if (!door)
		return;
	udp_flow_close_listed(&door->listed);
	udp_port_close(&door->port);
	free(door);
}
