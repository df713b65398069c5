// `qanat psk`, shared by the psk*.c files. Everything but packets is on worker 0: this thread. The HTTP thread reads
// copies, under the lock.

#pragma once

#include "cmd/psk_words.h"
#include "cmd/tun_device.h"
#include "cmd/tun_routes.h"
#include "config/config.h"
#include "config/reload.h"
#include "core/brake.h"
#include "edge/listener.h"
#include "flow/packets.h"
#include "limits.h"
#include "link/greeting.h"
#include "net/dial.h"
#include "node/process.h"
#include "node/watchdog.h"
#include "node/workers.h"
#include "ops/control_socket.h"
#include "ops/http.h"
#include "policy/bucket.h"
#include "policy/lobby.h"
#include "policy/recent.h"

#include <pthread.h>

struct psk {
	bool is_server, is_draining;
	struct psk_words words;  // for reloads
	struct workers *workers; // a queue of the device on each
	struct loop *loop;
	struct watchdog *watchdog;
	struct process *process;
	struct http *http;
	struct control_socket *control_socket;
	struct secret key;
	struct tun_device *device;
	struct tun_routes *routes;
	struct tun *tun; // of the device
	struct packets *packets;
	uint64_t started_ms;

	struct listener *listener;                   // server
	struct lobby lobby;                          // handshakes under way
	struct greeting *greetings[LIMIT_GREETINGS]; // by their places; the client has one at most
	struct brake complaints;                     // lines about strangers
	struct recent *hellos;                       // server, with pq: those that were answered
	struct bucket exchanges;
	struct dial *dial; // client
	struct loop_timer *redial;
	uint32_t delay_ms; // of the next pause

	pthread_mutex_t lock; // what the HTTP thread reads as well
	struct config *config;
	struct address peer;           // length 0: no session
	const char *carrier;           // "tcp" or "mptcp"
	enum config_psk_method method; // of the session
	uint64_t up_since_ms, last_up_ms, sessions, failures, attempts;
	char last_error[256];
};

// The device with its addresses and routes. Exit status; what was wrong has been logged.
MUST_USE int psk_device_open(struct psk *psk);
// What a reload may change of packets.
void psk_device_set(struct psk *psk);
// No packet passes any more. Then, when the workers are gone, the rest.
void psk_device_stop(struct psk *psk);
void psk_device_close(struct psk *psk);

// After a reload: those of `next` instead of those in force. All or nothing.
MUST_USE int psk_routes_set(struct psk *psk, const struct config *next, char *problem);

// Before the first of the others. Negative: no memory.
MUST_USE int psk_session_prepare(struct psk *psk);
// Starts the handshake on a connection, and closes it when that is not possible.
void psk_session_greet(struct psk *psk, int fd, const struct address *peer);
void psk_session_cancel_greetings(struct psk *psk);
// packets_fn
void psk_session_on_lost(void *owner, const char *reason);
void psk_session_note_failure(struct psk *psk, const char *problem);

MUST_USE int psk_server_start(struct psk *psk);
void psk_server_stop(struct psk *psk);

MUST_USE int psk_client_start(struct psk *psk);
void psk_client_stop(struct psk *psk);
// A session or an attempt has ended; lasted_ms 0: it never began.
void psk_client_again(struct psk *psk, uint64_t lasted_ms);

// status_fn
void psk_fill_status(void *owner, struct status_node *status);
// Tries everything before anything is swapped. True: the new configuration is in force. config_reload_fini is due.
bool psk_reload(struct psk *psk, struct config_reload *outcome);
