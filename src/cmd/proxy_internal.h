// `qanat proxy`, shared by the proxy*.c files. One acceptor for each address on worker 0 hands each connection to the
// worker with the fewest; there it stays. Worker 0 is the main thread and carries out reloads.

#pragma once

#include "cmd/tunnel_node.h"
#include "core/brake.h"
#include "crypto/authorise.h"
#include "crypto/trust.h"
#include "edge/listener.h"
#include "flow/probes.h"
#include "flow/sidecar.h"
#include "limits.h"

#include <pthread.h>
#include <stdatomic.h>

struct proxy;

struct proxy_worker {
	struct proxy *proxy;
	struct loop *loop;
	struct sidecars *sidecars;
	struct authorise *authorise; // a reference of its own: replaced on its own thread
};

struct proxy_door {
	struct proxy *proxy;
	struct listener *listener;
};

// What comes of the files of a configuration: whom we are, whom we believe, whom we let in. References are counted, and
// the null value holds none.
#define PROXY_IDENTITIES LIFE_CERTIFICATES
struct proxy_material {
	struct identity *identities[PROXY_IDENTITIES];
	size_t identity_count;
	struct trust *trust;
	struct authorise *authorise; // NULL: every certificate that was verified
	uint8_t (*pins)[TLS_PIN_BYTES];
	size_t pin_count;
};

struct proxy {
	struct tunnel_node node;
	struct proxy_worker *worker;
	unsigned worker_count, turn;
	struct sidecar_shares *shares;
	struct proxy_door *doors;
	size_t door_count;
	struct brake refusals; // lines about them
	struct probes *probes; // on worker 0

	pthread_mutex_t lock; // what the HTTP thread reads as well
	struct config *config;
	struct proxy_material material;
	struct targets *targets;
};

uint64_t proxy_open(const struct proxy *proxy);

// ---- proxy_doors.c: what it listens on. Exit status, 0 is good; problems have been logged.
MUST_USE int proxy_doors_open(struct proxy *proxy);
void proxy_doors_close(struct proxy *proxy);

// ---- proxy_settings.c: out of a configuration

#define PROXY_PROBLEM_BYTES 512
// 0; 1: a file is not acceptable, as `problem` says; negative.
MUST_USE int proxy_material_load(const struct config *config, struct proxy_material *material,
                                 char problem[PROXY_PROBLEM_BYTES]);
void proxy_material_fini(struct proxy_material *material); // leaves the null value
struct sidecar_limits proxy_limits(const struct config *config);
// `old` may be NULL. Negative: no memory.
MUST_USE int proxy_make_targets(const struct config *config, struct targets *old, struct targets **targets);
struct probes_settings proxy_probes_settings(const struct config *config);
// For the thread that calls it. 0; 1: `problem` says why not; negative.
MUST_USE int proxy_make_profile(const struct config *config, const struct proxy_material *material,
                                struct tls_profile **profile, char problem[PROXY_PROBLEM_BYTES]);
// The files of a proxy, and what its settings say together about TLS, as a start would find them; for those who only
// look. False: `problem` says why not.
bool proxy_try(const struct config *config, char problem[PROXY_PROBLEM_BYTES]);
// Of one worker, on its thread, out of what proxy has now. Texts are lent.
struct sidecars_settings proxy_sidecars_settings(struct proxy_worker *worker, struct tls_profile *profile);

// ---- proxy_life.c: certificates that end
// Finishes renewals that a crash interrupted, before the files are read. Exit status, 0 is good; problems are logged.
MUST_USE int proxy_prepare_life(const struct config *config);
// Whether renewals could work. 0; 1: `problem` says why not; negative.
MUST_USE int proxy_check_life(const struct config *config, char problem[PROXY_PROBLEM_BYTES]);
// Hands the configuration and the certificates in force to their life.
void proxy_set_life(struct proxy *proxy);

// status_fn
void proxy_fill_status(void *owner, struct status_node *status);

// Puts a new configuration into force: `take` of a tunnel_node_kind.
MUST_USE int proxy_take(void *owner, struct config **next, struct identity **identity,
                        char problem[TUNNEL_RELOAD_PROBLEM_BYTES]);
