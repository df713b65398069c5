// For tests of wire/tls_conn.h: a listener's owner that knows some identities, and both ends of a connection. For one
// file of a test program.

#pragma once

#include "wire/tls_conn.h"

#include "limits.h"
#include "wire/tls_rig.h"

#include <openssl/ssl.h>

static struct tls_rig rig;

static inline int start(void **state)
{
	(void)state;
	tls_rig_start(&rig);
	return 0;
}

static inline int stop(void **state)
{
	(void)state;
	tls_rig_stop(&rig);
	return 0;
}

// ---- a listener's owner that knows some identities

#define IDENTITY "q1 a one-time identity"
static const uint8_t key_bytes[48] = "forty-eight bytes that both of them know already";

struct door {
	int refuse;     // answer of on_hello
	int find;       // answer of find_psk when the identity is not IDENTITY
	bool wrong_key; // another secret than the peer's
	unsigned hellos, finds, burns;
	bool used; // the identity has been burnt
};

static struct door door;

static inline int on_hello(void *owner, struct tls_conn *conn, enum tls_kind kind)
{
	(void)owner;
	(void)conn;
	(void)kind;
	door.hellos++;
	return door.refuse;
}

static inline int find_psk(void *owner, struct tls_conn *conn, const uint8_t *identity, size_t length,
                           struct secret *psk)
{
	(void)owner;
	(void)conn;
	uint8_t bytes[48];
	door.finds++;
	if (length < sizeof IDENTITY - 1 || memcmp(identity, IDENTITY, sizeof IDENTITY - 1) != 0)
		return door.find;
	memcpy(bytes, key_bytes, sizeof bytes);
	bytes[0] ^= door.wrong_key;
	return secret_set(psk, bytes, sizeof bytes) == 0 ? TLS_FAILURE_NONE : TLS_FAILURE_INTERNAL;
}

static inline int burn_psk(void *owner, struct tls_conn *conn)
{
	(void)owner;
	(void)conn;
	door.burns++;
	if (door.used)
		return TLS_FAILURE_PSK_REPLAYED;
	door.used = true;
	return TLS_FAILURE_NONE;
}

static const struct tls_listener_ops ops = {.on_hello = on_hello, .find_psk = find_psk, .burn_psk = burn_psk};

// ---- two ends

struct ends {
	struct tls_profile *dialler_profile, *listener_profile;
	struct tls_conn *dialler, *listener;
	int dialled, accepted; // what the handshakes came to
};

static inline struct tls_conn *dial_conn(struct tls_profile *profile, int *fd, const char *name, tls_judge_fn judge)
{
	struct tls_conn *conn;
	struct secret psk = {0};
	assert_int_equal(secret_set(&psk, key_bytes, sizeof key_bytes), 0);
	struct tls_options options = {.peer_name = name,
	                              .judge = judge,
	                              .psk = &psk,
	                              .psk_identity = (const uint8_t *)IDENTITY,
	                              .psk_identity_length = sizeof IDENTITY - 1};
	assert_int_equal(tls_conn_new(profile, fd, &options, &conn), 0);
	assert_int_equal(*fd, -1);
	secret_fini(&psk);
	return conn;
}

static inline struct tls_conn *accept_conn(struct tls_profile *profile, int *fd, tls_judge_fn judge)
{
	struct tls_conn *conn;
	struct tls_options options = {.judge = judge};
	assert_int_equal(tls_conn_new(profile, fd, &options, &conn), 0);
	return conn;
}

static inline void prepare_buffers(struct ends *ends, struct tls_profile *dialler, struct tls_profile *listener,
                                   int bytes)
{
	int pair[2];
	door = (struct door){.find = TLS_FAILURE_PSK_UNKNOWN_LINK};
	*ends = (struct ends){.dialler_profile = dialler, .listener_profile = listener};
	tls_rig_pair(pair, bytes);
	ends->dialler = dial_conn(dialler, &pair[0], "dest.example", NULL);
	ends->listener = accept_conn(listener, &pair[1], NULL);
}

static inline struct tls_profile *listener_of(struct identity *identity, enum tls_pq pq)
{
	struct tls_profile *profile;
	assert_int_equal(tls_profile_listener(identity, pq, &ops, &profile), 0);
	return profile;
}

static inline void fini(struct ends *ends)
{
	tls_conn_free(&ends->dialler);
	tls_conn_free(&ends->listener);
	tls_profile_free(&ends->dialler_profile);
	tls_profile_free(&ends->listener_profile);
}

static inline bool is_readable(const struct tls_conn *conn, int timeout_ms)
{
	struct pollfd one = {.fd = tls_conn_fd(conn), .events = POLLIN};
	return poll(&one, 1, timeout_ms) == 1;
}

static inline int step(struct tls_conn *conn)
{
	if (is_readable(conn, 0))
		tls_conn_readable(conn);
	int r = tls_conn_flush(conn);
	return r == 0 || r == TLS_BLOCKED ? tls_conn_handshake(conn) : r;
}

// Both handshakes until neither goes on.
static inline void shake(struct ends *ends)
{
	uint64_t until = clock_ms() + RIG_PATIENCE_MS;
	ends->dialled = ends->accepted = TLS_BLOCKED;
	for (;;) {
		if (ends->dialled == TLS_BLOCKED)
			ends->dialled = step(ends->dialler);
		if (ends->accepted == TLS_BLOCKED)
			ends->accepted = step(ends->listener);
		if (ends->dialled != TLS_BLOCKED && ends->accepted != TLS_BLOCKED)
			return;
		// One has failed and closes, so that the other hears of it.
		if (ends->dialled == TLS_FAILED && ends->accepted == TLS_BLOCKED)
			shutdown(tls_conn_fd(ends->dialler), SHUT_WR);
		if (ends->accepted == TLS_FAILED && ends->dialled == TLS_BLOCKED)
			shutdown(tls_conn_fd(ends->listener), SHUT_WR);
		assert_true(clock_ms() < until);
	}
}

// Waits for the next outcome that is not TLS_BLOCKED.
static inline int await(struct tls_conn *conn, uint8_t *out, size_t size, size_t *got)
{
	for (;;) {
		int r = tls_conn_recv(conn, out, size, got);
		if (r != TLS_BLOCKED)
			return r;
		assert_true(is_readable(conn, RIG_PATIENCE_MS));
		tls_conn_readable(conn);
	}
}

static inline void expect_text(struct tls_conn *conn, const char *text)
{
	uint8_t bytes[256];
	size_t got;
	assert_int_equal(await(conn, bytes, sizeof bytes, &got), 0);
	assert_int_equal(got, strlen(text));
	assert_memory_equal(bytes, text, got);
}

static inline void send_text(struct tls_conn *conn, const char *text)
{
	assert_int_equal(tls_conn_send(conn, (const uint8_t *)text, strlen(text)), 0);
}
