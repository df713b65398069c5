#include "wire/tls_conn.h"

#include "core/counter.h"
#include "core/loop.h"
#include "limits.h"
#include "wire/tls_internal.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int tls_conn_new(struct tls_profile *profile, int *fd, const struct tls_options *options, struct tls_conn **out)
{
	struct tls_conn *conn = calloc(1, sizeof *conn);
	if (!conn)
		return -ENOMEM;
	conn->fd = -1;
	conn->profile = tls_profile_ref(profile);
	conn->owner = options->owner;
	conn->judge = options->judge;
	conn->peer_name = options->peer_name ? strdup(options->peer_name) : NULL;
	conn->phase = profile->role == PROFILE_LISTENER ? CONN_EARLY : CONN_HANDSHAKE;
	conn->kind = profile->role == PROFILE_CONTROL ? TLS_CONTROL : tls_is_sidecar(profile) ? TLS_SIDECAR : TLS_UNDECIDED;
	BIO *bio = BIO_new(tls_bio_method());
	conn->ssl = SSL_new(profile->ssl_ctx);
	bool ok = bio && conn->ssl && (!options->peer_name || conn->peer_name);
	if (ok && profile->role == PROFILE_DATA) {
		conn->kind = TLS_DATA;
		ok = options->psk_identity_length <= sizeof conn->psk_identity &&
		     secret_set(&conn->psk, options->psk->bytes, options->psk->length) == 0;
		if (ok)
			memcpy(conn->psk_identity, options->psk_identity, options->psk_identity_length);
		conn->psk_identity_length = options->psk_identity_length;
	}
	if (!ok) {
		BIO_free(bio);
		tls_conn_free(&conn);
		return -ENOMEM;
	}
	BIO_set_data(bio, conn);
	BIO_set_init(bio, 1);
	SSL_set_bio(conn->ssl, bio, bio);
	SSL_set_app_data(conn->ssl, conn);
	if (profile->role == PROFILE_LISTENER || profile->role == PROFILE_SIDECAR_SERVER)
		SSL_set_accept_state(conn->ssl);
	else
		SSL_set_connect_state(conn->ssl);
	if (tls_is_sidecar(profile) && tls_sidecar_prepare(conn) < 0) {
		tls_conn_free(&conn);
		return -ENOMEM;
	}
	conn->fd = *fd;
	*fd = -1;
	*out = conn;
	return 0;
}

// Hostile: a reset tells the peer that this is not an end in order; only a finished exchange may look like one.
static bool ends_in_order(const struct tls_conn *conn)
{
	if (conn->phase == CONN_EARLY || conn->phase == CONN_HANDSHAKE)
		return true;
	return conn->tx_end && conn->kept_length == 0 && (conn->rx_end || conn->kind == TLS_CONTROL);
}

void tls_conn_free(struct tls_conn **slot)
{
	struct tls_conn *conn = *slot;
	if (!conn)
		return;
	*slot = NULL;
	if (conn->fd >= 0) {
		if (!ends_in_order(conn)) {
			struct linger now = {.l_onoff = 1, .l_linger = 0};
			(void)setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
		}
		close(conn->fd);
	}
	SSL_free(conn->ssl);
	secret_fini(&conn->psk);
	free((char *)conn->peer_name);
	free(conn->sni);
	free(conn->early);
	tls_kept_release(conn);
	tls_profile_free(&conn->profile);
	free(conn);
}

// ---- handshake -----------------------------------------------------------------------------------------------------

int tls_conn_early(struct tls_conn *conn, const uint8_t *bytes, size_t length)
{
	size_t written = 0;
	int r = tls_stage_begin(conn);
	if (r < 0)
		return r;
	int ok = SSL_write_early_data(conn->ssl, bytes, length, &written);
	int error = ok == 1 ? SSL_ERROR_NONE : SSL_get_error(conn->ssl, ok);
	r = tls_stage_end(conn);
	if (r != 0)
		return r;
	if (ok != 1 || written != length)
		return ok != 1 && error != SSL_ERROR_WANT_READ ? tls_judge(conn, error)
		                                               : tls_fail(conn, TLS_FAILURE_INTERNAL, "early");
	conn->early_sent = true;
	return 0;
}

// A listener's side: everything that comes before the end of early data. 0: go on with the handshake.
static int read_early(struct tls_conn *conn)
{
	for (;;) {
		uint8_t chunk[4096];
		size_t got = 0;
		int r = SSL_read_early_data(conn->ssl, chunk, sizeof chunk, &got);
		if (r == SSL_READ_EARLY_DATA_ERROR)
			return tls_judge(conn, SSL_get_error(conn->ssl, 0));
		if (got > 0) {
			// Hostile: the binder has been checked by now, and the library counts against its own limit as well.
			if (!conn->early && !(conn->early = malloc(SSL3_RT_MAX_PLAIN_LENGTH)))
				return -ENOMEM;
			if (conn->early_length + got > SSL3_RT_MAX_PLAIN_LENGTH)
				return tls_fail(conn, TLS_FAILURE_PROTOCOL, "too much early data");
			memcpy(conn->early + conn->early_length, chunk, got);
			conn->early_length += got;
		}
		if (r == SSL_READ_EARLY_DATA_FINISH) {
			conn->phase = CONN_HANDSHAKE;
			return 0;
		}
	}
}

static void become_ready(struct tls_conn *conn)
{
	conn->phase = CONN_READY;
	secret_fini(&conn->psk);
	tls_settle(conn);
}

static int check_ready(struct tls_conn *conn)
{
	if (conn->kind == TLS_SIDECAR) {
		int r = tls_sidecar_check_ready(conn);
		if (r == 0)
			become_ready(conn);
		return r;
	}
	// Spec: protocol.md 3, "both ends check that the PSK was really used".
	if (conn->kind == TLS_DATA && SSL_session_reused(conn->ssl) != 1)
		return tls_fail(conn, TLS_FAILURE_PSK_NOT_USED, NULL);
	if (conn->kind == TLS_CONTROL && (SSL_session_reused(conn->ssl) || !SSL_get0_peer_certificate(conn->ssl) ||
	                                  SSL_get_verify_result(conn->ssl) != X509_V_OK))
		return tls_fail(conn, TLS_FAILURE_NO_CERTIFICATE, NULL);
	const uint8_t *alpn;
	unsigned length;
	SSL_get0_alpn_selected(conn->ssl, &alpn, &length);
	if (length == 0)
		return tls_fail(conn, TLS_FAILURE_BAD_ALPN, "the peer chose no ALPN");
	become_ready(conn);
	return 0;
}

int tls_conn_handshake(struct tls_conn *conn)
{
	if (conn->phase == CONN_READY)
		return 0;
	if (conn->phase == CONN_BROKEN)
		return TLS_FAILED;
	int r = tls_stage_begin(conn);
	if (r < 0)
		return r;
	if (conn->phase == CONN_EARLY)
		r = read_early(conn);
	if (r == 0) {
		int done = SSL_do_handshake(conn->ssl);
		r = done == 1 ? check_ready(conn) : tls_judge(conn, SSL_get_error(conn->ssl, done));
	}
	if (conn->kind == TLS_SIDECAR && r != 0)
		tls_sidecar_stopped(conn, r);
	int put_out = tls_stage_end(conn);
	if (r == TLS_END)
		r = tls_fail(conn, TLS_FAILURE_CLOSED, "closed in the handshake");
	if (r == 0 && put_out != 0) {
		conn->phase = CONN_BROKEN;
		return put_out;
	}
	return r;
}

bool tls_conn_is_ready(const struct tls_conn *conn)
{
	return conn->phase == CONN_READY;
}

bool tls_conn_is_proved(const struct tls_conn *conn)
{
	return conn->psk_burnt;
}

bool tls_conn_early_was_accepted(const struct tls_conn *conn)
{
	return conn->early_sent && SSL_get_early_data_status(conn->ssl) == SSL_EARLY_DATA_ACCEPTED;
}

// ---- records -------------------------------------------------------------------------------------------------------

void tls_conn_readable(struct tls_conn *conn)
{
	conn->rx_budget = LIMIT_UNITS_PER_TURN;
}

static size_t take_early(struct tls_conn *conn, uint8_t *out, size_t size)
{
	size_t n = conn->early_length - conn->early_at;
	if (n > size)
		n = size;
	memcpy(out, conn->early + conn->early_at, n);
	conn->early_at += n;
	if (conn->early_at == conn->early_length) {
		free(conn->early);
		conn->early = NULL;
		conn->early_at = conn->early_length = 0;
	}
	return n;
}

// Nothing is left in the library and the socket has nothing more in this turn. Asking the library would give the same
// answer at several times the price. Ends and failures it has seen already are remembered in the connection.
static bool is_dry(const struct tls_conn *conn)
{
	return conn->rx_budget == 0 && SSL_has_pending(conn->ssl) == 0;
}

int tls_conn_recv(struct tls_conn *conn, uint8_t *out, size_t size, size_t *got)
{
	*got = 0;
	if (conn->early) {
		*got = take_early(conn, out, size);
		return 0;
	}
	if (conn->phase != CONN_READY)
		return conn->phase == CONN_BROKEN ? TLS_FAILED : TLS_BLOCKED;
	if (conn->rx_end)
		return TLS_END;
	if (is_dry(conn))
		return TLS_BLOCKED;
	// A KeyUpdate that the peer asked to be answered is written by the library from within a read.
	int r = tls_stage_begin(conn);
	if (r < 0)
		return r;
	size_t filled = 0;
	while (filled < size) {
		size_t n = 0;
		int ok = SSL_read_ex(conn->ssl, out + filled, size - filled, &n);
		if (ok != 1) {
			r = tls_judge(conn, SSL_get_error(conn->ssl, ok));
			break;
		}
		filled += n;
		if (is_dry(conn))
			break;
	}
	int put_out = tls_stage_end(conn);
	if (filled > 0) {
		*got = filled;
		return 0;
	}
	return put_out != 0 ? put_out : r;
}

int tls_conn_send(struct tls_conn *conn, const uint8_t *bytes, size_t length)
{
	if (conn->phase != CONN_READY)
		return TLS_FAILED;
	int r = tls_stage_begin(conn);
	if (r < 0)
		return r;
	size_t written = 0;
	int ok = SSL_write_ex(conn->ssl, bytes, length, &written);
	r = ok == 1 ? 0 : tls_judge(conn, SSL_get_error(conn->ssl, ok));
	int put_out = tls_stage_end(conn);
	conn->sent += written;
	if (r == TLS_BLOCKED || r == TLS_END)
		return tls_fail(conn, TLS_FAILURE_INTERNAL, "write blocked");
	return r != 0 ? r : put_out;
}

bool tls_conn_has_room(const struct tls_conn *conn)
{
	return conn->phase == CONN_READY && conn->kept_length == 0 && !conn->tx_end;
}

int tls_conn_flush(struct tls_conn *conn)
{
	if (conn->kept_length == 0)
		return 0;
	size_t done;
	int r = tls_put(conn, conn->kept + conn->kept_at, conn->kept_length, &done);
	conn->kept_at += done;
	conn->kept_length -= done;
	if (conn->kept_length == 0)
		tls_kept_release(conn);
	if (r == TLS_FAILED && conn->phase == CONN_READY)
		conn->phase = CONN_BROKEN;
	return r;
}

int tls_conn_finish(struct tls_conn *conn)
{
	if (conn->tx_end || conn->phase != CONN_READY)
		return conn->phase == CONN_BROKEN ? TLS_FAILED : 0;
	int r = tls_stage_begin(conn);
	if (r < 0)
		return r;
	// Trap 6: exactly one call, then go on reading.
	int ok = SSL_shutdown(conn->ssl);
	r = ok >= 0 ? 0 : tls_judge(conn, SSL_get_error(conn->ssl, ok));
	int put_out = tls_stage_end(conn);
	if (r != 0)
		return r == TLS_FAILED || r < 0 ? r : tls_fail(conn, TLS_FAILURE_INTERNAL, "shutdown blocked");
	conn->tx_end = true;
	return put_out;
}

int tls_conn_update_keys(struct tls_conn *conn)
{
	// TLS 1.2 has no such thing, and the sidecars that speak it carry on as every other software does.
	if (SSL_version(conn->ssl) < TLS1_3_VERSION) {
		conn->sent = 0;
		return 0;
	}
	int r = tls_stage_begin(conn);
	if (r < 0)
		return r;
	// Trap 5: not requested back, each side for itself; flushed at once so that a shutdown may follow.
	int ok = SSL_key_update(conn->ssl, SSL_KEY_UPDATE_NOT_REQUESTED);
	if (ok == 1)
		ok = SSL_do_handshake(conn->ssl);
	r = ok == 1 ? 0 : tls_judge(conn, SSL_get_error(conn->ssl, ok));
	int put_out = tls_stage_end(conn);
	if (r != 0)
		return r == TLS_FAILED ? r : tls_fail(conn, TLS_FAILURE_INTERNAL, "key update blocked");
	conn->sent = 0;
	counter_add(COUNTER_KEY_UPDATE_SENT, 1);
	return put_out;
}

void tls_conn_trim(struct tls_conn *conn)
{
	if (conn->phase == CONN_READY)
		(void)SSL_free_buffers(conn->ssl); // 0 while a partial record is in them: next time then
}

// ---- questions -----------------------------------------------------------------------------------------------------

int tls_conn_wants(const struct tls_conn *conn)
{
	int wants = conn->kept_length > 0 ? LOOP_WRITE : 0;
	if (conn->phase == CONN_EARLY || conn->phase == CONN_HANDSHAKE)
		wants |= LOOP_READ;
	return wants;
}

int tls_conn_fd(const struct tls_conn *conn)
{
	return conn->fd;
}

enum tls_kind tls_conn_kind(const struct tls_conn *conn)
{
	return conn->kind;
}

void tls_conn_set_owner(struct tls_conn *conn, void *owner)
{
	conn->owner = owner;
}

enum tls_failure tls_conn_failure(const struct tls_conn *conn)
{
	return conn->failure;
}

const char *tls_conn_problem(const struct tls_conn *conn)
{
	return conn->problem;
}

uint64_t tls_conn_put(const struct tls_conn *conn)
{
	return conn->put;
}

uint64_t tls_conn_sent(const struct tls_conn *conn)
{
	return conn->sent;
}

int tls_conn_export(struct tls_conn *conn, const char *label, const uint8_t *context, size_t context_length,
                    struct secret *out)
{
	int r = secret_init(out, 48);
	if (r < 0)
		return r;
	if (SSL_export_keying_material(conn->ssl, out->bytes, out->length, label, strlen(label), context, context_length,
	                               1) == 1)
		return 0;
	secret_fini(out);
	ERR_clear_error();
	return -EPROTO;
}

X509 *tls_conn_peer_certificate(const struct tls_conn *conn)
{
	return SSL_get0_peer_certificate(conn->ssl);
}

STACK_OF(X509) * tls_conn_peer_chain(const struct tls_conn *conn)
{
	return SSL_get_peer_cert_chain(conn->ssl);
}

void tls_conn_describe(const struct tls_conn *conn, struct tls_text *text)
{
	*text = (struct tls_text){0};
	// The library looks into a session that a handshake which failed early does not have.
	const char *group = SSL_get_session(conn->ssl) ? SSL_get0_group_name(conn->ssl) : NULL;
	const char *own = NULL, *peer = NULL;
	if (SSL_get0_signature_name(conn->ssl, &own) != 1)
		own = NULL;
	if (SSL_get0_peer_signature_name(conn->ssl, &peer) != 1)
		peer = NULL;
	snprintf(text->version, sizeof text->version, "%s", SSL_get_version(conn->ssl));
	snprintf(text->group, sizeof text->group, "%s", group ? group : "");
	snprintf(text->cipher, sizeof text->cipher, "%s", SSL_get_cipher_name(conn->ssl));
	snprintf(text->signature_own, sizeof text->signature_own, "%s", own ? own : "");
	snprintf(text->signature_peer, sizeof text->signature_peer, "%s", peer ? peer : "");
	ERR_clear_error();
}
