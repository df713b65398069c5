#include "wire/tls_conn.h"

#include "limits.h"
#include "wire/tls_internal.h"
#include "wire/tls_rig.h"

#include <openssl/ssl.h>

static struct tls_rig rig;

static int start(void **state)
{
	(void)state;
	tls_rig_start(&rig);
	return 0;
}

static int stop(void **state)
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

static int on_hello(void *owner, struct tls_conn *conn, enum tls_kind kind)
{
	(void)owner;
	(void)conn;
	(void)kind;
	door.hellos++;
	return door.refuse;
}

static int find_psk(void *owner, struct tls_conn *conn, const uint8_t *identity, size_t length, struct secret *psk)
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

static int burn_psk(void *owner, struct tls_conn *conn)
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

static struct tls_conn *dial_conn(struct tls_profile *profile, int *fd, const char *name, tls_judge_fn judge)
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

static struct tls_conn *accept_conn(struct tls_profile *profile, int *fd, tls_judge_fn judge)
{
	struct tls_conn *conn;
	struct tls_options options = {.judge = judge};
	assert_int_equal(tls_conn_new(profile, fd, &options, &conn), 0);
	return conn;
}

static void prepare_buffers(struct ends *ends, struct tls_profile *dialler, struct tls_profile *listener, int bytes)
{
	int pair[2];
	door = (struct door){.find = TLS_FAILURE_PSK_UNKNOWN_LINK};
	*ends = (struct ends){.dialler_profile = dialler, .listener_profile = listener};
	tls_rig_pair(pair, bytes);
	ends->dialler = dial_conn(dialler, &pair[0], "dest.example", NULL);
	ends->listener = accept_conn(listener, &pair[1], NULL);
}

static struct tls_profile *listener_of(struct identity *identity, enum tls_pq pq)
{
	struct tls_profile *profile;
	assert_int_equal(tls_profile_listener(identity, pq, &ops, &profile), 0);
	return profile;
}

static void prepare_control(struct ends *ends)
{
	struct tls_profile *dialler;
	assert_int_equal(tls_profile_control(rig.client, TLS_PQ_REQUIRE, &dialler), 0);
	prepare_buffers(ends, dialler, listener_of(rig.server, TLS_PQ_REQUIRE), 0);
}

static void prepare_data_buffers(struct ends *ends, int bytes)
{
	struct tls_profile *dialler;
	assert_int_equal(tls_profile_data("X25519MLKEM768", &dialler), 0);
	prepare_buffers(ends, dialler, listener_of(rig.server, TLS_PQ_REQUIRE), bytes);
}

static void prepare_data(struct ends *ends)
{
	prepare_data_buffers(ends, 0);
}

static void fini(struct ends *ends)
{
	tls_conn_free(&ends->dialler);
	tls_conn_free(&ends->listener);
	tls_profile_free(&ends->dialler_profile);
	tls_profile_free(&ends->listener_profile);
}

static bool is_readable(const struct tls_conn *conn, int timeout_ms)
{
	struct pollfd one = {.fd = tls_conn_fd(conn), .events = POLLIN};
	return poll(&one, 1, timeout_ms) == 1;
}

static int step(struct tls_conn *conn)
{
	if (is_readable(conn, 0))
		tls_conn_readable(conn);
	int r = tls_conn_flush(conn);
	return r == 0 || r == TLS_BLOCKED ? tls_conn_handshake(conn) : r;
}

// Both handshakes until neither goes on.
static void shake(struct ends *ends)
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

static void connect_data(struct ends *ends, int bytes)
{
	prepare_data_buffers(ends, bytes);
	shake(ends);
	assert_int_equal(ends->dialled, 0);
	assert_int_equal(ends->accepted, 0);
}

// Waits for the next outcome that is not TLS_BLOCKED.
static int await(struct tls_conn *conn, uint8_t *out, size_t size, size_t *got)
{
	for (;;) {
		int r = tls_conn_recv(conn, out, size, got);
		if (r != TLS_BLOCKED)
			return r;
		assert_true(is_readable(conn, RIG_PATIENCE_MS));
		tls_conn_readable(conn);
	}
}

static void expect_text(struct tls_conn *conn, const char *text)
{
	uint8_t bytes[256];
	size_t got;
	assert_int_equal(await(conn, bytes, sizeof bytes, &got), 0);
	assert_int_equal(got, strlen(text));
	assert_memory_equal(bytes, text, got);
}

static void send_text(struct tls_conn *conn, const char *text)
{
	assert_int_equal(tls_conn_send(conn, (const uint8_t *)text, strlen(text)), 0);
}

static void expect_end(struct tls_conn *conn, int end)
{
	uint8_t byte;
	size_t got;
	assert_int_equal(await(conn, &byte, 1, &got), end);
	assert_int_equal(got, 0);
	assert_int_equal(tls_conn_recv(conn, &byte, 1, &got), end); // and for ever
}

// ---- control connections

static void control_connection_proves_both_sides_and_exports_the_same_secret(void **state)
{
	(void)state;
	struct ends ends;
	struct tls_text text;
	struct secret mine = {0}, theirs = {0}, other = {0};
	prepare_control(&ends);
	shake(&ends);
	assert_int_equal(ends.dialled, 0);
	assert_int_equal(ends.accepted, 0);
	assert_true(tls_conn_is_ready(ends.dialler) && tls_conn_is_ready(ends.listener));
	assert_int_equal(tls_conn_kind(ends.listener), TLS_CONTROL);
	assert_int_equal(door.hellos, 1);
	assert_int_equal(door.finds, 0);
	assert_int_equal(X509_cmp(tls_conn_peer_certificate(ends.dialler), identity_certificate(rig.server)), 0);
	assert_int_equal(X509_cmp(tls_conn_peer_certificate(ends.listener), identity_certificate(rig.client)), 0);
	tls_conn_describe(ends.listener, &text);
	assert_string_equal(text.version, "TLSv1.3");
	assert_string_equal(text.group, "X25519MLKEM768");
	assert_string_equal(text.cipher, "TLS_AES_256_GCM_SHA384");
	assert_string_not_equal(text.signature_peer, "");
	const uint8_t context[48] = {1}, another[48] = {2};
	assert_int_equal(tls_conn_export(ends.dialler, "EXPORTER-x", context, 48, &mine), 0);
	assert_int_equal(tls_conn_export(ends.listener, "EXPORTER-x", context, 48, &theirs), 0);
	assert_int_equal(tls_conn_export(ends.listener, "EXPORTER-x", another, 48, &other), 0);
	assert_int_equal(mine.length, 48);
	assert_memory_equal(mine.bytes, theirs.bytes, 48);
	assert_memory_not_equal(mine.bytes, other.bytes, 48);
	secret_fini(&mine);
	secret_fini(&theirs);
	secret_fini(&other);
	send_text(ends.dialler, "hello");
	expect_text(ends.listener, "hello");
	fini(&ends);
}

static int nobody_is_welcome(void *owner, X509 *certificate)
{
	(void)owner;
	(void)certificate;
	return TLS_FAILURE_NOT_ALLOWED;
}

struct control_case {
	struct identity *dialler, *listener;
	enum tls_pq dialler_pq, listener_pq;
	const char *name;
	tls_judge_fn dialler_judge, listener_judge;
	int refuse;
	enum tls_failure dialled, accepted;
};

static void expect_control(const struct control_case *expected)
{
	struct ends ends = {0};
	int pair[2];
	door = (struct door){.refuse = expected->refuse};
	tls_rig_pair(pair, 0);
	assert_int_equal(tls_profile_control(expected->dialler, expected->dialler_pq, &ends.dialler_profile), 0);
	ends.listener_profile = listener_of(expected->listener, expected->listener_pq);
	ends.dialler = dial_conn(ends.dialler_profile, &pair[0], expected->name, expected->dialler_judge);
	ends.listener = accept_conn(ends.listener_profile, &pair[1], expected->listener_judge);
	shake(&ends);
	if (expected->accepted != TLS_FAILURE_NONE) {
		assert_int_equal(ends.accepted, TLS_FAILED);
		assert_false(tls_conn_is_ready(ends.listener));
	}
	assert_string_equal(tls_failure_name(tls_conn_failure(ends.listener)), tls_failure_name(expected->accepted));
	// The listener speaks last: a dialler that was content hears of the refusal as soon as it reads.
	uint8_t byte;
	size_t got;
	if (ends.dialled == 0 && expected->dialled != TLS_FAILURE_NONE)
		assert_int_equal(await(ends.dialler, &byte, 1, &got), TLS_FAILED);
	assert_string_equal(tls_failure_name(tls_conn_failure(ends.dialler)), tls_failure_name(expected->dialled));
	fini(&ends);
}

static struct control_case good_case(void)
{
	return (struct control_case){.dialler = rig.client, .listener = rig.server, .name = "dest.example"};
}

static void responder_of_another_name_is_refused(void **state)
{
	(void)state;
	struct control_case expected = good_case();
	expected.name = "elsewhere.example";
	expected.dialled = TLS_FAILURE_WRONG_NAME;
	expected.accepted = TLS_FAILURE_PEER_ALERT;
	expect_control(&expected);
}

static void responder_is_found_by_its_address_as_well(void **state)
{
	(void)state;
	struct control_case expected = good_case();
	expected.name = "127.0.0.1";
	expect_control(&expected);
}

static void certificates_of_another_authority_are_refused(void **state)
{
	(void)state;
	struct control_case expected = good_case();
	expected.dialler = rig.stranger; // it does not believe in the server's authority either, and speaks first
	expected.dialled = TLS_FAILURE_UNKNOWN_CA;
	expected.accepted = TLS_FAILURE_PEER_ALERT;
	expect_control(&expected);
}

static void client_certificate_does_not_make_a_responder(void **state)
{
	(void)state;
	struct control_case expected = good_case();
	expected.listener = rig.client;
	expected.name = NULL;
	expected.dialled = TLS_FAILURE_WRONG_USAGE;
	expected.accepted = TLS_FAILURE_PEER_ALERT;
	expect_control(&expected);
}

static void server_certificate_does_not_make_an_initiator(void **state)
{
	(void)state;
	struct control_case expected = good_case();
	expected.dialler = rig.server;
	expected.dialled = TLS_FAILURE_PEER_ALERT;
	expected.accepted = TLS_FAILURE_WRONG_USAGE;
	expect_control(&expected);
}

static void initiator_outside_the_allow_list_is_refused(void **state)
{
	(void)state;
	struct control_case expected = good_case();
	expected.listener_judge = nobody_is_welcome;
	expected.dialled = TLS_FAILURE_PEER_ALERT;
	expected.accepted = TLS_FAILURE_NOT_ALLOWED;
	expect_control(&expected);
}

static void responder_outside_the_allow_list_is_refused(void **state)
{
	(void)state;
	struct control_case expected = good_case();
	expected.dialler_judge = nobody_is_welcome;
	expected.dialled = TLS_FAILURE_NOT_ALLOWED;
	expected.accepted = TLS_FAILURE_PEER_ALERT;
	expect_control(&expected);
}

static void classical_peers_are_refused_where_hybrid_is_required(void **state)
{
	(void)state;
	struct control_case expected = good_case();
	expected.dialler_pq = TLS_PQ_OFF;
	expected.dialled = TLS_FAILURE_PEER_ALERT;
	expected.accepted = TLS_FAILURE_NO_GROUP;
	expect_control(&expected);
	expected = good_case();
	expected.listener_pq = TLS_PQ_OFF;
	expected.dialled = TLS_FAILURE_PEER_ALERT;
	expected.accepted = TLS_FAILURE_NO_GROUP;
	expect_control(&expected);
}

static void classical_peers_are_taken_where_hybrid_is_preferred(void **state)
{
	(void)state;
	struct control_case expected = good_case();
	expected.dialler_pq = TLS_PQ_OFF;
	expected.listener_pq = TLS_PQ_PREFER;
	expect_control(&expected);
}

static void handshake_that_is_not_admitted_ends_before_certificates(void **state)
{
	(void)state;
	struct control_case expected = good_case();
	expected.refuse = TLS_FAILURE_ADMISSION;
	expected.dialled = TLS_FAILURE_PEER_ALERT;
	expected.accepted = TLS_FAILURE_ADMISSION;
	expect_control(&expected);
}

// ---- strangers

// What a listener makes of these bytes and a close behind them.
static enum tls_failure verdict_on(const void *bytes, size_t length)
{
	struct ends ends = {.listener_profile = listener_of(rig.server, TLS_PQ_REQUIRE)};
	int pair[2], r;
	tls_rig_pair(pair, 0);
	ends.listener = accept_conn(ends.listener_profile, &pair[1], NULL);
	assert_int_equal(send(pair[0], bytes, length, 0), (ssize_t)length);
	shutdown(pair[0], SHUT_WR);
	do {
		assert_true(is_readable(ends.listener, RIG_PATIENCE_MS));
		tls_conn_readable(ends.listener);
		r = tls_conn_handshake(ends.listener);
	} while (r == TLS_BLOCKED);
	assert_int_equal(r, TLS_FAILED);
	enum tls_failure failure = tls_conn_failure(ends.listener);
	close(pair[0]);
	fini(&ends);
	return failure;
}

static void strangers_that_do_not_speak_tls_are_told_apart(void **state)
{
	(void)state;
	static const char request[] = "GET / HTTP/1.1\r\nHost: dest.example\r\n\r\n", ssh[] = "SSH-2.0-OpenSSH_9.9\r\n";
	static const uint8_t half_a_hello[] = {22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3};
	assert_string_equal(tls_failure_name(verdict_on(request, sizeof request - 1)), "plain HTTP instead of TLS");
	assert_string_equal(tls_failure_name(verdict_on(ssh, sizeof ssh - 1)), "not TLS");
	assert_string_equal(tls_failure_name(verdict_on("", 0)), "closed by the peer");
	assert_string_equal(tls_failure_name(verdict_on(half_a_hello, sizeof half_a_hello)), "closed by the peer");
}

// A peer made of the library alone, which keeps to no rule of ours.
struct raw {
	SSL_CTX *ssl_ctx;
	SSL *ssl;
	int fd;
};

static const char *raw_identities[2]; // of the first and the second ClientHello
static unsigned raw_asked;

static int raw_use_psk(SSL *ssl, const EVP_MD *md, const unsigned char **id, size_t *length, SSL_SESSION **session)
{
	(void)md;
	const uint8_t suite[] = {0x13, 0x02};
	const char *name = raw_identities[raw_asked > 0];
	raw_asked++;
	*id = (const unsigned char *)name;
	*length = strlen(name);
	*session = SSL_SESSION_new();
	SSL_SESSION_set1_master_key(*session, key_bytes, sizeof key_bytes);
	SSL_SESSION_set_cipher(*session, SSL_CIPHER_find(ssl, suite));
	SSL_SESSION_set_protocol_version(*session, TLS1_3_VERSION);
	return 1;
}

static void raw_start(struct raw *raw, bool server, int *fd, const char *groups)
{
	raw->ssl_ctx = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
	assert_int_equal(SSL_CTX_set1_groups_list(raw->ssl_ctx, groups), 1);
	raw->ssl = SSL_new(raw->ssl_ctx);
	raw->fd = *fd;
	*fd = -1;
	SSL_set_fd(raw->ssl, raw->fd);
	if (server)
		SSL_set_accept_state(raw->ssl);
	else
		SSL_set_connect_state(raw->ssl);
}

static void raw_client(struct raw *raw, int *fd, const char *alpn, const char *groups)
{
	raw_start(raw, false, fd, groups);
	if (alpn)
		assert_int_equal(SSL_set_alpn_protos(raw->ssl, (const uint8_t *)alpn, (unsigned)strlen(alpn)), 0);
}

static void raw_fini(struct raw *raw)
{
	SSL_free(raw->ssl);
	SSL_CTX_free(raw->ssl_ctx);
	close(raw->fd);
}

// Ours against the raw peer, until ours has an outcome; the raw peer's failure is an end as well.
static int shake_raw(struct tls_conn *conn, struct raw *raw)
{
	uint64_t until = clock_ms() + RIG_PATIENCE_MS;
	for (;;) {
		int done = SSL_do_handshake(raw->ssl);
		if (done != 1 && SSL_get_error(raw->ssl, done) != SSL_ERROR_WANT_READ)
			shutdown(raw->fd, SHUT_WR);
		int r = step(conn);
		if (r != TLS_BLOCKED)
			return r;
		assert_true(clock_ms() < until);
	}
}

#define CONTROL_ALPN "\x07qanat/1"
#define DATA_ALPN "\x0cqanat-data/1"

struct raw_case {
	const char *alpn, *groups, *first, *second; // PSK identities, NULL: none
	bool with_certificate;
	enum tls_failure accepted;
};

static void expect_raw_client(const struct raw_case *expected)
{
	struct ends ends = {.listener_profile = listener_of(rig.server, TLS_PQ_REQUIRE)};
	struct raw raw;
	int pair[2];
	door = (struct door){.find = TLS_FAILURE_PSK_UNKNOWN_LINK};
	tls_rig_pair(pair, 0);
	ends.listener = accept_conn(ends.listener_profile, &pair[1], NULL);
	raw_client(&raw, &pair[0], expected->alpn, expected->groups ? expected->groups : "X25519MLKEM768");
	raw_identities[0] = expected->first;
	raw_identities[1] = expected->second ? expected->second : expected->first;
	raw_asked = 0;
	if (expected->first)
		SSL_set_psk_use_session_callback(raw.ssl, raw_use_psk);
	if (expected->with_certificate)
		assert_int_equal(SSL_use_cert_and_key(raw.ssl, identity_certificate(rig.client), identity_key(rig.client), NULL,
		                                      1),
		                 1);
	int r = shake_raw(ends.listener, &raw);
	assert_int_equal(r, expected->accepted == TLS_FAILURE_NONE ? 0 : TLS_FAILED);
	assert_string_equal(tls_failure_name(tls_conn_failure(ends.listener)), tls_failure_name(expected->accepted));
	assert_int_equal(tls_conn_is_ready(ends.listener), expected->accepted == TLS_FAILURE_NONE);
	raw_fini(&raw);
	fini(&ends);
}

static void raw_peer_that_keeps_the_rules_is_taken(void **state)
{
	(void)state;
	expect_raw_client(&(struct raw_case){.alpn = DATA_ALPN, .first = IDENTITY});
	expect_raw_client(&(struct raw_case){.alpn = CONTROL_ALPN, .with_certificate = true});
}

static void peer_without_our_protocol_is_refused(void **state)
{
	(void)state;
	expect_raw_client(&(struct raw_case){.accepted = TLS_FAILURE_BAD_ALPN});
	expect_raw_client(&(struct raw_case){.alpn = "\x02h2", .accepted = TLS_FAILURE_BAD_ALPN});
	expect_raw_client(&(struct raw_case){.alpn = CONTROL_ALPN DATA_ALPN, .accepted = TLS_FAILURE_BAD_ALPN});
	expect_raw_client(&(struct raw_case){.alpn = DATA_ALPN CONTROL_ALPN, .accepted = TLS_FAILURE_BAD_ALPN});
}

static void control_connection_without_a_certificate_is_refused(void **state)
{
	(void)state;
	expect_raw_client(&(struct raw_case){.alpn = CONTROL_ALPN, .accepted = TLS_FAILURE_NO_CERTIFICATE});
}

static void psk_does_not_stand_in_for_a_certificate_on_a_control_connection(void **state)
{
	(void)state;
	// No find-session callback is set there: the PSK is not looked at, and the certificate is missing.
	expect_raw_client(
		&(struct raw_case){.alpn = CONTROL_ALPN, .first = IDENTITY, .accepted = TLS_FAILURE_NO_CERTIFICATE});
	assert_int_equal(door.finds, 0);
	assert_int_equal(door.burns, 0);
}

static void data_connection_without_a_psk_is_refused_even_with_a_certificate(void **state)
{
	(void)state;
	expect_raw_client(&(struct raw_case){.alpn = DATA_ALPN, .accepted = TLS_FAILURE_PSK_NOT_USED});
	expect_raw_client(
		&(struct raw_case){.alpn = DATA_ALPN, .with_certificate = true, .accepted = TLS_FAILURE_PSK_NOT_USED});
}

static void unknown_psk_never_falls_through_to_certificates(void **state)
{
	(void)state;
	expect_raw_client(&(struct raw_case){
		.alpn = DATA_ALPN, .first = "nobody", .with_certificate = true, .accepted = TLS_FAILURE_PSK_UNKNOWN_LINK});
	assert_int_equal(door.burns, 0);
}

static void retried_hello_burns_once_and_may_not_change_its_identity(void **state)
{
	(void)state;
	// P-256 comes first, so the responder asks again for a hybrid share.
	struct raw_case retried = {.alpn = DATA_ALPN, .groups = "P-256:X25519MLKEM768", .first = IDENTITY};
	expect_raw_client(&retried);
	assert_int_equal(raw_asked, 2);
	assert_int_equal(door.burns, 1);
	retried.second = IDENTITY " another"; // valid as well, but never burnt
	retried.accepted = TLS_FAILURE_PROTOCOL;
	expect_raw_client(&retried);
	assert_int_equal(raw_asked, 2);
}

static int raw_choose_data(SSL *ssl, const unsigned char **out, unsigned char *length, const unsigned char *in,
                           unsigned int in_length, void *unused)
{
	(void)ssl;
	(void)unused;
	(void)in_length;
	*out = in + 1;
	*length = in[0];
	return SSL_TLSEXT_ERR_OK;
}

static void responder_that_ignores_the_psk_is_refused(void **state)
{
	(void)state;
	struct ends ends = {0};
	struct raw raw;
	int pair[2];
	tls_rig_pair(pair, 0);
	assert_int_equal(tls_profile_data("X25519MLKEM768", &ends.dialler_profile), 0);
	ends.dialler = dial_conn(ends.dialler_profile, &pair[0], NULL, NULL);
	assert_int_equal(tls_conn_early(ends.dialler, (const uint8_t *)"early", 5), 0);
	raw_start(&raw, true, &pair[1], "X25519MLKEM768");
	SSL_CTX_set_alpn_select_cb(raw.ssl_ctx, raw_choose_data, NULL);
	assert_int_equal(SSL_use_cert_and_key(raw.ssl, identity_certificate(rig.server), identity_key(rig.server), NULL, 1),
	                 1);
	assert_int_equal(shake_raw(ends.dialler, &raw), TLS_FAILED);
	assert_false(tls_conn_is_ready(ends.dialler));
	assert_false(tls_conn_has_room(ends.dialler));
	raw_fini(&raw);
	fini(&ends);
}

// ---- data connections

static void data_connection_needs_its_psk_and_no_certificate(void **state)
{
	(void)state;
	struct ends ends;
	connect_data(&ends, 0);
	assert_int_equal(tls_conn_kind(ends.listener), TLS_DATA);
	assert_true(tls_conn_is_proved(ends.listener));
	assert_int_equal(door.burns, 1);
	assert_null(tls_conn_peer_certificate(ends.listener));
	assert_false(tls_conn_early_was_accepted(ends.dialler));
	send_text(ends.dialler, "ping");
	expect_text(ends.listener, "ping");
	send_text(ends.listener, "pong");
	expect_text(ends.dialler, "pong");
	fini(&ends);
}

static void early_data_arrives_before_the_handshake_is_done(void **state)
{
	(void)state;
	struct ends ends;
	uint8_t sent[LIMIT_EARLY_DATA_BYTES], received[LIMIT_EARLY_DATA_BYTES + 1];
	size_t length = 0;
	prepare_data(&ends);
	for (size_t i = 0; i < sizeof sent; i++)
		sent[i] = (uint8_t)(i * 7);
	assert_int_equal(tls_conn_early(ends.dialler, sent, sizeof sent), 0);
	while (length < sizeof sent) {
		size_t got;
		assert_true(is_readable(ends.listener, RIG_PATIENCE_MS));
		assert_int_equal(step(ends.listener), TLS_BLOCKED);
		while (tls_conn_recv(ends.listener, received + length, sizeof received - length, &got) == 0)
			length += got;
	}
	assert_true(tls_conn_is_proved(ends.listener));
	assert_false(tls_conn_is_ready(ends.listener));
	assert_int_equal(length, sizeof sent);
	assert_memory_equal(sent, received, length);
	shake(&ends);
	assert_int_equal(ends.dialled, 0);
	assert_int_equal(ends.accepted, 0);
	assert_true(tls_conn_early_was_accepted(ends.dialler));
	send_text(ends.dialler, "late");
	expect_text(ends.listener, "late");
	fini(&ends);
}

static void replayed_first_flight_is_refused_and_delivers_nothing(void **state)
{
	(void)state;
	struct ends ends, again;
	uint8_t flight[32768], out[64];
	size_t length = 0, got;
	int pair[2], tap[2];
	// The dialler's flight is written down before anybody sees it.
	prepare_data(&ends);
	tls_conn_free(&ends.dialler);
	tls_conn_free(&ends.listener);
	tls_rig_pair(pair, 0);
	ends.dialler = dial_conn(ends.dialler_profile, &pair[0], NULL, NULL);
	assert_int_equal(tls_conn_early(ends.dialler, (const uint8_t *)"pay 5", 5), 0);
	struct pollfd one = {.fd = pair[1], .events = POLLIN};
	while (poll(&one, 1, length == 0 ? RIG_PATIENCE_MS : 50) == 1)
		length += (size_t)recv(pair[1], flight + length, sizeof flight - length, 0);
	for (int turn = 0; turn < 2; turn++) {
		tls_rig_pair(tap, 0);
		again = (struct ends){.listener = accept_conn(ends.listener_profile, &tap[1], NULL)};
		assert_int_equal(send(tap[0], flight, length, 0), (ssize_t)length);
		int r;
		do {
			assert_true(is_readable(again.listener, RIG_PATIENCE_MS));
			r = step(again.listener);
		} while (r == TLS_BLOCKED && tls_conn_recv(again.listener, out, sizeof out, &got) == TLS_BLOCKED);
		if (turn == 0) {
			assert_int_equal(got, 5);
			assert_memory_equal(out, "pay 5", 5);
		} else {
			assert_int_equal(r, TLS_FAILED);
			assert_int_equal(tls_conn_failure(again.listener), TLS_FAILURE_PSK_REPLAYED);
			assert_false(tls_conn_is_proved(again.listener));
			assert_int_not_equal(tls_conn_recv(again.listener, out, sizeof out, &got), 0);
		}
		tls_conn_free(&again.listener);
		close(tap[0]);
	}
	close(pair[1]);
	fini(&ends);
}

static void wrong_key_is_refused_and_burns_nothing(void **state)
{
	(void)state;
	struct ends ends;
	prepare_data(&ends);
	door.wrong_key = true;
	shake(&ends);
	assert_int_equal(ends.accepted, TLS_FAILED);
	assert_int_equal(tls_conn_failure(ends.listener), TLS_FAILURE_PSK_BAD_BINDER);
	assert_int_equal(door.burns, 0);
	assert_int_equal(ends.dialled, TLS_FAILED);
	assert_int_equal(tls_conn_failure(ends.dialler), TLS_FAILURE_PEER_ALERT);
	fini(&ends);
}

static void flipped_bit_in_early_data_ends_the_connection(void **state)
{
	(void)state;
	struct ends ends;
	uint8_t flight[32768], out[64];
	size_t length = 0, got;
	int pair[2], tap[2], r;
	prepare_data(&ends);
	tls_conn_free(&ends.dialler);
	tls_conn_free(&ends.listener);
	tls_rig_pair(pair, 0);
	tls_rig_pair(tap, 0);
	ends.dialler = dial_conn(ends.dialler_profile, &pair[0], NULL, NULL);
	assert_int_equal(tls_conn_early(ends.dialler, (const uint8_t *)"pay 5", 5), 0);
	struct pollfd one = {.fd = pair[1], .events = POLLIN};
	while (poll(&one, 1, length == 0 ? RIG_PATIENCE_MS : 50) == 1)
		length += (size_t)recv(pair[1], flight + length, sizeof flight - length, 0);
	flight[length - 1] ^= 1;
	ends.listener = accept_conn(ends.listener_profile, &tap[1], NULL);
	assert_int_equal(send(tap[0], flight, length, 0), (ssize_t)length);
	do {
		assert_true(is_readable(ends.listener, RIG_PATIENCE_MS));
		r = step(ends.listener);
	} while (r == TLS_BLOCKED);
	assert_int_equal(r, TLS_FAILED);
	assert_int_not_equal(tls_conn_recv(ends.listener, out, sizeof out, &got), 0);
	close(tap[0]);
	close(pair[1]);
	fini(&ends);
}

// ---- ends

static void each_direction_ends_for_itself(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct ends ends;
		connect_data(&ends, 0);
		struct tls_conn *first = i == 0 ? ends.dialler : ends.listener;
		struct tls_conn *second = i == 0 ? ends.listener : ends.dialler;
		send_text(first, "last words");
		assert_int_equal(tls_conn_finish(first), 0);
		assert_int_equal(tls_conn_finish(first), 0);
		assert_false(tls_conn_has_room(first));
		expect_text(second, "last words");
		expect_end(second, TLS_END);
		for (int n = 0; n < 3; n++) {
			send_text(second, "still here");
			expect_text(first, "still here");
		}
		assert_int_equal(tls_conn_finish(second), 0);
		expect_end(first, TLS_END);
		fini(&ends);
	}
}

// The peer of a connection that is freed in this state.
static void expect_after_free(bool finish_first, bool read_first, int outcome)
{
	struct ends ends;
	connect_data(&ends, 0);
	send_text(ends.dialler, "half a mess");
	expect_text(ends.listener, "half a mess");
	if (read_first) {
		assert_int_equal(tls_conn_finish(ends.listener), 0);
		expect_end(ends.dialler, TLS_END);
	}
	if (finish_first)
		assert_int_equal(tls_conn_finish(ends.dialler), 0);
	tls_conn_free(&ends.dialler);
	uint8_t byte;
	size_t got;
	assert_int_equal(await(ends.listener, &byte, 1, &got), outcome);
	if (outcome == TLS_FAILED)
		assert_int_equal(tls_conn_failure(ends.listener), TLS_FAILURE_CLOSED);
	fini(&ends);
}

static void stream_that_was_cut_never_looks_finished(void **state)
{
	(void)state;
	expect_after_free(false, false, TLS_FAILED);
	expect_after_free(false, true, TLS_FAILED);
	expect_after_free(true, true, TLS_END);
}

static void end_of_the_socket_without_close_notify_is_a_failure(void **state)
{
	(void)state;
	struct ends ends;
	connect_data(&ends, 0);
	send_text(ends.dialler, "half a mess");
	shutdown(tls_conn_fd(ends.dialler), SHUT_WR);
	expect_text(ends.listener, "half a mess");
	expect_end(ends.listener, TLS_FAILED);
	assert_int_equal(tls_conn_failure(ends.listener), TLS_FAILURE_CLOSED);
	fini(&ends);
}

// ---- much

#define CHUNK LIMIT_UNIT_BYTES

struct direction {
	struct tls_conn *from, *to;
	uint64_t sent, received, length;
	bool ended;
};

static uint8_t byte_at(uint64_t position)
{
	return (uint8_t)((position * 2654435761u) >> 7);
}

static void push(struct direction *direction, bool update)
{
	static uint8_t chunk[CHUNK];
	int r = tls_conn_flush(direction->from);
	assert_true(r == 0 || r == TLS_BLOCKED);
	if (!tls_conn_has_room(direction->from))
		return;
	if (direction->sent == direction->length) {
		assert_int_equal(tls_conn_finish(direction->from), 0);
		return;
	}
	if (update) {
		assert_int_equal(tls_conn_update_keys(direction->from), 0);
		assert_int_equal(tls_conn_sent(direction->from), 0);
		if (!tls_conn_has_room(direction->from))
			return;
	}
	size_t n = direction->length - direction->sent < CHUNK ? (size_t)(direction->length - direction->sent) : CHUNK;
	for (size_t i = 0; i < n; i++)
		chunk[i] = byte_at(direction->sent + i);
	assert_int_equal(tls_conn_send(direction->from, chunk, n), 0);
	direction->sent += n;
}

static void pull(struct direction *direction)
{
	static uint8_t chunk[CHUNK];
	if (is_readable(direction->to, 0))
		tls_conn_readable(direction->to);
	for (;;) {
		size_t got;
		int r = tls_conn_recv(direction->to, chunk, sizeof chunk, &got);
		if (r == TLS_BLOCKED)
			return;
		if (r == TLS_END) {
			direction->ended = true;
			return;
		}
		if (r != 0)
			fail_msg("%s: %s", tls_failure_name(tls_conn_failure(direction->to)), tls_conn_problem(direction->to));
		for (size_t i = 0; i < got; i++)
			if (chunk[i] != byte_at(direction->received + i))
				fail_msg("byte %llu is wrong", (unsigned long long)(direction->received + i));
		direction->received += got;
	}
}

static void keys_change_under_load_in_both_directions(void **state)
{
	(void)state;
	struct ends ends;
	connect_data(&ends, 16384);
	struct direction out = {.from = ends.dialler, .to = ends.listener, .length = 6 << 20};
	struct direction in = {.from = ends.listener, .to = ends.dialler, .length = 5 << 20};
	uint64_t until = clock_ms() + RIG_PATIENCE_MS;
	for (unsigned turn = 0; !out.ended || !in.ended; turn++) {
		push(&out, turn % 3 == 0);
		push(&in, turn % 2 == 0);
		if (turn % 5 != 0)
			pull(&out);
		if (turn % 7 != 0)
			pull(&in);
		assert_true(clock_ms() < until);
	}
	assert_int_equal(out.received, out.length);
	assert_int_equal(in.received, in.length);
	fini(&ends);
}

static void finish_right_after_a_key_update_arrives_as_an_end(void **state)
{
	(void)state;
	struct ends ends;
	connect_data(&ends, 0);
	send_text(ends.dialler, "old key");
	assert_int_equal(tls_conn_update_keys(ends.dialler), 0);
	assert_int_equal(tls_conn_finish(ends.dialler), 0);
	expect_text(ends.listener, "old key");
	expect_end(ends.listener, TLS_END);
	fini(&ends);
}

static void peer_that_stops_reading_takes_our_room_not_our_memory(void **state)
{
	(void)state;
	struct ends ends;
	static uint8_t chunk[CHUNK];
	connect_data(&ends, 8192);
	struct direction out = {.from = ends.dialler, .to = ends.listener, .length = 32 << 20};
	unsigned sends = 0;
	for (; tls_conn_has_room(ends.dialler); sends++)
		push(&out, false);
	assert_true(sends < 256);
	assert_int_equal(tls_conn_wants(ends.dialler), 2 /* LOOP_WRITE */);
	assert_int_equal(tls_conn_flush(ends.dialler), TLS_BLOCKED);
	// An end and a new key queue behind what is kept, in order.
	assert_int_equal(tls_conn_finish(ends.dialler), 0);
	out.length = out.sent;
	uint64_t until = clock_ms() + RIG_PATIENCE_MS;
	while (!out.ended) {
		(void)!tls_conn_flush(ends.dialler);
		pull(&out);
		assert_true(clock_ms() < until);
	}
	assert_int_equal(out.received, out.sent);
	assert_int_equal(tls_conn_wants(ends.dialler), 0);
	(void)chunk;
	fini(&ends);
}

static void one_telling_is_worth_a_bounded_number_of_reads(void **state)
{
	(void)state;
	struct ends ends;
	static uint8_t chunk[CHUNK];
	size_t got, taken = 0;
	connect_data(&ends, 0);
	struct direction out = {.from = ends.dialler, .to = ends.listener, .length = 64 << 20};
	// The receive buffer grows while it is read, so both sides take turns until enough waits.
	assert_int_equal(tls_conn_recv(ends.listener, chunk, sizeof chunk, &got), TLS_BLOCKED); // nobody has told it
	for (unsigned i = 0; i < 20; i++)
		push(&out, false);
	tls_conn_readable(ends.listener);
	while (tls_conn_recv(ends.listener, chunk, sizeof chunk, &got) == 0)
		taken += got;
	assert_true(taken <= (size_t)LIMIT_UNITS_PER_TURN * LIMIT_RECORD_BUFFER_BYTES);
	assert_int_equal(tls_conn_recv(ends.listener, chunk, sizeof chunk, &got), TLS_BLOCKED);
	fini(&ends);
}

static void handshake_that_is_to_wait_goes_on_when_it_is_asked_again(void **state)
{
	(void)state;
	struct ends ends;
	prepare_control(&ends);
	door.refuse = TLS_HELLO_LATER;
	uint64_t until = clock_ms() + RIG_PATIENCE_MS;
	while (door.hellos == 0) {
		assert_int_equal(step(ends.dialler), TLS_BLOCKED);
		assert_int_equal(step(ends.listener), TLS_BLOCKED);
		assert_true(clock_ms() < until);
	}
	assert_int_equal(step(ends.listener), TLS_BLOCKED);
	assert_int_equal(door.hellos, 2); // asked again, and nothing else
	assert_false(is_readable(ends.dialler, 0));
	door.refuse = TLS_FAILURE_NONE;
	shake(&ends);
	assert_int_equal(ends.dialled, 0);
	assert_int_equal(ends.accepted, 0);
	assert_int_equal(door.hellos, 3);
	send_text(ends.dialler, "in the end");
	expect_text(ends.listener, "in the end");
	fini(&ends);
	// It may still be refused.
	prepare_control(&ends);
	door.refuse = TLS_HELLO_LATER;
	while (door.hellos == 0) {
		assert_int_equal(step(ends.dialler), TLS_BLOCKED);
		assert_int_equal(step(ends.listener), TLS_BLOCKED);
		assert_true(clock_ms() < until);
	}
	door.refuse = TLS_FAILURE_ADMISSION;
	shake(&ends);
	assert_int_equal(ends.accepted, TLS_FAILED);
	assert_int_equal(tls_conn_failure(ends.listener), TLS_FAILURE_ADMISSION);
	fini(&ends);
}

// Whether a key share is still there; has_any: the library knows of one, empty or not.
static bool keeps_a_key(SSL *ssl, bool of_peer, bool *has_any)
{
	EVP_PKEY *key = NULL;
	*has_any = (of_peer ? SSL_get_peer_tmp_key(ssl, &key) : SSL_get_tmp_key(ssl, &key)) == 1;
	unsigned char *bytes = NULL;
	bool keeps = *has_any && EVP_PKEY_get1_encoded_public_key(key, &bytes) > 0;
	OPENSSL_free(bytes);
	EVP_PKEY_free(key);
	return keeps;
}

static void key_shares_go_with_the_handshake(void **state)
{
	(void)state;
	struct ends ends;
	bool has_ours, has_theirs, has_any;
	prepare_control(&ends);
	shake(&ends);
	assert_int_equal(ends.accepted, 0);
	assert_false(keeps_a_key(ends.dialler->ssl, false, &has_ours));
	assert_false(keeps_a_key(ends.listener->ssl, true, &has_theirs));
	assert_false(keeps_a_key(ends.dialler->ssl, true, &has_any));
	assert_false(keeps_a_key(ends.listener->ssl, false, &has_any));
	assert_true(has_ours && has_theirs);
	// New keys are made from those that there are.
	send_text(ends.dialler, "before");
	expect_text(ends.listener, "before");
	assert_int_equal(tls_conn_update_keys(ends.dialler), 0);
	send_text(ends.dialler, "after");
	expect_text(ends.listener, "after");
	fini(&ends);
}

static void trimmed_connection_goes_on(void **state)
{
	(void)state;
	struct ends ends;
	connect_data(&ends, 0);
	for (int i = 0; i < 3; i++) {
		send_text(ends.dialler, "one way");
		expect_text(ends.listener, "one way");
		tls_conn_trim(ends.dialler);
		tls_conn_trim(ends.listener);
		send_text(ends.listener, "and back");
		expect_text(ends.dialler, "and back");
	}
	// With a part of a record inside, nothing is lost either.
	struct direction out = {.from = ends.dialler, .to = ends.listener, .length = 1 << 20};
	uint64_t until = clock_ms() + RIG_PATIENCE_MS;
	while (!out.ended) {
		push(&out, false);
		pull(&out);
		tls_conn_trim(ends.listener);
		tls_conn_trim(ends.dialler);
		assert_true(clock_ms() < until);
	}
	assert_int_equal(out.received, out.length);
	fini(&ends);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(control_connection_proves_both_sides_and_exports_the_same_secret),
		cmocka_unit_test(responder_of_another_name_is_refused),
		cmocka_unit_test(responder_is_found_by_its_address_as_well),
		cmocka_unit_test(certificates_of_another_authority_are_refused),
		cmocka_unit_test(client_certificate_does_not_make_a_responder),
		cmocka_unit_test(server_certificate_does_not_make_an_initiator),
		cmocka_unit_test(initiator_outside_the_allow_list_is_refused),
		cmocka_unit_test(responder_outside_the_allow_list_is_refused),
		cmocka_unit_test(classical_peers_are_refused_where_hybrid_is_required),
		cmocka_unit_test(classical_peers_are_taken_where_hybrid_is_preferred),
		cmocka_unit_test(handshake_that_is_not_admitted_ends_before_certificates),
		cmocka_unit_test(strangers_that_do_not_speak_tls_are_told_apart),
		cmocka_unit_test(raw_peer_that_keeps_the_rules_is_taken),
		cmocka_unit_test(peer_without_our_protocol_is_refused),
		cmocka_unit_test(control_connection_without_a_certificate_is_refused),
		cmocka_unit_test(psk_does_not_stand_in_for_a_certificate_on_a_control_connection),
		cmocka_unit_test(data_connection_without_a_psk_is_refused_even_with_a_certificate),
		cmocka_unit_test(unknown_psk_never_falls_through_to_certificates),
		cmocka_unit_test(retried_hello_burns_once_and_may_not_change_its_identity),
		cmocka_unit_test(responder_that_ignores_the_psk_is_refused),
		cmocka_unit_test(data_connection_needs_its_psk_and_no_certificate),
		cmocka_unit_test(early_data_arrives_before_the_handshake_is_done),
		cmocka_unit_test(replayed_first_flight_is_refused_and_delivers_nothing),
		cmocka_unit_test(wrong_key_is_refused_and_burns_nothing),
		cmocka_unit_test(flipped_bit_in_early_data_ends_the_connection),
		cmocka_unit_test(each_direction_ends_for_itself),
		cmocka_unit_test(stream_that_was_cut_never_looks_finished),
		cmocka_unit_test(end_of_the_socket_without_close_notify_is_a_failure),
		cmocka_unit_test(keys_change_under_load_in_both_directions),
		cmocka_unit_test(finish_right_after_a_key_update_arrives_as_an_end),
		cmocka_unit_test(peer_that_stops_reading_takes_our_room_not_our_memory),
		cmocka_unit_test(one_telling_is_worth_a_bounded_number_of_reads),
		cmocka_unit_test(handshake_that_is_to_wait_goes_on_when_it_is_asked_again),
		cmocka_unit_test(key_shares_go_with_the_handshake),
		cmocka_unit_test(trimmed_connection_goes_on),
	};
	return cmocka_run_group_tests_name("tls_conn", tests, start, stop);
}
