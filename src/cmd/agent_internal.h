// `qanat agent`, shared by the agent*.c files: who owns what, and which thread may touch it.
//
// Worker 0 is the main thread. It owns the initiator and carries out reloads. Each worker owns a pool, whose data
// connections it offers to the hub, and the flows that the hub opens on them; the parked connections that are wanted in
// all are shared out among the workers. The flow side is that of dest: a stream's header names a service, and what is
// not in the table cannot be reached.

#pragma once

#include "cmd/tunnel_node.h"
#include "flow/flow.h"
#include "link/initiator.h"

#include <pthread.h>
#include <stdatomic.h>

struct agent;

struct agent_worker {
	struct agent *agent;
	struct loop *loop;
	struct pool *pool;
	struct flows *flows;
	unsigned index;
};

struct agent {
	struct tunnel_node node;
	struct agent_worker *worker;
	unsigned worker_count, turn;
	struct keycache *keycache;
	struct initiator *initiator;

	pthread_mutex_t lock; // what the HTTP thread reads as well
	struct config *config;
	struct identity *identity;
	struct service_table *services;
	struct link *link;
	bool link_takes_streams;
	uint64_t last_up_ms;
};

uint64_t agent_flows_open(const struct agent *agent);

MUST_USE int agent_make_services(const struct agent *agent, const struct config *config,
                                 struct service_table **services);
struct flows_settings agent_flows_settings(const struct agent *agent, struct loop *loop);
struct pool_settings agent_pool_settings(struct agent_worker *worker);
// pool_lost_fn of a worker's pool.
void agent_claim_lost(void *owner, struct link *link, const uint8_t token[STREAM_TOKEN_BYTES],
                      const struct header_answer *answer);

// agent_link.c
MUST_USE int agent_link_start(struct agent *agent);
// After a reload.
void agent_link_set(struct agent *agent);

// status_fn
void agent_fill_status(void *owner, struct status_node *status);
// Puts a new configuration into force: `take` of a tunnel_node_kind.
MUST_USE int agent_take(void *owner, struct config **next, struct identity **identity,
                        char problem[TUNNEL_RELOAD_PROBLEM_BYTES]);
