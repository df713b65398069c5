// What clients of the entry may ask for, and which service a request means: an IP literal, "localhost" or a name of
// dest stand for dest, so the port says which service; any other host is a service's name, whatever the port. A table
// never changes and is shared by the workers; a reload makes a new one. Pure.

#pragma once

#include "core/outcome.h"
#include "edge/request.h"
#include "link/header.h"
#include "policy/cidr.h"

#include <stdbool.h>
#include <stddef.h>

struct route_port {
	uint16_t port;
	bool tcp, udp;
};

struct route_name {
	const char *service;
	bool tcp, udp;
};

struct route_settings {            // all of it is copied
	const char *const *dest_hosts; // names of dest
	size_t dest_host_count;
	const struct cidr *outbound; // IP literals must lie in one of them; none: all may
	size_t outbound_count;
	const struct route_port *ports; // with neither ports nor names everything that dest exposes may be asked for
	size_t port_count;
	const struct route_name *names;
	size_t name_count;
};

struct route_table;
MUST_USE int route_table_new(const struct route_settings *settings, struct route_table **table);
// From any thread. Leaves NULL, harmless on NULL.
struct route_table *route_table_ref(struct route_table *table);
void route_table_unref(struct route_table **table);

// 0: service and port of *header are set (its kind, HEADER_TCP or HEADER_UDP, is the caller's and is asked for here).
enum { ROUTE_NOT_EXPOSED = 1, ROUTE_NOT_OUTBOUND = 2 };
MUST_USE int route_find(const struct route_table *table, const struct request *request, struct header *header);
