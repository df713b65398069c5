// `qanat dest`, shared by the dest*.c files. One acceptor on worker 0 hands each connection to the tunnel port to the
// worker with the fewest flows, associations counted as such; there it proves to be a link's control connection or one
// of its data connections, and its streams reach their targets from the same worker.

#pragma once

#include "cmd/tunnel_node.h"
#include "edge/listener.h"
#include "flow/flow.h"
#include "flow/udp_flow.h"
#include "link/responder.h"

#include <pthread.h>
#include <stdatomic.h>

struct dest;

struct dest_worker {
	struct dest *dest;
	struct loop *loop;
	struct responder *responder;
	struct flows *flows;
	struct udp_flows *udp;
};

struct dest {
	struct tunnel_node node;
	struct dest_worker *worker;
	unsigned worker_count, turn;
	struct quota *clients;
	struct udp_shares *udp_shares;
	struct registry *registry;
	struct gate *gate;
	struct keyserver *keyserver;
	struct listener *listener;

	pthread_mutex_t lock; // what the HTTP thread reads as well
	struct config *config;
	struct identity *identity;
	struct service_table *services;
};

uint64_t dest_flows_open(const struct dest *dest);

// Of one worker, out of what dest has now. Texts are lent.
struct responder_settings dest_responder_settings(struct dest *dest, struct loop *loop);
struct flows_settings dest_flows_settings(struct dest *dest, struct loop *loop);
struct udp_flows_settings dest_udp_settings(struct dest *dest, struct loop *loop);
// A table of this configuration's services; those that dest has already keep their counts. Negative: no memory.
MUST_USE int dest_make_services(const struct dest *dest, const struct config *config, struct service_table **services);
// The McEliece key server, when this configuration needs one and there is none yet. Negative: no memory.
MUST_USE int dest_make_keyserver(struct dest *dest, const struct config *config);

// status_fn
void dest_fill_status(void *owner, struct status_node *status);

// Puts a new configuration into force: `take` of a tunnel_node_kind.
MUST_USE int dest_take(void *owner, struct config **next, struct identity **identity,
                       char problem[TUNNEL_RELOAD_PROBLEM_BYTES]);
