// The BIO between an SSL and its socket. OpenSSL reads the socket straight into its record buffer (one recv for several
// records, no copy in between) and writes its records into a per-thread staging area, from which one send puts a whole
// unit out. What the socket does not take moves to `kept`, and the connection has no room until that is gone.

#include "core/block.h"
#include "core/outcome.h"
#include "limits.h"
#include "wire/tls_internal.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <openssl/err.h>

// A unit sealed: 4 records of 16 KiB and their overhead, and room for an alert or a KeyUpdate behind it.
#define STAGE_BYTES (LIMIT_UNIT_BYTES + 4096)

static _Thread_local struct {
	uint8_t *bytes;
	size_t length;
	struct tls_conn *conn; // whose records are being staged; NULL between calls
} stage;

// Bytes kept beyond one block happen only in handshakes (certificate chains) and stay below this.
#define KEPT_MAX_BYTES (256 * 1024)

static int keep(struct tls_conn *conn, const uint8_t *bytes, size_t length)
{
	size_t need = conn->kept_length + length;
	if (need > KEPT_MAX_BYTES)
		return -ENOBUFS;
	if (!conn->kept && need <= BLOCK_BYTES) {
		conn->kept = block_take();
		conn->kept_size = conn->kept ? BLOCK_BYTES : 0;
	}
	if (conn->kept && conn->kept_at > 0) {
		memmove(conn->kept, conn->kept + conn->kept_at, conn->kept_length);
		conn->kept_at = 0;
	}
	if (need > conn->kept_size) {
		uint8_t *larger = malloc(KEPT_MAX_BYTES);
		if (!larger)
			return -ENOMEM;
		if (conn->kept)
			memcpy(larger, conn->kept, conn->kept_length);
		if (conn->kept_size == BLOCK_BYTES)
			block_give(&conn->kept);
		conn->kept = larger;
		conn->kept_size = KEPT_MAX_BYTES;
	}
	assert(conn->kept);
	memcpy(conn->kept + conn->kept_length, bytes, length);
	conn->kept_length += length;
	return 0;
}

void tls_kept_release(struct tls_conn *conn)
{
	if (conn->kept_size == BLOCK_BYTES)
		block_give(&conn->kept);
	free(conn->kept);
	conn->kept = NULL;
	conn->kept_at = conn->kept_length = conn->kept_size = 0;
}

static int bio_write(BIO *bio, const char *bytes, size_t length, size_t *written)
{
	struct tls_conn *conn = BIO_get_data(bio);
	*written = 0;
	if (stage.conn == conn && stage.length + length <= STAGE_BYTES) {
		memcpy(stage.bytes + stage.length, bytes, length);
		stage.length += length;
		*written = length;
		return 1;
	}
	if (stage.conn == conn && stage.length > 0) {
		// Larger than a unit (a long chain): what is staged goes first.
		if (keep(conn, stage.bytes, stage.length) < 0)
			return 0;
		stage.length = 0;
		stage.conn = NULL;
	}
	if (keep(conn, (const uint8_t *)bytes, length) < 0)
		return 0;
	*written = length;
	return 1;
}

static void note_first(struct tls_conn *conn, const uint8_t *bytes, size_t length)
{
	size_t room = sizeof conn->first - conn->first_length;
	size_t n = length < room ? length : room;
	memcpy(conn->first + conn->first_length, bytes, n);
	conn->first_length = (uint8_t)(conn->first_length + n);
}

static int bio_read(BIO *bio, char *out, size_t size, size_t *got)
{
	struct tls_conn *conn = BIO_get_data(bio);
	*got = 0;
	BIO_clear_retry_flags(bio);
	if (conn->rx_budget == 0) {
		BIO_set_retry_read(bio);
		return 0;
	}
	ssize_t n;
	do
		n = recv(conn->fd, out, size, 0);
	while (n < 0 && errno == EINTR);
	if (n > 0) {
		// A short read emptied the socket: readiness will tell when there is more, without a system call to find out.
		conn->rx_budget = (size_t)n < size ? 0 : conn->rx_budget - 1;
		*got = (size_t)n;
		if (conn->first_length < sizeof conn->first)
			note_first(conn, (const uint8_t *)out, (size_t)n);
		return 1;
	}
	conn->rx_budget = 0;
	if (n == 0) {
		conn->rx_eof = true;
		return 0;
	}
	if (errno == EAGAIN)
		BIO_set_retry_read(bio);
	else
		snprintf(conn->problem, sizeof conn->problem, "%s", outcome_text(-errno));
	return 0;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
	(void)number;
	(void)pointer;
	struct tls_conn *conn = BIO_get_data(bio);
	switch (command) {
	case BIO_CTRL_FLUSH:
		return 1;
	case BIO_CTRL_EOF:
		return conn->rx_eof;
	default:
		return 0;
	}
}

static BIO_METHOD *bio_method;

static void bio_method_make(void)
{
	bio_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "qanat socket");
	if (!bio_method || BIO_meth_set_write_ex(bio_method, bio_write) != 1 ||
	    BIO_meth_set_read_ex(bio_method, bio_read) != 1 || BIO_meth_set_ctrl(bio_method, bio_ctrl) != 1)
		abort();
}

const BIO_METHOD *tls_bio_method(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, bio_method_make);
	return bio_method;
}

// Every library call that may write stands between stage_begin and stage_end. Behind kept bytes nothing may overtake,
// so there everything is kept.
int tls_stage_begin(struct tls_conn *conn)
{
	if (!stage.bytes && !(stage.bytes = malloc(STAGE_BYTES)))
		return -ENOMEM;
	stage.length = 0;
	stage.conn = conn->kept_length == 0 ? conn : NULL;
	// Clearing an empty queue costs more than looking at it.
	if (ERR_peek_error() != 0)
		ERR_clear_error();
	return 0;
}

void tls_conn_trim_thread(void)
{
	free(stage.bytes);
	stage.bytes = NULL;
}

int tls_put(struct tls_conn *conn, const uint8_t *bytes, size_t length, size_t *done)
{
	*done = 0;
	while (*done < length) {
		ssize_t n = send(conn->fd, bytes + *done, length - *done, MSG_NOSIGNAL);
		if (n >= 0) {
			*done += (size_t)n;
			conn->put += (size_t)n;
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno == EAGAIN)
			return TLS_BLOCKED;
		if (conn->failure == TLS_FAILURE_NONE) {
			conn->failure = TLS_FAILURE_CLOSED;
			snprintf(conn->problem, sizeof conn->problem, "%s", outcome_text(-errno));
		}
		return TLS_FAILED;
	}
	return 0;
}

int tls_stage_end(struct tls_conn *conn)
{
	bool staged = stage.conn == conn;
	stage.conn = NULL;
	if (!staged || stage.length == 0)
		return 0;
	size_t done;
	int r = tls_put(conn, stage.bytes, stage.length, &done);
	if (r == TLS_BLOCKED)
		return keep(conn, stage.bytes + done, stage.length - done);
	return r;
}
