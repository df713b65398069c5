// Hears of changes of this host's network: links that come up or go, addresses, routes (rtnetlink). For those who would
// rather look at once than wait for a pause or a heartbeat to end.
//
// Debounced: the owner is told when there has been quiet for a moment, at the latest a second after the first change,
// and not more often than once a second. Lives on one loop.

#pragma once

#include "core/loop.h"
#include "core/outcome.h"

struct netlink_watch;
typedef void (*netlink_watch_fn)(void *owner);

// Negative: no rtnetlink here (a container may forbid it): the owner does without.
MUST_USE int netlink_watch_open(struct loop *loop, netlink_watch_fn on_change, void *owner,
                                struct netlink_watch **watch);
// Harmless on NULL.
void netlink_watch_close(struct netlink_watch **watch);
