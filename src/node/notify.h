// What the service manager hears (sd_notify(3), without its library): ready, reloading, stopping, a line of status, and
// that the process is alive. Nothing happens outside of a service manager.

#pragma once

#include "core/outcome.h"

#include <stdint.h>

// Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID and removes them from the environment. Before any thread, and
// before the process is confined. Problems are logged: nobody waits in vain without a word.
void notify_start(void);

void notify_ready(void);
void notify_reloading(void); // notify_ready follows
void notify_stopping(void);
void notify_alive(void);
// One line for `systemctl status`.
void notify_status(const char *format, ...) PRINTF_LIKE(1, 2);

// How often the service manager wants to hear that the process is alive, 0: it does not.
uint64_t notify_watchdog_ms(void);
