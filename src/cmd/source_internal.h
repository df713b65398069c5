// `qanat source`, shared by the source*.c files: who owns what, and which thread may touch it.
//
// Worker 0 is the main thread. It owns the doors and the initiator and carries out reloads; each worker owns a pool of
// data connections and the flows that use them. An accepted socket goes to the worker with the fewest flows
// (UDP associations are counted as such) and stays there.

#pragma once

#include "cmd/tunnel_node.h"
#include "core/brake.h"
#include "edge/listener.h"
#include "flow/entry.h"
#include "flow/flow.h"
#include "flow/udp_flow.h"
#include "link/initiator.h"

#include <pthread.h>
#include <stdatomic.h>

struct source;

struct source_worker {
	struct loop *loop;
	struct pool *pool;
	struct flows *flows;
	struct entries *entries;
	struct udp_flows *udp;
};

struct source_door { // a listener, or a UDP port, and what those who come through it want
	struct source *source;
	struct source_door *next;
	char listen[ADDRESS_TEXT_BYTES]; // as configured
	struct listener *listener;       // NULL when `udp`
	struct udp_door **udp;           // one on each worker, or NULL
	struct header header;            // its kind tells which of them
	bool is_entry;                   // they will say it themselves
};

struct source {
	struct tunnel_node node;
	struct source_worker *worker;
	unsigned worker_count, turn;
	struct source_door *doors;
	struct brake refusals; // lines about them
	struct quota *clients;
	struct udp_shares *udp_shares;
	struct route_table *routes; // NULL in transparent mode
	struct keycache *keycache;
	struct initiator *initiator;

	pthread_mutex_t lock; // what the HTTP thread reads as well
	struct config *config;
	struct identity *identity;
	struct link *link;
	bool link_takes_streams;
	uint64_t last_up_ms;
};

uint64_t source_flows_open(const struct source *source);

// The doors of this configuration: those that are open already stay open, new ones are opened, and those that are not
// in it any more are closed. All or nothing: on failure (logged; the exit status is returned) the doors are as before.
MUST_USE int source_doors_set(struct source *source, const struct config *config);
void source_doors_close(struct source *source);
// No new connections, and no new associations; UDP ports stay open for those that are there.
void source_doors_drain(struct source *source);
// Whether a client of this address may come in now; if not, it has been counted and logged. On worker 0.
MUST_USE bool source_admits(struct source *source, const struct address *peer);
// What clients of the entry may ask for; NULL without an entry. Negative: no memory.
MUST_USE int source_make_routes(const struct config *config, struct route_table **routes);

// The door's UDP port on every worker; *address is updated. Negative: the kernel refused, nothing is open.
MUST_USE int source_udp_open(struct source_door *door, struct address *address);
void source_udp_close(struct source_door *door); // harmless on one that has none
void source_udp_set(struct source_door *door);   // the header has changed
struct udp_flows_settings source_udp_settings(const struct source *source, const struct config *config,
                                              struct loop *loop);

MUST_USE int source_link_start(struct source *source);
// After a reload.
void source_link_set(struct source *source);

// Of one worker, out of a configuration. Texts are lent.
struct pool_settings source_pool_settings(const struct config *config, struct loop *loop);
struct flows_settings source_flows_settings(const struct config *config, struct loop *loop);

// status_fn
void source_fill_status(void *owner, struct status_node *status);

// Puts a new configuration into force: `take` of a tunnel_node_kind.
MUST_USE int source_take(void *owner, struct config **next, struct identity **identity,
                         char problem[TUNNEL_RELOAD_PROBLEM_BYTES]);
