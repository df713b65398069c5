// The HTTP endpoint for people and probes: GET /metrics, /health (503: not ready, or Unhealthy), /status, / (a list of
// these). On loopback unless told otherwise. libmicrohttpd on a thread of its own: bounded connections, memory and time
// per connection, so slow scrapers cannot hurt the tunnel.

#pragma once

#include "core/outcome.h"
#include "net/address.h"
#include "ops/status.h"

struct http;
// *address is updated with the port really bound. Negative: the kernel refused.
MUST_USE int http_start(struct address *address, status_fn fill, void *owner, struct http **http);
// No call of `fill` afterwards. Waits for one that is under way: not to be called with a lock that `fill` takes.
void http_stop(struct http **http);
