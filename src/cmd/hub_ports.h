// TCP ports of a hub that lead to devices, for programs that know no Unix sockets ([[hub.tcp]]). On worker 0.

#pragma once

#include "config/config.h"

struct hub;
struct hub_port;

#define HUB_PORTS_PROBLEM_BYTES 256
// The ports of this configuration: those that are open already stay open, new ones are opened, the others are closed.
// Not 0: a port cannot be had, `problem` says which, and all are as before.
MUST_USE int hub_ports_set(struct hub *hub, const struct config *config, char problem[HUB_PORTS_PROBLEM_BYTES]);
void hub_ports_close(struct hub *hub);
