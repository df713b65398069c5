// The initiator's side of a link over time: dials, proves itself, keeps the control connection, and when it is lost
// dials again with jittered back-off, for ever unless told otherwise. Names are resolved anew each time. Lives on one
// loop.

#pragma once

#include "core/loop.h"
#include "crypto/identity.h"
#include "link/session.h"
#include "wire/tls_profile.h"

#include <stdbool.h>

struct initiator;

struct initiator_settings {
	struct loop *loop;
	struct identity *identity;
	enum tls_pq pq;
	const char *host; // dest: name, IP literal
	uint16_t port;
	const char *peer_name;            // expected in its certificate; NULL: host
	const char *const *allowed_peers; // patterns, may be empty
	size_t allowed_count;
	const char *congestion;
	uint32_t keepalive_ms, handshake_ms;
	bool reconnect;
	uint32_t attempts_max; // in a row, 0: for ever
	uint32_t delay_first_ms, delay_max_ms;
	struct control_settings control;
	struct link_settings link;
	struct keycache *keycache;
};

struct initiator_ops {
	// The link may be used; a reference is the owner's to take.
	void (*on_up)(void *owner, struct link *link);
	// Dest takes no new streams on it; those that live go on, and on_down follows.
	void (*on_draining)(void *owner, struct link *link);
	// It may not any more. cut: its live data connections end too.
	void (*on_down)(void *owner, struct link *link, bool cut);
	// It will not be tried again (reconnect off, attempts used up).
	void (*on_given_up)(void *owner, const char *reason);
};

// Texts and lists are lent until initiator_set names others. Starts dialling at once.
MUST_USE int initiator_new(const struct initiator_settings *settings, const struct initiator_ops *ops, void *owner,
                           struct initiator **initiator);
// New settings for the next control connection; loop, keycache and the link that is up stay. Negative: as before.
MUST_USE int initiator_set(struct initiator *initiator, const struct initiator_settings *settings);
// Says CLOSE with this reason. SHUTDOWN: what streams have sent is still read to its end by the peer; any other reason
// has the peer cut them. No callback afterwards.
void initiator_free(struct initiator **initiator, enum control_reason reason);
void initiator_want_epoch(struct initiator *initiator);

// For people; from any thread.
struct initiator_state {
	const char *state; // "connecting", "handshake", "up", "draining"
	char last_error[256];
	uint64_t attempts; // since the link was last up
	uint64_t errors;
};
void initiator_read(struct initiator *initiator, struct initiator_state *state);
