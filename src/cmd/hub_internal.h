// `qanat hub`, shared by the hub*.c files. One acceptor on worker 0 hands connections of devices to the workers, as in
// dest. The sockets of devices are on worker 0 as well; what comes in there is judged, then a data connection of the
// device is wished for (link/reverse), and the flow lives on the worker where that is.

#pragma once

#include "cmd/hub_policy.h"
#include "cmd/tunnel_node.h"
#include "edge/listener.h"
#include "fleet/door.h"
#include "fleet/fleet.h"
#include "fleet/pins.h"
#include "flow/flow.h"
#include "link/responder.h"
#include "link/reverse.h"
#include "node/expiry.h"
#include "ops/audit.h"

#include <pthread.h>
#include <stdatomic.h>

struct hub;
struct seat;

struct hub_worker {
	struct hub *hub;
	struct loop *loop;
	struct responder *responder;
	struct reverse_worker *reverse;
	struct flows *flows;
	const struct hub_policy *policy; // replaced on its thread
};

struct channel;

struct hub_channels { // all of them
	pthread_mutex_t lock;
	struct channel *newest;
	unsigned waiting;        // for a stream
	struct loop_timer *care; // worker 0: looks whether those that wait are still wanted
	bool caring;
	uint64_t ids;
};

struct hub {
	struct tunnel_node node;
	struct hub_worker *worker;
	unsigned worker_count, turn;
	struct registry *registry;
	struct reverse *reverse;
	struct gate *gate;
	struct keyserver *keyserver;
	struct fleet *fleet;
	struct pins *pins;   // NULL: names are in certificates
	struct audit *audit; // NULL: none
	struct doors *doors;
	struct seat *seats;     // worker 0
	struct hub_port *ports; // worker 0
	struct listener *listener;
	_Atomic uint32_t channels; // open or being opened
	struct hub_channels joined;
	_Atomic uint32_t open_timeout_ms, channels_max;

	pthread_mutex_t lock; // what other threads read as well
	struct config *config;
	struct identity *identity;
	struct hub_policy *policy;
};

struct responder_settings hub_responder_settings(struct hub *hub, unsigned index);
struct flows_settings hub_flows_settings(const struct hub *hub, struct loop *loop);
struct fleet_settings hub_fleet_settings(const struct config *config);
void hub_set_limits(struct hub *hub);
// Data connections a device's link may have now. From any worker.
uint32_t hub_connections_max(struct hub *hub);
MUST_USE int hub_make_keyserver(struct hub *hub, const struct config *config);
extern const struct responder_ops hub_responder_ops;

// Worker 0: opens or closes the sockets of a device as it is there or away. From any worker; takes the reference.
void hub_seat_look(struct hub *hub, struct device **device);
// door_fn of the sockets.
void hub_seat_accept(void *owner, int fd);
// Worker 0, at the end, and when the configuration asks for other sockets.
void hub_seats_close(struct hub *hub);
void hub_seats_look_all(struct hub *hub);
// Ends the links of those that the policy denies now.
void hub_cut_denied(struct hub *hub);
// Writes the end of all that are here, when the hub stops.
void hub_audit_stop(struct hub *hub);
// pins_kept_fn
void hub_on_kept(void *owner, const char *name, int r);
// False: nothing of such a device is here.
bool hub_kick(struct hub *hub, const char *name, const char *why);

// Worker 0: somebody has connected to a device's socket.
void hub_channel_take(struct hub *hub, struct device *device, const char *service, int fd);
MUST_USE int hub_channels_init(struct hub *hub);
void hub_channels_fini(struct hub *hub);
// From any thread: ends all that runs to devices that are meant, on whichever of their links: also on one whose control
// connection is over. Returns how many there were. `why` is for the audit log, and lives for ever.
typedef bool (*hub_meant_fn)(const void *owner, const struct device *device, const struct link *link);
size_t hub_channels_cut(struct hub *hub, hub_meant_fn is_meant, const void *owner, const char *why);
// Or to a port that leads to one, from an address that may.
void hub_channel_take_tcp(struct hub *hub, struct device *device, const char *service, int fd,
                          const struct address *peer);

// How near a device's certificate is to its end, by [expiry]; at the end itself its link is cut by nobody, but a new
// one is refused.
enum expiry_stage hub_judge_expiry(const struct expiry_thresholds *thresholds, const struct link *link);

// status_fn, and the answers to `qanat devices` and `qanat kick`.
void hub_fill_status(void *owner, struct status_node *status);
char *hub_answer_devices(void *owner, const char *after);
char *hub_answer_kick(void *owner, const char *name);

// Puts a new configuration into force: `take` of a tunnel_node_kind.
MUST_USE int hub_take(void *owner, struct config **next, struct identity **identity,
                      char problem[TUNNEL_RELOAD_PROBLEM_BYTES]);
