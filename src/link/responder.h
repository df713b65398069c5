// The responder's side on one worker: strangers that have connected to the tunnel port, until they have proved to be a
// link's control connection (then a session keeps them) or one of its data connections (then they become streams).
//
// Everything a stranger can hold is bounded: a descriptor and some hundred bytes until its first byte, one TLS state
// after that, LIMIT_PENDING_PER_WORKER of them, one deadline from accept to proof.

#pragma once

#include "core/loop.h"
#include "crypto/identity.h"
#include "link/gate.h"
#include "link/registry.h"
#include "link/reverse.h"
#include "link/session.h"
#include "link/stream.h"
#include "net/address.h"

struct responder;

struct responder_settings {
	struct loop *loop;
	struct identity *identity;
	enum tls_pq pq;
	const char *const *allowed_peers; // patterns, may be empty
	size_t allowed_count;
	const char *congestion;
	uint32_t keepalive_ms, handshake_ms, user_timeout_ms;
	struct registry *registry;   // shared
	struct gate *gate;           // shared
	struct keyserver *keyserver; // shared; NULL when the McEliece leg is off
	struct control_settings control;
	struct link_settings link;
	// Of this worker, when its links are reverse links (control.hello.features has HELLO_REVERSE); else NULL.
	struct reverse_worker *reverse;
};

struct responder_ops {
	// The peer has said HELLO: whether a link may come of it. CONTROL_REASON_NONE: yes; else it is told the reason and
	// the text. Its keys do not stand yet. NULL: every peer may.
	enum control_reason (*may_link)(void *owner, const struct link_peer *peer, char text[LIMIT_REASON_BYTES + 1]);
	// After that, in a packet tunnel: what the peer gets (link_peer has it afterwards). As may_link. NULL: nothing.
	enum control_reason (*grant)(void *owner, const struct link_peer *peer, struct grant *given,
	                             char text[LIMIT_REASON_BYTES + 1]);
	// False: the owner cannot take it, and it ends at once, without on_down.
	bool (*on_up)(void *owner, struct link *link);
	// Live data connections of the link on all workers must be cut (stream_cut_all), or without `cut` the parked ones
	// dropped (stream_drop_parked). May be told once more, with `cut`, when streams that outlived it must end.
	void (*on_down)(void *owner, struct link *link, bool cut);
	// A stream's header has come: stream_own it, then stream_confirm or stream_refuse.
	stream_header_fn on_header;
};

// `reverse` is freed after the responder.
MUST_USE int responder_new(const struct responder_settings *settings, const struct responder_ops *ops, void *owner,
                           struct responder **responder);
// New settings for connections that come from now on; loop and tables stay. Links of this worker that stand are judged
// again: one whose peer would not be taken now is ended, with its streams. Texts and lists are lent until the next
// call. Negative: as before.
MUST_USE int responder_set(struct responder *responder, const struct responder_settings *settings);
// Says CLOSE with this reason. SHUTDOWN: what streams have sent is still read to its end by the peer; any other reason
// has the peer cut them. No callback afterwards; our streams live on until their owners close them.
void responder_free(struct responder **responder, enum control_reason reason);
// A connection to the tunnel port; *fd is taken.
void responder_take(struct responder *responder, int *fd, const struct address *peer);
// Ends a link, if it is one of this worker's, and tells its peer why; on_down follows.
void responder_end_link(struct responder *responder, const struct link *link, enum control_reason reason,
                        const char *text);
// GOAWAY to all links of this worker.
void responder_goaway(struct responder *responder, uint32_t deadline_ms);
