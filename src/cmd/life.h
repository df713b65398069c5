// The life of a node's certificates, for every command that holds some: warnings before they end, renewal by the node's
// own CA ([renewal]), and a reload when their files change (node.watch_files). An owner opens it on worker 0, hands it
// each configuration that comes into force, and lets it add to its status.

#pragma once

#include "config/config.h"
#include "core/loop.h"
#include "core/outcome.h"
#include "crypto/identity.h"
#include "limits.h"
#include "ops/status.h"

#define LIFE_PROBLEM_BYTES IDENTITY_PROBLEM_BYTES

// A node's own certificates, as they would be loaded to be judged by the CA that renews them. Lent.
#define LIFE_CERTIFICATES (LIMIT_CERTIFICATES + 2)
struct life_files {
	const struct identity_files *list;
	size_t count; // at most LIFE_CERTIFICATES
};
// What was loaded from them, and whom a node believes apart from them (NULL: nobody).
struct life_identities {
	struct identity *const *list;
	size_t count;
	X509_STORE *believed;
};

// Before identities are loaded, at a start: finishes renewals that a crash interrupted. Exit status, 0 is good; what is
// wrong has been logged.
MUST_USE int life_prepare(const struct config *config, const struct life_files *files);
// Whether a configuration's renewals could work, at a reload. Not 0: no, with a problem.
MUST_USE int life_check(const struct config *config, const struct life_files *files, char problem[LIFE_PROBLEM_BYTES]);

struct life;
// `reload` reads configuration and certificates again, as SIGHUP does; false: it was refused. It may call life_set.
typedef bool (*life_reload_fn)(void *owner);
MUST_USE int life_open(struct loop *loop, life_reload_fn reload, void *owner, struct life **life);
void life_close(struct life **life);
// All are only read during the call.
void life_set(struct life *life, const struct config *config, const struct life_files *files,
              const struct life_identities *identities);
// Before configuration and certificates are read again for whatever reason.
void life_mark(struct life *life);
// From any thread.
void life_show(struct life *life, struct status_node *status);
