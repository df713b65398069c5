// The packets of a TUN device joined to a ttun session: read as super-packets, cut, sealed and sent many at a time;
// received, opened and joined many at a time. One session at a time; without one what the device gives is dropped.
//
// Threads: every queue of the device has a loop. The wire has one sequence of frames in each direction, so what runs
// side by side is: the reading and cutting of each queue, the sealing and sending of one slice of frames (whose turn it
// is), and everything inward, on the loop of the last queue. All functions are for the loop of queue 0, but where it
// says otherwise.
//
// Back-pressure: a socket that takes no more stops the reading of the device, whose queues then drop, as any interface
// does.

#pragma once

#include "core/loop.h"
#include "core/outcome.h"
#include "edge/tun.h"
#include "policy/cidr.h"
#include "wire/ttun.h"

#include <stdbool.h>
#include <stdint.h>

struct packets;

// The session has ended and its socket is closed, or the device is gone; `reason` for people, lent. Called from the
// loop of queue 0.
typedef void (*packets_fn)(void *owner, const char *reason);

// For the device's life; it is lent. `home` is the loop of queue 0. Negative: no memory.
MUST_USE int packets_new(struct loop *home, struct tun *tun, packets_fn on_lost, void *owner, struct packets **packets);
// When the loops have been freed, or had their turn after the last packets_close.
void packets_free(struct packets **packets);
// On the thread of the loop that is to serve this queue of the device, before anything else is asked for. Negative: no
// memory.
MUST_USE int packets_open(struct packets *packets, unsigned queue, struct loop *loop);
// On the same thread; queue 0 ends the session. Harmless when it was not opened.
void packets_close(struct packets *packets, unsigned queue);

// Segment sizes that TCP announces in either direction are lowered to what fits into this; 0: left alone.
void packets_set_clamp(struct packets *packets, uint32_t mtu);
// What comes from the peer with a source outside of these is dropped and counted; none: anything passes. Copied.
// Negative: no memory, nothing has changed.
MUST_USE int packets_set_sources(struct packets *packets, const struct cidr *sources, size_t count);

// Takes both, *fd becomes -1 and *ttun NULL; the handshake is over. An earlier session is ended without on_lost.
// Negative: nothing has changed and nothing was taken.
MUST_USE int packets_attach(struct packets *packets, int *fd, struct ttun **ttun);
// Ends the session, if there is one, without on_lost.
void packets_detach(struct packets *packets);
bool packets_has_session(const struct packets *packets);
// False: somebody has deleted the device; nothing will pass any more.
bool packets_has_device(const struct packets *packets);

// A hybrid client renews the keys so often, and after so many bytes in both directions together; every_ms 0: never.
void packets_set_renewal(struct packets *packets, uint32_t every_ms, uint64_t after_bytes);

struct packets_state {
	uint32_t generation;                      // of keys: how often they were renewed
	uint64_t bytes_outward, bytes_inward;     // of packets, this session
	uint64_t packets_outward, packets_inward; // this session
};
// From any thread.
void packets_read(struct packets *packets, struct packets_state *state);
