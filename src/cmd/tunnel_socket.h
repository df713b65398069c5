// The control socket of `source` and `dest`, out of a configuration.

#pragma once

#include "config/config.h"
#include "config/reload.h"
#include "ops/control_socket.h"

// Opens it where the configuration says, or at a default place that can be used; none at all is no failure unless a
// path was asked for. The problem has been logged and the exit status is returned; 0 is good. NULL is left when it is
// off.
MUST_USE int tunnel_socket_open(const struct config *config, const char *command, struct loop *loop,
                                const struct control_socket_ops *ops, void *owner, struct control_socket **socket);
// Answers with what a reload has come to.
void tunnel_socket_report(bool ok, const struct config_reload *outcome, reload_answer_fn answer, void *to);
