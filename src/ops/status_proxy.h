// What people see of a proxy: its tallies, for each target and all together. Shared by the encoders of ops/status.h.

#pragma once

#include "ops/status.h"

#include <jansson.h>
#include <stdio.h>

// Families of /metrics; nothing of a node that is no proxy.
void status_put_proxy(FILE *out, const struct status_node *status);
// An object for /status; *bad is set when a value found no memory.
json_t *status_describe_proxy(const struct status_node *status, bool *bad);
