// The control connection of a link while it stands: joins a TLS connection whose handshake is done (wire/tls_conn) to
// the engine (link/control) and feeds the shared link (link/link). Both roles. Lives on one loop.

#pragma once

#include "core/loop.h"
#include "link/keycache.h"
#include "link/keyserver.h"
#include "link/link.h"

struct session;

// The owner may call its session from within these, but for on_end, when it is gone: what that leads to waits until the
// engine has done its step.
struct session_ops {
	// The peer's HELLO has come: whether a link may come of it; if not, it is told the reason and the text. NULL: it
	// may.
	enum control_reason (*may_link)(void *owner, const struct link_peer *peer, char text[LIMIT_REASON_BYTES + 1]);
	// Responder, after that: what the peer gets within a packet tunnel, given what it asks for. As may_link. NULL:
	// nothing.
	enum control_reason (*grant)(void *owner, const struct link_peer *peer, struct grant *given,
	                             char text[LIMIT_REASON_BYTES + 1]);
	// The first epoch is there; the link may carry streams. The owner takes a reference if it keeps it; false: it
	// cannot take the link, which then ends.
	bool (*on_up)(void *owner, struct link *link);
	// Over, once; the session has freed itself. `link` is NULL when it never came up. cut: by a CLOSE other than for an
	// orderly stop, or a peer that fell silent, so live data connections are to be cut too; otherwise they go on.
	void (*on_end)(void *owner, struct link *link, bool cut, const char *reason);
	// The peer will not take new streams (drain).
	void (*on_goaway)(void *owner, struct link *link);
	// Reverse links, on the initiator and on the responder; NULL elsewhere.
	void (*on_open)(void *owner, struct link *link, const struct control_open *open);
	void (*on_open_failed)(void *owner, struct link *link, const uint8_t token[STREAM_TOKEN_BYTES],
	                       const struct header_answer *answer);
};

struct session_settings {
	struct loop *loop;
	struct control_settings control;       // certificate digests and instance are filled in by the session
	struct link_settings link;             // id and group are filled in
	const uint8_t *own_certificate_digest; // SHA-384 of our certificate's DER
	struct keyserver *keyserver;           // responder, when the McEliece leg is on
	struct keycache *keycache;             // initiator, when the McEliece leg is on
};

// Takes *tls (ready). peer_address is for people.
MUST_USE int session_start(const struct session_settings *settings, struct tls_conn **tls, const char *peer_address,
                           const struct session_ops *ops, void *owner, struct session **session);
// Sends CLOSE, waits shortly for it to leave, frees itself; no callback afterwards. Leaves NULL.
void session_close(struct session **session, enum control_reason reason, const char *text);
void session_goaway(struct session *session, uint32_t deadline_ms);
// Judges the peer again, as a handshake of now would: against this identity's CAs and revocation lists, and the names,
// judge and owner of `wanted`. A peer that fails is told why and the session ends, which may call on_end. False then.
bool session_judge(struct session *session, struct identity *identity, const struct tls_options *wanted);
// Why the peer has closed it, for on_end; CONTROL_REASON_NONE: it has not.
enum control_reason session_peer_reason(const struct session *session);
// Ends the session for a reason of the owner's, as if it had found it itself: on_end is called.
void session_end(struct session *session, enum control_reason reason, const char *text);
// Reverse links: the responder asks for a data connection; the initiator says that there will be none. Harmless once
// the session is over.
void session_open(struct session *session, const struct control_open *open);
void session_open_failed(struct session *session, const uint8_t token[STREAM_TOKEN_BYTES],
                         const struct header_answer *answer);
// Asks the peer for a sign of life now, unless a PING is unanswered already.
void session_probe(struct session *session);
void session_want_epoch(struct session *session);
const struct link_peer *session_peer(const struct session *session);
struct link *session_link(const struct session *session); // NULL before it is up
