// The dests a source may link with: dest_host and dest_tunnel_port first, then the list.

#pragma once

#include "config/load.h"

#define DESTS_HOST_BYTES 256

// "host:port", "[::1]:port". NULL and the two parts, or what is wrong with it.
const char *dests_parse(const char *text, char host[DESTS_HOST_BYTES], uint16_t *port);
// All of them in their order; `index` below dests_count.
size_t dests_count(const struct config *config);
void dests_get(const struct config *config, size_t index, char host[DESTS_HOST_BYTES], uint16_t *port);
// Adds to load->problems: malformed, listed twice, too many.
void dests_check(struct load *load);
// Whether this key's absence is made up for by the list.
bool dests_replace(const struct load *load, const char *path);
