// The life of a node's certificates, for every command that holds some: warnings before they end, and (node.watch_files) a reload
// when their files change. An owner opens it
// on worker 0, hands it each configuration that comes into force, and lets it add to its status.

#pragma once

#include "config/config.h"
#include "core/loop.h"
#include "core/outcome.h"
#include "crypto/identity.h"
#include "ops/status.h"

struct life;

// `reload` reads configuration and certificates again, as SIGHUP does; it may call life_set.
typedef void (*life_reload_fn)(void *owner);
MUST_USE int life_open(struct loop *loop, life_reload_fn reload, void *owner, struct life **life);
void life_close(struct life **life);
// Both are only read during the call.
void life_set(struct life *life, const struct config *config, const struct identity *identity);
// Before configuration and certificates are read again for whatever reason.
void life_mark(struct life *life);
// From any thread.
void life_show(struct life *life, struct status_node *status);
