// Within the vpn_clients*.c files. With the vpn's lock held, unless it says otherwise.

#pragma once

#include "cmd/vpn_internal.h"
#include "fleet/naming.h"
#include "policy/leases.h"

struct vpn_client {
	char name[NAMING_BYTES];
	struct link *link; // a reference
	struct lanes_peer *peer;
	struct grant given;
	uint32_t lease; // its number in the pool; 0: none
	uint64_t up_ms;
	uint64_t ups_since_ms;
	unsigned ups; // since then
};

struct vpn_clients {
	struct leases *leases;             // NULL: no pool
	struct grant_network pool4, pool6; // version 0: none
	uint32_t pool_count;
	uint64_t table_age;
	uint32_t count;
	struct vpn_client *slots[LIMIT_VPN_CLIENTS];
	struct netlink_address *routes; // that lead to clients; main thread
	size_t route_count;
};

// What a name gets.
struct vpn_assignment {
	char name[NAMING_BYTES];
	struct grant given;
	uint32_t lease;
};

struct vpn_client *vpn_clients_find(const struct vpn_clients *clients, const char *name);

// ---- vpn_clients_assign.c

// The pool, at the start. Negative: no memory.
MUST_USE int vpn_clients_pool(struct vpn *vpn);
// Addresses of the pool that somebody has by name are not leased.
void vpn_clients_reserve(struct vpn *vpn);
enum control_reason vpn_clients_name(const struct config *config, const struct link_peer *peer, char name[NAMING_BYTES],
                                     char text[LIMIT_REASON_BYTES + 1]);
// Whether a client of this name gets anything at all.
bool vpn_clients_knows(const struct vpn *vpn, const char *name);
// Given assignment->name of one that is known, the rest.
enum control_reason vpn_clients_assign(struct vpn *vpn, struct vpn_assignment *assignment,
                                       char text[LIMIT_REASON_BYTES + 1]);
uint64_t vpn_clients_limit(const struct config *config, const char *name);
// Whose addresses are whose now. Negative: no memory.
MUST_USE int vpn_clients_table(struct vpn *vpn, struct lanes_table **table);
