// The links of this process by id: responders find the link of a data connection here, and people see all of them.
// Thread-safe.

#pragma once

#include "core/outcome.h"
#include "link/link.h"

struct registry;
MUST_USE int registry_new(struct registry **registry);
void registry_free(struct registry **registry);
// Holds a reference until it is removed. REGISTRY_TAKEN: a link with that id is there already (a replayed HELLO cannot
// make one: ids come from both sides' fresh key exchange).
enum { REGISTRY_TAKEN = 1 };
MUST_USE int registry_add(struct registry *registry, struct link *link);
void registry_remove(struct registry *registry, struct link *link);
// A new reference, NULL when there is none.
struct link *registry_find(struct registry *registry, const uint8_t id[LINK_ID_BYTES]);
// Calls visit for each link with the registry locked; visit must not call back.
void registry_visit(struct registry *registry, void (*visit)(void *owner, struct link *link), void *owner);
size_t registry_count(struct registry *registry);
