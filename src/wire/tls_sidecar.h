// The TLS of `qanat proxy`: connections with ordinary TLS software, as a server (openssl, curl, browsers dial us) or as
// a client (we dial an ordinary server). What is made here is a profile like any other: tls_conn_new,
// tls_conn_handshake, tls_conn_recv, tls_conn_send, tls_conn_finish, tls_conn_trim work on its connections as on those
// of a link.
//
// There is no resumption, no ticket and no session cache: every connection is a full handshake, judged against the
// lists of now. TLS 1.2, where it is asked for, is ECDHE with AEAD only, with extended master secret, without
// renegotiation and compression. A TLS 1.2 peer that gets our close_notify may answer with its own at once (RFC 5246
// 7.2.1), so a half-closed TLS 1.2 connection ends sooner than one of TLS 1.3.

#pragma once

#include "core/outcome.h"
#include "crypto/identity.h"
#include "crypto/trust.h"
#include "wire/tls_conn.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum tls_client_cert {
	TLS_CLIENT_CERT_REQUIRED, // the handshake fails without one
	TLS_CLIENT_CERT_OPTIONAL, // asked for; none is accepted, one that does not pass fails the handshake
	TLS_CLIENT_CERT_NONE      // not asked for
};
// REQUIRE_PQ: ML-DSA for our CertificateVerify, the peer's, and every certificate of the peer's chain.
enum tls_signatures { TLS_SIGNATURES_ANY, TLS_SIGNATURES_REQUIRE_PQ };

#define TLS_PIN_BYTES 32

// The zero value of everything that is left out is the strict choice. Everything is copied or referenced: nothing of
// the caller's is needed after tls_sidecar_profile.
struct tls_sidecar {
	bool is_client;
	// What we show, in our order of preference: a peer gets the first it can verify (by its signature_algorithms),
	// among those first that have the name it asks for (SNI). Each one is checked when it is loaded:
	// identity_files.any_issuer for certificates that others issued. A server needs one at least. Their OCSP responses
	// are stapled.
	struct identity *const *identities;
	size_t identity_count;
	struct trust *trust; // whom we believe; NULL: nobody
	// SHA-256 of SubjectPublicKeyInfo (crypto/pin.h), one of which the peer's certificate must have. With trust it is
	// asked as well; without it is what is asked instead of a chain, beside the certificate's times.
	const uint8_t (*pins)[TLS_PIN_BYTES];
	size_t pin_count;
	enum tls_client_cert client_cert; // server
	enum tls_pq pq;
	enum tls_signatures signatures;
	bool allow_tls12;
	// A peer's certificate without any extended key usage is taken for one of every usage (RFC 5280 4.2.1.12), as other
	// proxies do. One with the wrong usage never passes.
	bool usage_may_be_absent;
	// Server: in our order of preference. Client: what is offered. strict: no protocol in common ends the handshake
	// with the alert no_application_protocol; a peer that does not know ALPN is served all the same (server), or
	// refused (client).
	const char *const *alpn;
	size_t alpn_count;
	bool alpn_is_strict;
	// Server, may be NULL: the ClientHello has been read, tls_sidecar_sni is known, and nothing expensive has been
	// done. enum tls_failure: NONE goes on, WRONG_NAME is answered unrecognized_name, others access_denied. owner is
	// that of tls_options.
	int (*on_hello)(void *owner, struct tls_conn *conn);
};

// 1: these settings contradict each other or cannot be used; `problem` says which, for people.
enum { TLS_SIDECAR_REFUSED = 1 };
#define TLS_SIDECAR_PROBLEM_BYTES 256
MUST_USE int tls_sidecar_profile(const struct tls_sidecar *settings, struct tls_profile **profile,
                                 char problem[TLS_SIDECAR_PROBLEM_BYTES]);

// What tls_options mean to tls_conn_new here:
//   peer_name  client: the host name or IP address that the peer's certificate must have among its SANs, sent as SNI
//              when it is a host name; NULL: neither.
//   judge      after everything else about the peer's certificate has passed (allow-lists, crypto/authorise.h); not
//              called when there is none.
//   owner      for judge and on_hello.

// The server name that the client asked for, in lower case; "" when it asked for none. Server, since on_hello.
const char *tls_sidecar_sni(const struct tls_conn *conn);
// The protocol that ALPN came to, as a string; "" for none. After the handshake.
const char *tls_sidecar_alpn(const struct tls_conn *conn);
// Whether a group (of tls_conn_describe) is a post-quantum one.
bool tls_group_is_pq(const char *group);
// Whether a signature (of tls_conn_describe) is.
bool tls_signature_is_pq(const char *signature);

// A handshake failed with TLS_FAILURE_HTTP: somebody speaks plain HTTP. Answers with a short "400 Bad Request" and ends
// our direction. The caller reads and drops what comes for a moment before tls_conn_free, or the answer may get lost.
void tls_sidecar_answer_http(struct tls_conn *conn);

// Judges the peer of a connection that stands by the lists, pins, modes and names of a newer profile and options, as a
// handshake of now would. enum tls_failure, with a text for people. What a new TLS version, group or signature policy
// would say is not asked: that is for new connections.
int tls_sidecar_judge_again(const struct tls_conn *conn, const struct tls_profile *profile,
                            const struct tls_options *options, char text[TLS_EXPLANATION_BYTES]);
