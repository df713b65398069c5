// One TLS 1.3 connection over a TCP socket, on the thread of its profile: handshake, records in big units, half-close.
//
// Nothing here waits and nothing is buffered without bound: encrypted bytes that the socket did not take are kept (at
// most one unit and its overhead) and tls_conn_has_room is false until tls_conn_flush has put them out.
// Spec: RFC 8446; protocol.md 3 and its traps 5, 6.

#pragma once

#include "core/outcome.h"
#include "core/secret.h"
#include "wire/tls_profile.h"

#include <stdbool.h>
#include <stdint.h>

// Outcomes. TLS_BLOCKED: wait for tls_conn_wants. TLS_END: the peer has finished its direction (close_notify).
enum { TLS_BLOCKED = 1, TLS_END = 2, TLS_FAILED = 3 };

// Why a handshake or a connection failed: what peers did (counted by reason), never what we did wrong.
enum tls_failure {
	TLS_FAILURE_NONE,
	TLS_FAILURE_CLOSED, // reset, or end without close_notify
	TLS_FAILURE_NOT_TLS,
	TLS_FAILURE_HTTP, // a plain HTTP request instead of TLS
	TLS_FAILURE_NO_VERSION,
	TLS_FAILURE_BAD_ALPN,
	TLS_FAILURE_NO_GROUP,
	TLS_FAILURE_NO_SIGNATURE, // none of the peer's signature algorithms fits a certificate of ours, or the reverse
	TLS_FAILURE_PROTOCOL,
	TLS_FAILURE_PEER_ALERT,
	TLS_FAILURE_NO_CERTIFICATE,
	TLS_FAILURE_UNKNOWN_CA,
	TLS_FAILURE_EXPIRED,
	TLS_FAILURE_NOT_YET_VALID,
	TLS_FAILURE_REVOKED,
	TLS_FAILURE_NO_CRL, // no current revocation list of its issuer
	TLS_FAILURE_WRONG_USAGE,
	TLS_FAILURE_WRONG_NAME,
	TLS_FAILURE_NOT_ALLOWED,
	TLS_FAILURE_WRONG_PIN,
	TLS_FAILURE_CLASSICAL, // a classical signature where the policy demands post-quantum ones
	TLS_FAILURE_BAD_SIGNATURE,
	TLS_FAILURE_BAD_CERTIFICATE,
	TLS_FAILURE_PSK_MALFORMED,
	TLS_FAILURE_PSK_UNKNOWN_LINK,
	TLS_FAILURE_PSK_UNKNOWN_EPOCH,
	TLS_FAILURE_PSK_REPLAYED,
	TLS_FAILURE_PSK_BAD_BINDER,
	TLS_FAILURE_PSK_NOT_USED,
	TLS_FAILURE_ADMISSION,
	TLS_FAILURE_INTERNAL,
	TLS_FAILURE_COUNT
};
const char *tls_failure_name(enum tls_failure failure);

struct tls_options {
	const char *peer_name;       // CONTROL: the name the responder's certificate must carry
	tls_judge_fn judge;          // further limits on the peer's certificate, may be NULL
	void *owner;                 // for judge and for the listener's ops
	const uint8_t *psk_identity; // DATA
	size_t psk_identity_length;
	const struct secret *psk; // DATA, copied
};

// Takes *fd (a connected, non-blocking TCP socket; it becomes -1) in every case but a negative return.
MUST_USE int tls_conn_new(struct tls_profile *profile, int *fd, const struct tls_options *options,
                          struct tls_conn **conn);
// Closes the socket: orderly when both directions have ended, with a reset otherwise, so that the peer can never take a
// cut stream for a finished one.
void tls_conn_free(struct tls_conn **conn);

// DATA, before the first tls_conn_handshake: up to LIMIT_EARLY_DATA_BYTES leave together with the ClientHello.
MUST_USE int tls_conn_early(struct tls_conn *conn, const uint8_t *bytes, size_t length);
// One step. 0 done; TLS_BLOCKED; TLS_FAILED (see tls_conn_failure); negative.
// On a listener's data connection tls_conn_recv may already deliver authenticated early data while this is blocked.
MUST_USE int tls_conn_handshake(struct tls_conn *conn);
bool tls_conn_is_ready(const struct tls_conn *conn); // handshake done
// Listener's data connections: the PSK's binder was right and its index burnt, so the peer is the link's initiator,
// though the handshake may still be going on.
bool tls_conn_is_proved(const struct tls_conn *conn);
// After a handshake with early data: false when the peer did not take it, the same bytes must then be sent again.
bool tls_conn_early_was_accepted(const struct tls_conn *conn);

// Fills at most size bytes: 0 with *got > 0, TLS_BLOCKED, TLS_END, TLS_FAILED, negative. *got is 0 unless 0 is
// returned. Reads the socket only after tls_conn_readable told that there is something, and at most
// LIMIT_UNITS_PER_TURN times per such telling, so one flow cannot keep the loop.
MUST_USE int tls_conn_recv(struct tls_conn *conn, uint8_t *out, size_t size, size_t *got);
void tls_conn_readable(struct tls_conn *conn);
// All of it is sealed and sent, or kept. Only while tls_conn_has_room. Length up to LIMIT_UNIT_BYTES.
MUST_USE int tls_conn_send(struct tls_conn *conn, const uint8_t *bytes, size_t length);
bool tls_conn_has_room(const struct tls_conn *conn);
// Puts kept bytes out: 0 nothing is left, TLS_BLOCKED, TLS_FAILED.
MUST_USE int tls_conn_flush(struct tls_conn *conn);
// Ends our direction (close_notify); the other goes on. 0, TLS_FAILED.
MUST_USE int tls_conn_finish(struct tls_conn *conn);
// New sending keys (KeyUpdate, not requested back). Only while tls_conn_has_room.
MUST_USE int tls_conn_update_keys(struct tls_conn *conn);
// Gives the record buffers back while the connection is idle (some 80 KiB).
void tls_conn_trim(struct tls_conn *conn);

// Frees what this thread keeps (thread end).
void tls_conn_trim_thread(void);

// LOOP_READ / LOOP_WRITE the handshake or kept bytes wait for.
int tls_conn_wants(const struct tls_conn *conn);
int tls_conn_fd(const struct tls_conn *conn);
enum tls_kind tls_conn_kind(const struct tls_conn *conn);
void tls_conn_set_owner(struct tls_conn *conn, void *owner);
enum tls_failure tls_conn_failure(const struct tls_conn *conn);
// "certificate of an unknown CA (tlsv1 alert unknown ca)": the failure and its detail.
#define TLS_EXPLANATION_BYTES 256
void tls_conn_explain(const struct tls_conn *conn, char text[TLS_EXPLANATION_BYTES]);
const char *tls_conn_problem(const struct tls_conn *conn); // for people, lent; "" when there is none
uint64_t tls_conn_put(const struct tls_conn *conn);        // sealed bytes that have left for the network at all
uint64_t tls_conn_sent(const struct tls_conn *conn);       // plaintext bytes since the last key update

// CONTROL. RFC 8446 7.5.
MUST_USE int tls_conn_export(struct tls_conn *conn, const char *label, const uint8_t *context, size_t context_length,
                             struct secret *out);
X509 *tls_conn_peer_certificate(const struct tls_conn *conn);      // lent; NULL when there is none
STACK_OF(X509) * tls_conn_peer_chain(const struct tls_conn *conn); // likewise: what it showed for building a chain
// Judges the peer of a connection that stands against another identity's CAs and revocation lists, and other names:
// peer_name, judge and owner of the options, as a handshake of now would. enum tls_failure, with a text for people.
int tls_conn_judge_again(struct tls_conn *conn, struct identity *identity, const struct tls_options *options,
                         char text[TLS_EXPLANATION_BYTES]);
// The same for a certificate whose connection is gone, and what was shown with it.
int tls_judge_certificate(X509 *certificate, STACK_OF(X509) * chain, enum identity_usage usage,
                          struct identity *identity, const struct tls_options *options,
                          char text[TLS_EXPLANATION_BYTES]);

struct tls_text {
	char version[16], group[48], cipher[48], signature_own[48], signature_peer[48];
};
void tls_conn_describe(const struct tls_conn *conn, struct tls_text *text);
