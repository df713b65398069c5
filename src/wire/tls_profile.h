// What all TLS connections of one kind on one worker have in common: an SSL_CTX set up once. A profile belongs to the
// thread that made it.
//
// Kinds (protocol.md 1, 3):
//   CONTROL    initiator's side of a control connection: certificates both ways, ALPN qanat/1;
//   DATA       initiator's side of a data connection: one-time PSK and (EC)DHE, ALPN qanat-data/1, exactly one group;
//   LISTENER   responder's side: one listener for both; the ClientHello's ALPN decides, and the two never mix;
//   SIDECAR    server or client towards ordinary TLS software (wire/tls_sidecar.h).

#pragma once

#include "core/outcome.h"
#include "core/secret.h"
#include "crypto/identity.h"

#include <openssl/types.h>
#include <stdbool.h>
#include <stdint.h>

struct tls_profile;
struct tls_conn;

enum tls_kind { TLS_UNDECIDED, TLS_CONTROL, TLS_DATA, TLS_SIDECAR };

// Key agreement policy. REQUIRE offers only hybrid groups, PREFER adds classical ones behind them, OFF is classical.
enum tls_pq { TLS_PQ_REQUIRE, TLS_PQ_PREFER, TLS_PQ_OFF };
// What a policy asks of a peer, for the log.
const char *tls_pq_demand(enum tls_pq pq);
// Whether a link with this group (of tls_conn_describe) is one that the policy would make.
bool tls_pq_allows(enum tls_pq pq, const char *group);

enum { TLS_HELLO_LATER = -1 };

// What a listener's owner is asked during a handshake; return values are enum tls_failure (0 = go on).
struct tls_listener_ops {
	// The ClientHello has been read: may this kind of handshake start now (admission)? TLS_HELLO_LATER: not yet; it is
	// blocked, and asks again when tls_conn_handshake is called for another reason than that bytes came.
	int (*on_hello)(void *owner, struct tls_conn *conn, enum tls_kind kind);
	// The PSK of this identity, before the binder is checked: burn nothing here.
	int (*find_psk)(void *owner, struct tls_conn *conn, const uint8_t *identity, size_t length, struct secret *psk);
	// The binder verified: burn the index, once per connection.
	int (*burn_psk)(void *owner, struct tls_conn *conn);
};

// Judges a verified peer certificate further (allow-lists); enum tls_failure.
typedef int (*tls_judge_fn)(void *owner, X509 *certificate);

MUST_USE int tls_profile_control(struct identity *identity, enum tls_pq pq, struct tls_profile **profile);
// group: the name tls_conn_describe of the control connection gave.
MUST_USE int tls_profile_data(const char *group, struct tls_profile **profile);
MUST_USE int tls_profile_listener(struct identity *identity, enum tls_pq pq, const struct tls_listener_ops *ops,
                                  struct tls_profile **profile);
// Counted references, on the profile's own thread; connections hold one.
struct tls_profile *tls_profile_ref(struct tls_profile *profile);
void tls_profile_free(struct tls_profile **profile);
