// The initiator's side of a link over time: dials one of its dests, proves itself, keeps the control connection, and
// when it is lost dials again with jittered back-off, for ever unless told otherwise. Names are resolved anew each
// time.
//
// Make before break: a link that is to be replaced (a renewal) takes new streams until its successor is up, and is then
// kept until its last stream has ended. So does one whose dest said GOAWAY, except that it takes nothing new meanwhile.
// Lives on one loop.

#pragma once

#include "core/loop.h"
#include "crypto/identity.h"
#include "link/destinations.h"
#include "link/session.h"
#include "policy/cidr.h"
#include "wire/tls_profile.h"

#include <stdbool.h>

struct initiator;

struct initiator_settings {
	struct loop *loop;
	struct identity *identity;
	enum tls_pq pq;
	const char *host; // the first dest: name, IP literal; NULL: only those of `dests`
	uint16_t port;
	const struct destination *dests; // more of them; with host at most LIMIT_DESTS, and at least one in all
	size_t dest_count;
	enum destinations_order order;
	uint32_t failback_ms;        // how often those before the one in use are tried, 0: never
	const struct cidr *outbound; // addresses that may be dialled; empty: all
	size_t outbound_count;
	const char *peer_name;            // expected in every dest's certificate; NULL: its host
	const char *const *allowed_peers; // patterns, may be empty
	size_t allowed_count;
	const char *congestion;
	uint32_t keepalive_ms, handshake_ms, user_timeout_ms;
	bool reconnect;
	uint32_t attempts_max; // rounds over all dests in a row, 0: for ever
	uint32_t delay_first_ms, delay_max_ms;
	// Pauses between 0 and a ceiling that doubles from the first delay to the longest, instead of at least the first:
	// a fleet that has lost its hub comes back evenly spread.
	bool full_jitter;
	struct control_settings control;
	struct link_settings link;
	struct keycache *keycache;
};

struct initiator_ops {
	// The link is the one for new streams from now on, instead of the one before; a reference is the owner's to take.
	void (*on_up)(void *owner, struct link *link);
	// Dest takes no new streams on the one in use; those that live go on, and on_down follows.
	void (*on_draining)(void *owner, struct link *link);
	// It is over, the one in use or an earlier one. cut: its live data connections end too. May be told once more, with
	// `cut`, when streams that outlived it must end.
	void (*on_down)(void *owner, struct link *link, bool cut);
	// Reverse links: the hub asks for a data connection; pool_claim, or initiator_open_failed. NULL on other links.
	void (*on_open)(void *owner, struct link *link, const struct control_open *open);
	// It will not be tried again (reconnect off, attempts used up).
	void (*on_given_up)(void *owner, const char *reason);
};

// Settings are copied, whatever they point to as well; the identity is referenced. Starts dialling at once.
MUST_USE int initiator_new(const struct initiator_settings *settings, const struct initiator_ops *ops, void *owner,
                           struct initiator **initiator);
// New settings; loop and keycache stay. Links that stand are judged again: one whose peer would not be taken now is
// ended, with its streams. When we show another certificate now, or the dest in use is not listed any more, the link is
// renewed. Negative: as before.
MUST_USE int initiator_set(struct initiator *initiator, const struct initiator_settings *settings);
// Dials a second link beside the one in use, which it then replaces. `reason` is for the log. Does nothing while there
// is no link: one is on its way.
void initiator_renew(struct initiator *initiator, const char *reason);
// Says CLOSE with this reason. SHUTDOWN: what streams have sent is still read to its end by the peer; any other reason
// has the peer cut them. No callback afterwards.
void initiator_free(struct initiator **initiator, enum control_reason reason);
// The network has changed: a pause ends at once, an attempt that has gone on for a second begins anew, and a link in
// use is asked for a sign of life. One that gives none in time gets a second one beside it, which takes its place if it
// comes up.
void initiator_network_changed(struct initiator *initiator);
// Answers an OPEN of this link that no data connection will come of. Harmless when the link is over.
void initiator_open_failed(struct initiator *initiator, struct link *link, const uint8_t token[STREAM_TOKEN_BYTES],
                           const struct header_answer *answer);
// Within on_up: this link cannot be taken. It ends, and back-off goes on as if it had not come up.
void initiator_refuse(struct initiator *initiator);
void initiator_want_epoch(struct initiator *initiator);

// For people; from any thread.
struct initiator_state {
	const char *state; // "connecting", "handshake", "up", "draining"
	char dest[300];    // "host:port" of the link in use, or of the one that is tried
	char last_error[256];
	uint64_t attempts; // rounds over all dests since the link was last up
	uint64_t errors;
	unsigned retiring; // earlier links that still carry streams
};
void initiator_read(struct initiator *initiator, struct initiator_state *state);
