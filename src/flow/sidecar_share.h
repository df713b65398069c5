// What all workers of a sidecar count together: connections, those of each client, handshakes under way and how fast
// new ones come, and what came of them for each target. From any thread.

#pragma once

#include "core/outcome.h"
#include "core/tally.h"
#include "net/address.h"
#include "policy/quota.h"

#include <stdbool.h>
#include <stdint.h>

struct sidecar_limits { // 0: no limit
	uint32_t connections_max;
	uint32_t client_max;     // of one IPv4 address or IPv6 /64
	uint32_t handshakes_max; // connections that have not yet proved anything
	uint32_t rate_max;       // handshakes of one address in a window
	uint32_t rate_window_ms; // of this length
};

struct sidecar_shares;

MUST_USE int sidecar_shares_new(const struct sidecar_limits *limits, uint64_t seed, struct sidecar_shares **shares);
// For whoever comes from now on. Negative: no memory, the old ones stay.
MUST_USE int sidecar_shares_set(struct sidecar_shares *shares, const struct sidecar_limits *limits);
void sidecar_shares_free(struct sidecar_shares **shares);

// A place among all connections. False: there are as many as may be.
bool sidecar_share_enter(struct sidecar_shares *shares);
void sidecar_share_leave(struct sidecar_shares *shares);
uint32_t sidecar_shares_open(const struct sidecar_shares *shares);

// A place among those of one client. False: it has as many as it may. *charged tells whether one was taken.
bool sidecar_share_charge(struct sidecar_shares *shares, const struct quota_key *key, bool *charged);
void sidecar_share_discharge(struct sidecar_shares *shares, const struct quota_key *key);

// A place among those who have yet to prove something. False: somebody else must go first.
bool sidecar_share_begin(struct sidecar_shares *shares);
void sidecar_share_end(struct sidecar_shares *shares);
// Whether this address may start a handshake now.
bool sidecar_share_allows(struct sidecar_shares *shares, const struct sockaddr *address, uint64_t now_ms);

// The tally of a target by its name, made at its first use and kept until the shares are freed; "" is that of all of
// them. NULL: no memory, or more names than LIMIT_TALLIES.
struct tally *sidecar_tally(struct sidecar_shares *shares, const char *target);
