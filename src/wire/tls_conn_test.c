#include "wire/tls_conn.h"

#include "wire/tls_conn_rig.h"
#include "wire/tls_internal.h"

// ---- two ends

static void prepare_control(struct ends *ends)
{
	struct tls_profile *dialler;
	assert_int_equal(tls_profile_control(rig.client, TLS_PQ_REQUIRE, &dialler), 0);
	prepare_buffers(ends, dialler, listener_of(rig.server, TLS_PQ_REQUIRE), 0);
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
		cmocka_unit_test(handshake_that_is_to_wait_goes_on_when_it_is_asked_again),
		cmocka_unit_test(key_shares_go_with_the_handshake),
	};
	return cmocka_run_group_tests_name("tls_conn", tests, start, stop);
}
