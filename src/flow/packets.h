// The packets of a TUN device joined to a ttun session: read as super-packets, cut, sealed and sent many at a time;
// received, opened and joined many at a time. One loop, one session at a time; without a session what the device gives
// is dropped.
//
// Back-pressure: a socket that takes no more stops the reading of the device, whose queue then drops, as any interface
// does.

#pragma once

#include "core/loop.h"
#include "core/outcome.h"
#include "edge/tun.h"
#include "wire/ttun.h"

#include <stdbool.h>
#include <stdint.h>

struct packets;

// The session has ended and its socket is closed, or the device is gone; `reason` for people, lent. Called from the
// loop.
typedef void (*packets_fn)(void *owner, const char *reason);

// For the device's life; it is lent. Negative: no memory.
MUST_USE int packets_new(struct loop *loop, struct tun *tun, packets_fn on_lost, void *owner, struct packets **packets);
void packets_free(struct packets **packets);

// Segment sizes that TCP announces in either direction are lowered to what fits into this; 0: left alone.
void packets_set_clamp(struct packets *packets, uint32_t mtu);

// Takes both, *fd becomes -1 and *ttun NULL; the handshake is over. An earlier session is ended without on_lost.
// Negative: nothing has changed and nothing was taken.
MUST_USE int packets_attach(struct packets *packets, int *fd, struct ttun **ttun);
// Ends the session, if there is one, without on_lost.
void packets_detach(struct packets *packets);
bool packets_has_session(const struct packets *packets);
// False: somebody has deleted the device; nothing will pass any more.
bool packets_has_device(const struct packets *packets);

// A hybrid client renews the keys so often, and after LIMIT_TLS_KEY_BYTES; 0: never.
void packets_set_renewal(struct packets *packets, uint32_t every_ms);

struct packets_state {
	uint32_t generation;                      // of keys: how often they were renewed
	uint64_t bytes_outward, bytes_inward;     // of packets, this session
	uint64_t packets_outward, packets_inward; // this session
};
// From any thread.
void packets_read(struct packets *packets, struct packets_state *state);
