// What somebody wants to know of a flow, and how fast it may be: bytes both ways, how it ended, a rate that several
// flows share. For flows of a hub; written on the flow's thread only.

#pragma once

#include "policy/rate.h"

#include <stdatomic.h>
#include <stdint.h>

#define ACCOUNT_REASON_BYTES 160

struct account {
	struct rate *rate;                  // NULL: no limit
	_Atomic uint64_t *outward, *inward; // added to while bytes move, may be NULL
	uint64_t sent, received;            // to the peer, from the peer
	char ended[ACCOUNT_REASON_BYTES];   // "finished", or what broke it
	// The flow is over, on its thread, once. Only for a flow that was taken.
	void (*on_end)(struct account *account);
};
