// The engine of a control connection: HELLO, epochs, pings, GOAWAY, CLOSE, in both roles. No socket and no clock
// inside: frames go in through control_receive, out through ops->send; time comes in as `now_us`. Spec:
// docs/protocol.md.
//
// Frame: u32 length of the body | u8 type | body. Allowed length depends on type and state; everything is checked
// before it is buffered (KEY is the only large message and is accepted only after KEY_WANT or EPOCH_RETRY).
//
// The engine counts what only it sees (core/counter.h): epochs by outcome and violations of the protocol. It does not
// log: on_close has the reason and a text for the line that its owner writes.
//
// Every callback may be made from within control_start, control_receive, control_tick, control_want_epoch,
// control_close; none of them may call back into the engine or free it.

#pragma once

#include "core/outcome.h"
#include "core/secret.h"
#include "link/grant.h"
#include "link/header.h"
#include "link/schedule.h"
#include "link/terms.h"
#include "limits.h"

#include <stdbool.h>
#include <stdint.h>

enum control_role { CONTROL_INITIATOR, CONTROL_RESPONDER };

// Why a link ended: sent in CLOSE, shown in logs. Values are on the wire. A peer's value that is not listed arrives as
// CONTROL_REASON_INTERNAL, with its number in the text.
enum control_reason {
	CONTROL_REASON_NONE = 0,
	CONTROL_REASON_SHUTDOWN = 1,    // orderly
	CONTROL_REASON_PROTOCOL = 2,    // the peer broke the protocol
	CONTROL_REASON_VERSION = 3,     // no common version
	CONTROL_REASON_KEM_MODE = 4,    // kem_mode differs; both values are named in the text
	CONTROL_REASON_PEER_POLICY = 5, // certificate not allowed here
	CONTROL_REASON_TIMEOUT = 6,     // liveness or establishment deadline
	CONTROL_REASON_EPOCH = 7,       // confirmation failed, or no epoch completed for two intervals
	CONTROL_REASON_LIMIT = 8,
	CONTROL_REASON_INTERNAL = 9,
	CONTROL_REASON_REVOKED = 10,
	CONTROL_REASON_EXPIRED = 11,
	CONTROL_REASON_TERMS = 12, // what the ends of a packet tunnel must agree on differs; both values are in the text
	CONTROL_REASON_KIND = 13,  // a source at a hub, an agent at a dest
	CONTROL_REASON_TAKEN = 14, // the device's name belongs to another key, whose link stands
};
const char *control_reason_name(enum control_reason reason);

// What a HELLO says. Texts are printable ASCII or the HELLO is refused.
struct control_hello {
	uint16_t version; // 1
	char node_name[LIMIT_NODE_NAME_BYTES + 1];
	uint8_t instance[16];  // of the sender's process; a random one is made when this is all zero
	uint8_t role;          // enum control_role
	uint32_t features;     // bit set (HELLO_REVERSE): unknown bits are ignored
	uint8_t legs;          // offered; the responder's must equal the initiator's
	uint8_t carriers;      // bit 0 TLS, bit 1 QUIC
	uint32_t heartbeat_ms; // how often the sender pings
	uint32_t streams_max;  // streams the sender takes at once, 0 = no limit of its own
	uint32_t rotation_s;
	char build_id[64];
	uint8_t mceliece_digest[DIGEST_BYTES];    // responder's, zero otherwise
	char services[1024];                      // responder's: "name:port,name:port" as far as they fit, for people
	char device[LIMIT_DEVICE_NAME_BYTES + 1]; // agent's: the name it claims, "" for none
	struct terms terms;                       // of an end of a packet tunnel
	struct grant grant;                       // addresses within it
};

// OPEN: the responder of a reverse link asks for a data connection that claims this token.
struct control_open {
	uint8_t token[STREAM_TOKEN_BYTES];
	uint32_t deadline_ms; // from now: later it is of no use any more
	char service[LIMIT_SERVICE_NAME_BYTES + 1];
};

struct control_ops {
	// Queue one whole frame (bytes lent).
	void (*send)(void *owner, const uint8_t *frame, size_t length);
	// chain_0: TLS exporter "EXPORTER-qanat-link" with this context, 48 bytes into a new secret. Negative on failure.
	int (*export_chain)(void *owner, const uint8_t context[DIGEST_BYTES], struct secret *chain);
	// The owner's say about a HELLO that is right in itself: CONTROL_REASON_NONE, or why no link comes of it. A
	// responder may fill in what is given to this peer (`ours`: what our HELLO will say). May be NULL.
	enum control_reason (*judge_peer)(void *owner, const struct control_hello *peer, struct grant *ours,
	                                  char text[LIMIT_REASON_BYTES + 1]);
	// The peer's HELLO has been accepted; link_id is known.
	void (*on_hello)(void *owner, const struct control_hello *peer, const uint8_t link_id[LINK_ID_BYTES]);
	// Keys of a new epoch. Responder: called before EPOCH_ACCEPT is sent, PSKs of it are to be accepted from now on.
	// Initiator: called after confirm_r was checked, it may dial with them. `data` is taken (leave NULL there).
	void (*on_epoch)(void *owner, uint32_t epoch, uint8_t legs, struct secret *data);
	// The epoch is confirmed by both (initiator: with on_epoch; responder: EPOCH_DONE arrived).
	void (*on_epoch_confirmed)(void *owner, uint32_t epoch);
	void (*on_goaway)(void *owner, enum control_reason reason, uint32_t deadline_ms);
	// Reverse links. Initiator: OPEN. Responder: it was not, or will not be, heeded. Elsewhere they may be NULL.
	void (*on_open)(void *owner, const struct control_open *open);
	void (*on_open_failed)(void *owner, const uint8_t token[STREAM_TOKEN_BYTES], const struct header_answer *answer);
	// The link is over, once. `by_peer`: the peer's CLOSE; otherwise our own verdict, and CLOSE has been sent already.
	void (*on_close)(void *owner, enum control_reason reason, const char *text, bool by_peer);

	// Responder's McEliece keys (link/keyserver). current: false while none is ready. decapsulate: CONTROL_KEY_GONE
	// when that digest is not held any more.
	bool (*key_current)(void *owner, uint8_t digest[DIGEST_BYTES]);
	// The current public key, copied into out[LIMIT_KEY_BYTES], and its digest. False while none is ready.
	bool (*key_copy)(void *owner, uint8_t *out, uint8_t digest[DIGEST_BYTES]);
	int (*key_decapsulate)(void *owner, const uint8_t digest[DIGEST_BYTES], const uint8_t *ciphertext,
	                       struct secret *shared);
	// Initiator's cache (link/keycache). lookup: lends the key with that digest until the next call, NULL when unknown.
	// last: the digest this peer announced last time, for the piggy-backed first offer; false when there is none.
	const uint8_t *(*cache_lookup)(void *owner, const uint8_t digest[DIGEST_BYTES]);
	bool (*cache_last)(void *owner, uint8_t digest[DIGEST_BYTES]);
	void (*cache_store)(void *owner, const uint8_t digest[DIGEST_BYTES], const uint8_t *key);
};
enum { CONTROL_KEY_GONE = 1 };

struct control_settings {
	enum control_role role;
	struct control_hello hello; // ours; version, role and digest are filled in, texts are made printable
	uint8_t cert_i_digest[DIGEST_BYTES], cert_r_digest[DIGEST_BYTES];
	uint32_t rotation_ms;  // interval of epochs; the initiator offers up to 10 % earlier, the responder asks 10 % later
	uint32_t heartbeat_ms; // we ping this often, one PING at a time: none is sent while one is unanswered
	uint32_t heartbeat_timeout_ms;
	// The peer is dead when heartbeat_ms * missed_pongs_max brought nothing at all, no frame and no part of a KEY;
	// never sooner than one PING and its heartbeat_timeout_ms take.
	uint32_t missed_pongs_max;
};

struct control;
// Copies settings and ops. Of the ops, key_* may be NULL on the initiator, cache_* on the responder, and all of them
// when the McEliece leg is off. -EINVAL when a number is 0 or the legs are those of no kem_mode.
// How long an epoch may last: no new one by then is the end of a link.
uint64_t control_patience_ms(const struct control_settings *settings);
MUST_USE int control_new(const struct control_settings *settings, const struct control_ops *ops, void *owner,
                         struct control **control);
// Wipes; no callback, no CLOSE.
void control_free(struct control **control);
// The TLS handshake is done and the peer verified. The initiator sends HELLO (and the first offer when it can).
// Starting, receiving and ticking return 0 or CONTROL_ENDED, never a negative: our own failures end the link as well.
MUST_USE int control_start(struct control *control, uint64_t now_us);
// Bytes from the control connection, any split. 0; CONTROL_ENDED: the link is over (on_close was called), feed nothing
// more.
enum { CONTROL_ENDED = 1 };
MUST_USE int control_receive(struct control *control, const uint8_t *bytes, size_t length, uint64_t now_us);
// Timers. control_deadline: when to call control_tick next (absolute, us).
uint64_t control_deadline(const struct control *control);
MUST_USE int control_tick(struct control *control, uint64_t now_us);
// Ask for a new epoch now (bytes, streams, a person). Initiator: offers unless an exchange is in progress, and not
// sooner than 50 ms after the last (then control_deadline moves); responder: EPOCH_WANT, once per epoch. Does nothing
// before the first epoch: it is on its way.
void control_want_epoch(struct control *control, uint64_t now_us);
// A PING now instead of at the next interval, unless one is unanswered.
void control_probe(struct control *control, uint64_t now_us);
// May be sent again with another deadline. Epochs go on. Waits for HELLO when that has not left yet.
void control_goaway(struct control *control, enum control_reason reason, uint32_t deadline_ms);
// Responder of a reverse link whose first epoch is there: OPEN. Initiator: OPEN_FAILED (never with HEADER_OK). Nothing
// is sent when the link is over.
void control_open(struct control *control, const struct control_open *open);
void control_open_failed(struct control *control, const uint8_t token[STREAM_TOKEN_BYTES],
                         const struct header_answer *answer);
// Sends CLOSE once; on_close is called.
void control_close(struct control *control, enum control_reason reason, const char *text);

struct control_state {
	bool established; // first epoch confirmed
	uint32_t epoch;
	uint8_t legs;
	uint64_t epoch_since_us;
	uint32_t rtt_us; // smoothed, 0 = not measured
	uint64_t last_heard_us;
};
void control_read(const struct control *control, struct control_state *state);
