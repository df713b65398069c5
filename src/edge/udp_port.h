// A UDP port of ours on a loop: hands what arrives to its owner in batches, a bounded number of them in a turn, so that
// a flood does not keep the loop from its other work; and sends answers in batches.

#pragma once

#include "core/loop.h"
#include "core/outcome.h"
#include "net/datagram.h"

struct udp_port;

// The runs are lent. The owner may close the port.
typedef void (*udp_port_fn)(void *owner, const struct datagram_run *runs, size_t count);

// *address is updated with what was really bound (port 0). Several ports of one address, one on each worker, share its
// clients: the first is opened as DATAGRAM_FIRST, the others join. Negative: the kernel refused (-EADDRINUSE, ...).
// DATAGRAM_NOT_SHARED: see there; no port was opened, and the first one has all clients.
MUST_USE int udp_port_open(struct loop *loop, struct address *address, enum datagram_role role, udp_port_fn on_runs,
                           void *owner, struct udp_port **port);
// Called once when the socket is broken for good (somebody else shut it down), so that nothing would arrive any more;
// it was logged. The owner may close the port.
typedef void (*udp_port_broken_fn)(void *owner);
void udp_port_on_broken(struct udp_port *port, udp_port_broken_fn on_broken);
// Sends each element of the list to `to`, `prefix` (may be NULL) in front of each. Returns how many went; the others
// are counted as dropped.
size_t udp_port_send(struct udp_port *port, const struct datagram_to *to, const struct iovec *prefix,
                     const struct iovec *list, size_t count);
void udp_port_close(struct udp_port **port);
