// The named targets a node offers, shared by its workers: looked up by what a stream header asks for.

#pragma once

#include "link/header.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

// A source with a listen_port and no exposed ports asks for this: the service on that port, or the only one.
#define SERVICE_DEFAULT "*"

struct service {
	const char *name;
	uint16_t port; // what source's exposed ports refer to
	const char *target_host;
	uint16_t target_port;
	uint32_t connections_max;
	_Atomic uint32_t connections;
};

struct service_table {
	struct service *services;
	size_t count;
};

// By name when the header has one, else by port; SERVICE_DEFAULT: by port, else the only service there is. NULL: not
// offered.
struct service *service_find(struct service_table *table, const struct header *header);
// Takes a place: false when the service has as many connections as it may.
bool service_enter(struct service *service);
void service_leave(struct service *service);
// "name:port,name:port" as far as it fits, for HELLO.
void service_list(const struct service_table *table, char *text, size_t size);
