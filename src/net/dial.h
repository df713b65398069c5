// Connecting to a host name, IP literal or Unix path as one cancellable operation: resolves, then tries every address
// in the resolver's order, the next one as soon as one fails or has been silent for a while (RFC 8305 in its simplest
// form: a 250 ms stagger, families alternating, the first to answer wins).

#pragma once

#include "core/loop.h"
#include "core/outcome.h"
#include "net/address.h"

#include <stdbool.h>
#include <stdint.h>

struct dial;

#define DIAL_PROBLEM_BYTES 256
struct dial_result {
	int fd;              // connected, the callback's owner takes it; -1 on failure
	struct address peer; // who answered
	bool timed_out;      // on failure: the deadline passed
	bool no_descriptor;  // on failure: this process has none left
	const char *problem; // on failure: "host: reason (address), reason (address)", lent
};
typedef void (*dial_fn)(void *owner, const struct dial_result *result);

// The callback comes later from the loop, never from within dial_start. host may be "unix:/path" (port ignored), an IP
// literal with or without brackets, or a name. Negative: no memory or no descriptor.
MUST_USE int dial_start(struct loop *loop, const char *host, uint16_t port, uint32_t timeout_ms, dial_fn on_done,
                        void *owner, struct dial **dial);
// To known addresses, without the resolver, in their order. At most DIAL_ADDRESSES are tried (of a name as well).
#define DIAL_ADDRESSES 16
MUST_USE int dial_addresses_start(struct loop *loop, const struct address *list, size_t count, uint32_t timeout_ms,
                                  dial_fn on_done, void *owner, struct dial **dial);
// To one known address.
MUST_USE int dial_address_start(struct loop *loop, const struct address *to, uint32_t timeout_ms, dial_fn on_done,
                                void *owner, struct dial **dial);
// Right after dial_start of a name: which of the resolver's addresses may be dialled (asked with the dial's owner). An
// address that the caller gave is the caller's to judge.
typedef bool (*dial_filter_fn)(void *owner, const struct sockaddr *address);
void dial_set_filter(struct dial *dial, dial_filter_fn allows);
// Harmless on NULL; no callback afterwards. Before the callback runs the owner's pointer has been set to NULL.
void dial_cancel(struct dial **dial);
