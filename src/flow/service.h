// The named targets a node offers, shared by its workers: looked up by what a stream header asks for.
//
// A table never changes. A reload makes a new one; flows of the old one keep it until they end. What a service carries
// (its load) goes on from table to table under the same name, so a limit counts all its flows.

#pragma once

#include "core/outcome.h"
#include "crypto/identity.h"
#include "link/header.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A source with a listen_port and no exposed ports asks for this: the service on that port, or the only one.
#define SERVICE_DEFAULT "*"

enum service_protocol { SERVICE_TCP, SERVICE_UDP, SERVICE_BOTH };

struct service_settings { // texts are copied
	const char *name;
	uint16_t port; // what source's exposed ports refer to
	const char *target_host;
	uint16_t target_port;
	uint32_t connections_max;
	enum service_protocol protocol;
	const char *const *clients; // patterns of identity_matches; none: every peer may use it
	size_t client_count;
	bool introduces; // the target is told whose connection it is (PROXY protocol, version 2)
};

struct service_load {
	_Atomic uint32_t references;
	_Atomic uint32_t connections;
	_Atomic bool probed; // a flow tries whether the target is up again
	_Atomic uint64_t connections_total, bytes_sent, bytes_received, errors;
};

struct service {
	char *name;
	uint16_t port;
	char *target_host;
	uint16_t target_port;
	uint32_t connections_max;
	enum service_protocol protocol;
	char **clients;
	size_t client_count;
	bool introduces;
	struct service_load *load;
};

struct service_table {
	_Atomic uint32_t references;
	size_t count;
	struct service services[];
};

// `old` may be NULL. Negative: no memory.
MUST_USE int service_table_new(const struct service_settings *list, size_t count, const struct service_table *old,
                               struct service_table **table);
// From any thread. Leaves NULL, harmless on NULL.
struct service_table *service_table_ref(struct service_table *table);
void service_table_unref(struct service_table **table);

// By name when the header has one, else by port; SERVICE_DEFAULT: by port, else the only service there is. NULL: not
// offered, or not for the header's kind; service_missing says which, for our log.
struct service *service_find(struct service_table *table, const struct header *header);
const char *service_missing(const struct service_table *table, const struct header *header);
// Whether a peer with this certificate may use it.
bool service_admits(const struct service *service, X509 *certificate);
// Takes a place: false when the service has as many connections as it may.
bool service_enter(struct service *service);
void service_leave(struct service *service);
// A target that refused is tried again by one flow at a time, whoever else waits for it. True: by the caller, until
// service_end_probe.
bool service_begin_probe(struct service *service);
void service_end_probe(struct service *service);
// What went to its target and came from it; and a flow that did not reach the target, or broke.
void service_count_bytes(struct service *service, size_t sent, size_t received);
void service_count_error(struct service *service);
// "name:port,name:port" as far as it fits, for HELLO. Services that are not for every peer are not told of.
void service_list(const struct service_table *table, char *text, size_t size);
