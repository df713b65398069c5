// Shared by the tls_*.c files only.

#pragma once

#include "wire/tls_conn.h"

#include <openssl/ssl.h>

struct tls_profile {
	unsigned references;
	SSL_CTX *ssl_ctx;
	struct identity *identity;
	enum { PROFILE_CONTROL, PROFILE_DATA, PROFILE_LISTENER, PROFILE_SIDECAR_SERVER, PROFILE_SIDECAR_CLIENT } role;
	struct tls_listener_ops ops;
	struct tls_sidecar_copy *sidecar; // of the last two roles
};

#define TLS_ALPN_CONTROL "\x07qanat/1"
#define TLS_ALPN_DATA "\x0cqanat-data/1"

struct tls_conn {
	SSL *ssl;
	int fd;
	struct tls_profile *profile;
	void *owner;
	tls_judge_fn judge;
	const char *peer_name; // copied
	enum tls_kind kind;
	enum { CONN_EARLY, CONN_HANDSHAKE, CONN_READY, CONN_BROKEN } phase;
	enum tls_failure failure;
	char problem[192];

	struct secret psk;
	uint8_t psk_identity[64]; // ours, or on a listener what the peer presented
	size_t psk_identity_length;
	bool psk_burnt;
	bool early_sent;

	// Inward: early data of a listener's connection that nobody has read yet.
	uint8_t *early;
	size_t early_at, early_length;
	unsigned rx_budget; // socket reads left in this turn
	bool rx_end, rx_eof;

	// Sidecars: the first bytes that came, to tell HTTP from garbage; what the client asked for; what we show it.
	uint8_t first[8], first_length;
	char *sni;
	bool asked; // the owner, about the ClientHello
	const struct tls_choice *shown;

	// Outward: sealed bytes the socket did not take.
	uint8_t *kept;
	size_t kept_at, kept_length, kept_size;
	bool tx_end;
	uint64_t sent;
	uint64_t put; // sealed bytes the kernel took
};

// tls_profile.c: an SSL_CTX with what all profiles have in common.
MUST_USE int tls_profile_base(const SSL_METHOD *method, struct tls_profile **profile);

// tls_sidecar*.c: the hooks of sidecar connections in the life of a connection.
bool tls_is_sidecar(const struct tls_profile *profile);
void tls_sidecar_free(struct tls_sidecar_copy **sidecar);
MUST_USE int tls_sidecar_prepare(struct tls_conn *conn);     // SNI of a client; 0 or negative
MUST_USE int tls_sidecar_check_ready(struct tls_conn *conn); // 0 or TLS_FAILED
void tls_sidecar_stopped(struct tls_conn *conn, int r);      // a step of the handshake that came to this and not to 0
int tls_sidecar_verify(X509_STORE_CTX *store, void *unused);
int tls_sidecar_client_hello(SSL *ssl, int *alert, void *unused);
int tls_sidecar_select_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_length, const unsigned char *in,
                            unsigned int in_length, void *unused);
int tls_sidecar_choose_for_server(SSL *ssl, void *unused);
int tls_sidecar_staple(SSL *ssl, void *unused);

// tls_bio.c: the BIO that joins an SSL to its connection's socket. Every library call that may write stands between
// tls_stage_begin and tls_stage_end, which sends what was staged (0, TLS_FAILED, negative; what is left over is kept).
const BIO_METHOD *tls_bio_method(void);
MUST_USE int tls_stage_begin(struct tls_conn *conn);
MUST_USE int tls_stage_end(struct tls_conn *conn);
// send() until all is gone (0), TLS_BLOCKED or TLS_FAILED; *done bytes were taken.
MUST_USE int tls_put(struct tls_conn *conn, const uint8_t *bytes, size_t length, size_t *done);
void tls_kept_release(struct tls_conn *conn);

// tls_settle.c: the handshake is done; frees what nobody needs any more.
void tls_settle(struct tls_conn *conn);

// tls_failure.c: records why, once (the first reason is the true one), and returns TLS_FAILED; the verdict on a library
// call that did not succeed (TLS_BLOCKED, TLS_END, TLS_FAILED).
int tls_fail(struct tls_conn *conn, enum tls_failure failure, const char *text);
int tls_judge(struct tls_conn *conn, int error);
enum tls_failure tls_failure_of_verification(long error);

// tls_callback.c: what the library asks.
int tls_conn_verify(X509_STORE_CTX *store, void *unused);
int tls_conn_use_psk(SSL *ssl, const EVP_MD *md, const unsigned char **id, size_t *length, SSL_SESSION **session);
int tls_conn_find_psk(SSL *ssl, const unsigned char *id, size_t length, SSL_SESSION **session);
int tls_conn_client_hello(SSL *ssl, int *alert, void *unused);
int tls_conn_select_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_length, const unsigned char *in,
                         unsigned int in_length, void *unused);
