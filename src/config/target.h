// "HOST:PORT", "IP:PORT", "[IP6]:PORT" or "unix:/path": where a proxy dials to, taken apart. Pure.

#pragma once

#include "core/outcome.h"

#include <stdint.h>

#define TARGET_HOST_BYTES 256
// host is what dial_start takes: without brackets, "unix:/path" with port 0. The fault for people, or NULL.
const char *target_split(const char *text, char host[TARGET_HOST_BYTES], uint16_t *port);
// The same for an address to listen on, which is no host name.
const char *target_listen_fault(const char *text);
