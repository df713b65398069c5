// `qanat vpn`, shared by the vpn*.c files: who owns what, and which thread may touch it.
//
// Worker 0 is the main thread: doors, initiator, device, reloads. Each worker has its share of the lanes (flow/lanes)
// and on a server a responder. The HTTP thread reads copies, under the lock.

#pragma once

#include "cmd/tun_device.h"
#include "cmd/tun_routes.h"
#include "config/reload.h"
#include "edge/listener.h"
#include "flow/lanes.h"
#include "link/initiator.h"
#include "link/responder.h"
#include "net/dial.h"
#include "node/process.h"
#include "node/watchdog.h"
#include "node/workers.h"
#include "ops/control_socket.h"
#include "ops/http.h"

#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>

struct vpn;

struct vpn_worker {
	struct vpn *vpn;
	unsigned index;
	struct loop *loop;
	struct responder *responder; // server
	uint64_t table_age;          // of the last table of clients
};

struct vpn {
	bool is_server;
	int argc; // after the words, for reloads
	char **argv;
	struct workers *workers;
	struct vpn_worker *worker;
	unsigned worker_count, turn;
	struct tun_device *device;
	struct tun_routes *routes;
	struct tun *tun; // of the device
	struct netlink *netlink;
	struct lanes *lanes;
	struct process *process;
	struct watchdog *watchdog;
	struct http *http;
	struct control_socket *control_socket;
	uint64_t started_ms;
	_Atomic bool draining;

	struct vpn_clients *clients; // server that assigns addresses; NULL: one client, which has its own
	struct registry *registry;   // server
	struct gate *gate;
	struct keyserver *keyserver;
	struct listener *doors[2];

	struct initiator *initiator; // client
	struct keycache *keycache;
	struct grant assigned; // what the server gave, as far as it was taken

	pthread_mutex_t lock; // what the HTTP thread and other workers read as well
	struct config *config;
	struct identity *identity;
	struct link *link; // client: for new data connections; server: of the client that is served
	uint64_t last_up_ms, refused_ms;
	char last_refusal[256];
};

// The device with its addresses, then its routes. Exit status; what was wrong has been logged.
MUST_USE int vpn_device_open(struct vpn *vpn);
void vpn_device_close(struct vpn *vpn);
// Those of `next` instead of those in force. All or nothing: negative, as `problem` says.
MUST_USE int vpn_routes_set(struct vpn *vpn, const struct config *next, char *problem);

struct control_settings vpn_control(const struct vpn *vpn, const struct config *config, enum control_role role);
// How the client dials data connections.
struct lanes_dialling vpn_dialling(const struct config *config);
void vpn_note_refusal(struct vpn *vpn, const char *reason);
// Every worker drops the lanes of other links, cuts this link's streams, or drops what is parked of it. A reference is
// passed to each.
void vpn_tell_all(struct vpn *vpn, void (*open)(void *contents), struct link *link);
struct vpn_news {
	struct vpn_worker *worker;
	struct link *link; // a reference, or NULL
};
void vpn_on_cut(void *contents); // mail_fn

MUST_USE int vpn_client_start(struct vpn *vpn);
void vpn_client_set(struct vpn *vpn);

MUST_USE int vpn_server_tables(struct vpn *vpn, const struct config *config);
MUST_USE int vpn_server_worker(struct vpn_worker *worker);
MUST_USE int vpn_server_doors(struct vpn *vpn);
MUST_USE int vpn_server_set(struct vpn_worker *worker);
void vpn_server_drain(struct vpn *vpn);

// ---- vpn_clients.c: who is served by a server that assigns addresses. From any worker, unless it says otherwise.

bool vpn_clients_are_for(const struct config *config);
MUST_USE int vpn_clients_open(struct vpn *vpn); // negative: no memory
void vpn_clients_close(struct vpn *vpn);
// What a peer gets, or why it gets nothing.
enum control_reason vpn_clients_grant(struct vpn *vpn, const struct link_peer *peer, struct grant *given,
                                      char text[LIMIT_REASON_BYTES + 1]);
// False: it cannot be served, as was logged.
bool vpn_clients_up(struct vpn *vpn, struct link *link);
void vpn_clients_down(struct vpn *vpn, struct link *link);
// A reference to the peer whose link this is, or NULL.
struct lanes_peer *vpn_clients_peer(struct vpn *vpn, const struct link *link);
// Main thread: the configuration has changed.
void vpn_clients_set(struct vpn *vpn);
// Main thread: routes to networks of clients, by the configuration. Exit status, as logged.
MUST_USE int vpn_clients_routes(struct vpn *vpn);
// Ends the link of the client with this name. False: nobody has it.
bool vpn_clients_kick(struct vpn *vpn, const char *name);

// With the lock held.
void vpn_clients_fill(struct vpn *vpn, struct status_node *status);
char *vpn_clients_answer_devices(void *owner, const char *after);
char *vpn_clients_answer_kick(void *owner, const char *name);

// ---- vpn_assign.c: what a client is given by its server. Main thread. False: it cannot be had, as was logged.

bool vpn_assign(struct vpn *vpn, const struct link_peer *server);

// status_fn
void vpn_fill_status(void *owner, struct status_node *status);
bool vpn_reload(struct vpn *vpn, struct config_reload *outcome);
