#include "wire/tls_sidecar.h"

#include "core/counter.h"
#include "crypto/pin.h"
#include "limits.h"
#include "wire/tls_sidecar_rig.h"

static void say_both_ways(struct rig_shake *shake)
{
	char text[32] = "";
	size_t got = 0;
	uint64_t until = clock_ms() + RIG_PATIENCE_MS;
	assert_int_equal(SSL_write(shake->peer, "question", 8), 8);
	for (int r = TLS_BLOCKED; r == TLS_BLOCKED; r = tls_conn_recv(shake->conn, (uint8_t *)text, sizeof text, &got)) {
		tls_conn_readable(shake->conn);
		assert_true(clock_ms() < until);
	}
	assert_int_equal(got, 8);
	assert_memory_equal(text, "question", 8);
	assert_int_equal(tls_conn_send(shake->conn, (const uint8_t *)"answer", 6), 0);
	int n;
	do {
		n = SSL_read(shake->peer, text, sizeof text);
		assert_true(clock_ms() < until);
	} while (n <= 0);
	assert_int_equal(n, 6);
	assert_memory_equal(text, "answer", 6);
}

// ---- client certificates: every mode and every kind of certificate

enum showing {
	SHOWS_NONE,
	SHOWS_GOOD,
	SHOWS_WRONG_CA,
	SHOWS_EXPIRED,
	SHOWS_EARLY,
	SHOWS_REVOKED,
	SHOWS_USAGE,
	SHOWS_BARE
};

static struct rig_leaf make_showing(enum showing showing)
{
	struct rig_wish wish = {.usage = "clientAuth"};
	switch (showing) {
	case SHOWS_NONE:
		return (struct rig_leaf){0};
	case SHOWS_GOOD:
	case SHOWS_REVOKED:
		break;
	case SHOWS_WRONG_CA:
		wish.issuer = rig.other;
		wish.issuer_key = rig.other_key;
		break;
	case SHOWS_EXPIRED:
		wish.from_s = -7200;
		wish.to_s = -3600;
		break;
	case SHOWS_EARLY:
		wish.from_s = 3600;
		wish.to_s = 7200;
		break;
	case SHOWS_USAGE:
		wish.usage = "serverAuth";
		break;
	case SHOWS_BARE:
		wish.usage = NULL;
		break;
	}
	return rig_issue(&wish);
}

static enum tls_failure expected_of(enum showing showing, enum tls_client_cert mode)
{
	static const enum tls_failure failures[] = {
		[SHOWS_NONE] = TLS_FAILURE_NO_CERTIFICATE, [SHOWS_GOOD] = TLS_FAILURE_NONE,
		[SHOWS_WRONG_CA] = TLS_FAILURE_UNKNOWN_CA, [SHOWS_EXPIRED] = TLS_FAILURE_EXPIRED,
		[SHOWS_EARLY] = TLS_FAILURE_NOT_YET_VALID, [SHOWS_REVOKED] = TLS_FAILURE_REVOKED,
		[SHOWS_USAGE] = TLS_FAILURE_WRONG_USAGE,   [SHOWS_BARE] = TLS_FAILURE_WRONG_USAGE,
	};
	if (mode == TLS_CLIENT_CERT_NONE || (mode == TLS_CLIENT_CERT_OPTIONAL && showing == SHOWS_NONE))
		return TLS_FAILURE_NONE;
	return failures[showing];
}

static void check_showing(enum showing showing, enum tls_client_cert mode, int version)
{
	struct identity *server = rig_server("P-256");
	struct rig_leaf leaf = make_showing(showing);
	rig_write_list("ca", rig.ca, rig.ca_key, showing == SHOWS_REVOKED ? leaf.certificate : NULL, 3600);
	struct trust *trust = rig_trust("ca", "ca");
	struct tls_profile *profile = rig_profile(&(struct tls_sidecar){.identities = &server,
	                                                                .identity_count = 1,
	                                                                .trust = trust,
	                                                                .client_cert = mode,
	                                                                .pq = TLS_PQ_PREFER,
	                                                                .allow_tls12 = version == TLS1_2_VERSION});
	SSL_CTX *ctx = rig_client(showing == SHOWS_NONE ? NULL : &leaf);
	struct rig_shake shake;
	struct tls_text text;
	enum tls_failure expected = expected_of(showing, mode);
	SSL_CTX_set_max_proto_version(ctx, version);
	rig_meet(&shake, profile, &(struct tls_options){0}, ctx, true);
	rig_run(&shake);
	assert_string_equal(tls_failure_name(tls_conn_failure(shake.conn)), tls_failure_name(expected));
	assert_int_equal(shake.ours, expected == TLS_FAILURE_NONE ? 0 : TLS_FAILED);
	if (expected == TLS_FAILURE_NONE) {
		assert_int_equal(shake.theirs, 0);
		say_both_ways(&shake);
		tls_conn_describe(shake.conn, &text);
		assert_string_equal(text.version, version == TLS1_2_VERSION ? "TLSv1.2" : "TLSv1.3");
		assert_int_equal(tls_conn_peer_certificate(shake.conn) != NULL,
		                 showing != SHOWS_NONE && mode != TLS_CLIENT_CERT_NONE);
	} else {
		int alert = shake.theirs != 0 ? shake.theirs : rig_peer_hears(shake.peer);
		assert_true(alert > SSL_AD_REASON_OFFSET); // an alert, not just a closed socket
	}
	rig_shake_fini(&shake);
	SSL_CTX_free(ctx);
	tls_profile_free(&profile);
	trust_unref(&trust);
	identity_unref(&server);
	rig_leaf_fini(&leaf);
}

static void every_client_certificate_mode_judges_every_kind_of_certificate(void **state)
{
	(void)state;
	for (int mode = TLS_CLIENT_CERT_REQUIRED; mode <= TLS_CLIENT_CERT_NONE; mode++)
		for (int showing = SHOWS_NONE; showing <= SHOWS_BARE; showing++) {
			check_showing((enum showing)showing, (enum tls_client_cert)mode, TLS1_3_VERSION);
			check_showing((enum showing)showing, (enum tls_client_cert)mode, TLS1_2_VERSION);
		}
}

// ---- one handshake with a server of ours

struct meeting {
	struct tls_sidecar settings;
	struct tls_options options;
	struct tls_profile *profile;
	SSL_CTX *ctx;
	struct rig_shake shake;
};

static void meet(struct meeting *meeting)
{
	meeting->profile = rig_profile(&meeting->settings);
	rig_meet(&meeting->shake, meeting->profile, &meeting->options, meeting->ctx, !meeting->settings.is_client);
}

static void part(struct meeting *meeting)
{
	rig_shake_fini(&meeting->shake);
	SSL_CTX_free(meeting->ctx);
	tls_profile_free(&meeting->profile);
}

static void expect_failure(const struct meeting *meeting, enum tls_failure expected)
{
	assert_string_equal(tls_failure_name(tls_conn_failure(meeting->shake.conn)), tls_failure_name(expected));
	assert_int_equal(meeting->shake.ours, expected == TLS_FAILURE_NONE ? 0 : TLS_FAILED);
}

// ---- groups

struct group_case {
	const char *offers;
	int version;
	enum tls_pq pq;
	const char *comes_to; // NULL: refused
};

static void check_group(const struct group_case *expected)
{
	struct identity *server = rig_server("P-256");
	struct meeting meeting = {.settings = {.identities = &server,
	                                       .identity_count = 1,
	                                       .client_cert = TLS_CLIENT_CERT_NONE,
	                                       .pq = expected->pq,
	                                       .allow_tls12 = expected->pq != TLS_PQ_REQUIRE},
	                          .ctx = rig_client(NULL)};
	struct tls_text text;
	SSL_CTX_set_max_proto_version(meeting.ctx, expected->version);
	assert_int_equal(SSL_CTX_set1_groups_list(meeting.ctx, expected->offers), 1);
	meet(&meeting);
	rig_run(&meeting.shake);
	tls_conn_describe(meeting.shake.conn, &text);
	if (expected->comes_to) {
		expect_failure(&meeting, TLS_FAILURE_NONE);
		assert_string_equal(text.group, expected->comes_to);
		assert_int_equal(tls_group_is_pq(text.group), strstr(expected->comes_to, "MLKEM") != NULL);
	} else {
		assert_int_equal(meeting.shake.ours, TLS_FAILED);
		assert_true(meeting.shake.theirs > SSL_AD_REASON_OFFSET);
	}
	part(&meeting);
	identity_unref(&server);
}

static void group_policy_is_kept_and_reported_by_what_was_negotiated(void **state)
{
	(void)state;
	static const struct group_case cases[] = {
		{"X25519MLKEM768:X25519", TLS1_3_VERSION, TLS_PQ_REQUIRE, "X25519MLKEM768"},
		{"SecP256r1MLKEM768", TLS1_3_VERSION, TLS_PQ_REQUIRE, "SecP256r1MLKEM768"},
		{"SecP384r1MLKEM1024", TLS1_3_VERSION, TLS_PQ_REQUIRE, "SecP384r1MLKEM1024"},
		{"X25519:P-256", TLS1_3_VERSION, TLS_PQ_REQUIRE, NULL},
		{"X25519:P-256", TLS1_2_VERSION, TLS_PQ_REQUIRE, NULL},
		{"X25519MLKEM768:X25519", TLS1_3_VERSION, TLS_PQ_PREFER, "X25519MLKEM768"},
		// It sends a key share for X25519 only, and is asked for the better one.
		{"*X25519:X25519MLKEM768", TLS1_3_VERSION, TLS_PQ_PREFER, "X25519MLKEM768"},
		{"P-256:X25519", TLS1_3_VERSION, TLS_PQ_PREFER, "secp256r1"},
		{"P-384", TLS1_3_VERSION, TLS_PQ_PREFER, "secp384r1"},
		{"X25519:P-256", TLS1_2_VERSION, TLS_PQ_PREFER, "x25519"},
		{"P-521", TLS1_3_VERSION, TLS_PQ_PREFER, NULL},
		{"X25519MLKEM768:X25519", TLS1_3_VERSION, TLS_PQ_OFF, "x25519"},
		{"X25519MLKEM768", TLS1_3_VERSION, TLS_PQ_OFF, NULL},
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		check_group(&cases[i]);
}

// ---- several certificates

static void check_choice(struct identity *const *list, size_t count, const char *offers, int version, int wanted)
{
	struct meeting meeting = {.settings = {.identities = list,
	                                       .identity_count = count,
	                                       .client_cert = TLS_CLIENT_CERT_NONE,
	                                       .pq = TLS_PQ_PREFER,
	                                       .allow_tls12 = true},
	                          .ctx = rig_client(NULL)};
	SSL_CTX_set_max_proto_version(meeting.ctx, version);
	if (offers)
		assert_int_equal(SSL_CTX_set1_sigalgs_list(meeting.ctx, offers), 1);
	meet(&meeting);
	rig_run(&meeting.shake);
	if (wanted >= 0) {
		expect_failure(&meeting, TLS_FAILURE_NONE);
		assert_int_equal(meeting.shake.theirs, 0);
		assert_int_equal(X509_cmp(SSL_get0_peer_certificate(meeting.shake.peer), identity_certificate(list[wanted])),
		                 0);
		assert_int_equal(sk_X509_num(SSL_get_peer_cert_chain(meeting.shake.peer)), 1); // without the root
	} else {
		expect_failure(&meeting, TLS_FAILURE_NO_SIGNATURE);
		assert_true(meeting.shake.theirs > SSL_AD_REASON_OFFSET);
	}
	part(&meeting);
}

#define CLASSICAL "ecdsa_secp256r1_sha256:rsa_pss_rsae_sha256:RSA+SHA256"

static void each_client_gets_the_first_certificate_that_it_can_verify(void **state)
{
	(void)state;
	struct identity *list[] = {rig_server("ML-DSA-87"), rig_server("ML-DSA-65"), rig_server("P-256"), rig_server("RSA"),
	                           rig_server("RSA")};
	check_choice(list, 5, NULL, TLS1_3_VERSION, 0);
	check_choice(list, 5, "mldsa65:mldsa87:ecdsa_secp256r1_sha256", TLS1_3_VERSION, 0);
	check_choice(list, 5, "mldsa65:ecdsa_secp256r1_sha256", TLS1_3_VERSION, 1);
	check_choice(list, 5, CLASSICAL, TLS1_3_VERSION, 2);
	check_choice(list, 5, "rsa_pss_rsae_sha256:RSA+SHA256", TLS1_3_VERSION, 3);
	check_choice(list, 5, NULL, TLS1_2_VERSION, 2);
	check_choice(list, 5, "RSA+SHA256:rsa_pss_rsae_sha256", TLS1_2_VERSION, 3);
	check_choice(list, 5, "ed25519", TLS1_3_VERSION, -1);
	struct identity *turned[] = {list[4], list[3], list[1], list[0], list[2]};
	check_choice(turned, 5, NULL, TLS1_3_VERSION, 0);
	check_choice(turned, 5, "mldsa87:mldsa65:ecdsa_secp256r1_sha256", TLS1_3_VERSION, 2);
	check_choice(turned, 5, "mldsa87:ecdsa_secp256r1_sha256", TLS1_3_VERSION, 3);
	// Alone, the library decides; the answer is the same.
	check_choice(list + 2, 1, "ed25519", TLS1_3_VERSION, -1);
	for (size_t i = 0; i < COUNT_OF(list); i++)
		identity_unref(&list[i]);
}

static void client_that_knows_only_rsa_suites_of_tls12_gets_the_rsa_certificate(void **state)
{
	(void)state;
	struct identity *list[] = {rig_server("P-256"), rig_server("RSA")};
	struct meeting meeting = {.settings = {.identities = list,
	                                       .identity_count = 2,
	                                       .client_cert = TLS_CLIENT_CERT_NONE,
	                                       .pq = TLS_PQ_PREFER,
	                                       .allow_tls12 = true},
	                          .ctx = rig_client(NULL)};
	SSL_CTX_set_max_proto_version(meeting.ctx, TLS1_2_VERSION);
	assert_int_equal(SSL_CTX_set_cipher_list(meeting.ctx, "ECDHE-RSA-AES128-GCM-SHA256"), 1);
	meet(&meeting);
	rig_run(&meeting.shake);
	expect_failure(&meeting, TLS_FAILURE_NONE);
	assert_int_equal(X509_cmp(SSL_get0_peer_certificate(meeting.shake.peer), identity_certificate(list[1])), 0);
	say_both_ways(&meeting.shake);
	part(&meeting);
	identity_unref(&list[0]);
	identity_unref(&list[1]);
}

static struct identity *server_named(const char *names)
{
	return rig_identity(&(struct rig_wish){.names = names, .usage = "serverAuth"}, IDENTITY_SERVER, 0);
}

static int refuse_unknown_names(void *owner, struct tls_conn *conn)
{
	unsigned *asked = owner;
	(*asked)++;
	return strcmp(tls_sidecar_sni(conn), "nowhere.example") == 0 ? TLS_FAILURE_WRONG_NAME : TLS_FAILURE_NONE;
}

static void check_sni(struct identity *const *list, const char *name, int wanted)
{
	unsigned asked = 0;
	struct meeting meeting = {.settings = {.identities = list,
	                                       .identity_count = 2,
	                                       .client_cert = TLS_CLIENT_CERT_NONE,
	                                       .pq = TLS_PQ_PREFER,
	                                       .on_hello = refuse_unknown_names},
	                          .options = {.owner = &asked},
	                          .ctx = rig_client(NULL)};
	// A key share that is not taken makes for a second ClientHello, about which nobody is asked.
	assert_int_equal(SSL_CTX_set1_groups_list(meeting.ctx, "*X25519:X25519MLKEM768"), 1);
	meet(&meeting);
	if (name)
		SSL_set_tlsext_host_name(meeting.shake.peer, name);
	rig_run(&meeting.shake);
	assert_int_equal(asked, 1);
	if (wanted < 0) {
		expect_failure(&meeting, TLS_FAILURE_WRONG_NAME);
		assert_int_equal(meeting.shake.theirs, SSL_R_TLSV1_UNRECOGNIZED_NAME);
	} else {
		expect_failure(&meeting, TLS_FAILURE_NONE);
		assert_int_equal(X509_cmp(SSL_get0_peer_certificate(meeting.shake.peer), identity_certificate(list[wanted])),
		                 0);
	}
	part(&meeting);
}

static void client_that_asks_for_a_name_gets_the_certificate_of_that_name(void **state)
{
	(void)state;
	struct identity *list[] = {server_named("DNS:a.example"), server_named("DNS:*.b.example")};
	check_sni(list, "a.example", 0);
	check_sni(list, "WWW.B.example", 1);
	check_sni(list, "c.example", 0);
	check_sni(list, NULL, 0);
	check_sni(list, "nowhere.example", -1);
	identity_unref(&list[0]);
	identity_unref(&list[1]);
}

// ---- signatures

static void post_quantum_signatures_can_be_required_of_both_sides(void **state)
{
	(void)state;
	char problem[TLS_SIDECAR_PROBLEM_BYTES];
	EVP_PKEY *key = rig_key("ML-DSA-65");
	X509 *ca = rig_authority("pq", key);
	struct trust *trust = rig_trust("pq", NULL), *classical = rig_trust("ca", NULL);
	struct identity *list[] = {
		rig_identity(&(struct rig_wish){.kind = "ML-DSA-87", .usage = "serverAuth", .issuer = ca, .issuer_key = key},
	                 IDENTITY_SERVER, 0)};
	struct tls_sidecar settings = {.identities = list,
	                               .identity_count = 1,
	                               .trust = trust,
	                               .pq = TLS_PQ_REQUIRE,
	                               .signatures = TLS_SIGNATURES_REQUIRE_PQ};
	struct rig_leaf good = rig_issue(
		&(struct rig_wish){.kind = "ML-DSA-65", .usage = "clientAuth", .issuer = ca, .issuer_key = key});
	struct rig_leaf under_classical = rig_issue(&(struct rig_wish){.kind = "ML-DSA-65", .usage = "clientAuth"});
	struct rig_leaf leaf_classical = rig_issue(
		&(struct rig_wish){.usage = "clientAuth", .issuer = ca, .issuer_key = key});
	struct tls_text text;

	struct meeting meeting = {.settings = settings, .ctx = rig_client(&good)};
	meet(&meeting);
	rig_run(&meeting.shake);
	expect_failure(&meeting, TLS_FAILURE_NONE);
	tls_conn_describe(meeting.shake.conn, &text);
	assert_string_equal(text.signature_own, "mldsa87");
	assert_string_equal(text.signature_peer, "mldsa65");
	assert_true(tls_signature_is_pq(text.signature_own));
	part(&meeting);

	meeting = (struct meeting){.settings = settings, .ctx = rig_client(&under_classical)};
	meeting.settings.trust = classical;
	meet(&meeting);
	rig_run(&meeting.shake);
	expect_failure(&meeting, TLS_FAILURE_CLASSICAL);
	part(&meeting);

	// The client has nothing that fits what it is asked for, and shows nothing.
	meeting = (struct meeting){.settings = settings, .ctx = rig_client(&leaf_classical)};
	meet(&meeting);
	rig_run(&meeting.shake);
	expect_failure(&meeting, TLS_FAILURE_NO_CERTIFICATE);
	part(&meeting);

	struct identity *mixed[] = {list[0], rig_server("P-256")};
	struct tls_profile *profile = NULL;
	settings.identities = mixed;
	settings.identity_count = 2;
	assert_int_equal(tls_sidecar_profile(&settings, &profile, problem), TLS_SIDECAR_REFUSED);
	assert_non_null(strstr(problem, "certificate 2 has a classical key"));
	identity_unref(&mixed[1]);
	identity_unref(&list[0]);
	rig_leaf_fini(&good);
	rig_leaf_fini(&under_classical);
	rig_leaf_fini(&leaf_classical);
	trust_unref(&trust);
	trust_unref(&classical);
	X509_free(ca);
	EVP_PKEY_free(key);
}

// ---- ALPN

static void check_alpn(bool strict, const char *offers, const char *wanted)
{
	static const char *const protocols[] = {"h2", "http/1.1"};
	struct identity *server = rig_server("P-256");
	struct meeting meeting = {.settings = {.identities = &server,
	                                       .identity_count = 1,
	                                       .client_cert = TLS_CLIENT_CERT_NONE,
	                                       .alpn = protocols,
	                                       .alpn_count = 2,
	                                       .alpn_is_strict = strict},
	                          .ctx = rig_client(NULL)};
	if (*offers)
		SSL_CTX_set_alpn_protos(meeting.ctx, (const uint8_t *)offers, (unsigned)strlen(offers));
	meet(&meeting);
	rig_run(&meeting.shake);
	if (wanted) {
		expect_failure(&meeting, TLS_FAILURE_NONE);
		assert_string_equal(tls_sidecar_alpn(meeting.shake.conn), wanted);
	} else {
		expect_failure(&meeting, TLS_FAILURE_BAD_ALPN);
		assert_int_equal(meeting.shake.theirs, SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL);
	}
	part(&meeting);
	identity_unref(&server);
}

static void protocols_are_chosen_in_our_order_and_a_strict_list_ends_the_handshake(void **state)
{
	(void)state;
	check_alpn(true, "\x08http/1.1\x02h2", "h2");
	check_alpn(true, "\x08http/1.1", "http/1.1");
	check_alpn(true, "", "");
	check_alpn(true,
	           "\x03"
	           "ftp",
	           NULL);
	check_alpn(false,
	           "\x03"
	           "ftp",
	           "");
}

// ---- our client

static struct tls_sidecar client_settings(struct trust *trust)
{
	return (struct tls_sidecar){.is_client = true, .trust = trust, .pq = TLS_PQ_PREFER};
}

static void check_client(struct tls_sidecar settings, const struct rig_wish *wish, const char *name,
                         enum tls_failure expected)
{
	struct rig_leaf leaf = rig_issue(wish);
	struct meeting meeting = {.settings = settings, .options = {.peer_name = name}, .ctx = rig_listener(&leaf)};
	meet(&meeting);
	rig_run(&meeting.shake);
	expect_failure(&meeting, expected);
	if (expected == TLS_FAILURE_NONE) {
		const char *asked = SSL_get_servername(meeting.shake.peer, TLSEXT_NAMETYPE_host_name);
		if (name && strcmp(name, "dest.example") == 0)
			assert_string_equal(asked, "dest.example");
		else
			assert_null(asked);
		say_both_ways(&meeting.shake);
	} else {
		assert_true(meeting.shake.theirs > SSL_AD_REASON_OFFSET);
	}
	part(&meeting);
	rig_leaf_fini(&leaf);
}

static void servers_are_judged_by_authority_name_times_and_usage(void **state)
{
	(void)state;
	struct trust *trust = rig_trust("ca", NULL);
	struct tls_sidecar settings = client_settings(trust);
	struct rig_wish good = {.usage = "serverAuth"}, wrong = good;
	check_client(settings, &good, "dest.example", TLS_FAILURE_NONE);
	check_client(settings, &good, "127.0.0.1", TLS_FAILURE_NONE);
	check_client(settings, &good, NULL, TLS_FAILURE_NONE);
	check_client(settings, &good, "else.example", TLS_FAILURE_WRONG_NAME);
	check_client(settings, &good, "127.0.0.2", TLS_FAILURE_WRONG_NAME);
	wrong.usage = "clientAuth";
	check_client(settings, &wrong, "dest.example", TLS_FAILURE_WRONG_USAGE);
	wrong.usage = NULL;
	check_client(settings, &wrong, "dest.example", TLS_FAILURE_WRONG_USAGE);
	settings.usage_may_be_absent = true;
	check_client(settings, &wrong, "dest.example", TLS_FAILURE_NONE);
	wrong.usage = "clientAuth";
	check_client(settings, &wrong, "dest.example", TLS_FAILURE_WRONG_USAGE);
	settings.usage_may_be_absent = false;
	wrong = good;
	wrong.from_s = -7200;
	wrong.to_s = -3600;
	check_client(settings, &wrong, "dest.example", TLS_FAILURE_EXPIRED);
	wrong = good;
	wrong.issuer = rig.other;
	wrong.issuer_key = rig.other_key;
	check_client(settings, &wrong, "dest.example", TLS_FAILURE_UNKNOWN_CA);
	trust_unref(&trust);
}

static void check_pins(struct trust *trust, bool right, bool by_itself, enum tls_failure expected)
{
	uint8_t pins[2][TLS_PIN_BYTES] = {{1}, {2}};
	struct rig_leaf leaf = rig_issue(&(struct rig_wish){.usage = "serverAuth", .by_itself = by_itself});
	if (right)
		assert_int_equal(pin_of(leaf.certificate, pins[1]), 0);
	struct meeting meeting = {.settings = client_settings(trust),
	                          .options = {.peer_name = "dest.example"},
	                          .ctx = rig_listener(&leaf)};
	meeting.settings.pins = (const uint8_t(*)[TLS_PIN_BYTES])pins;
	meeting.settings.pin_count = 2;
	meet(&meeting);
	rig_run(&meeting.shake);
	expect_failure(&meeting, expected);
	part(&meeting);
	rig_leaf_fini(&leaf);
}

static void pinned_keys_are_asked_beside_an_authority_or_in_its_place(void **state)
{
	(void)state;
	struct trust *trust = rig_trust("ca", NULL);
	check_pins(trust, true, false, TLS_FAILURE_NONE);
	check_pins(trust, false, false, TLS_FAILURE_WRONG_PIN);
	check_pins(trust, true, true, TLS_FAILURE_UNKNOWN_CA);
	check_pins(NULL, true, true, TLS_FAILURE_NONE);
	check_pins(NULL, false, true, TLS_FAILURE_WRONG_PIN);
	trust_unref(&trust);
}

static void check_shown(struct identity *const *list, const char *takes, int wanted)
{
	struct trust *trust = rig_trust("ca", NULL);
	struct rig_leaf leaf = rig_issue(&(struct rig_wish){.usage = "serverAuth"});
	struct meeting meeting = {.settings = client_settings(trust), .ctx = rig_listener(&leaf)};
	meeting.settings.identities = list;
	meeting.settings.identity_count = 2;
	SSL_CTX_set1_cert_store(meeting.ctx, trust_store(trust));
	SSL_CTX_set_verify(meeting.ctx, SSL_VERIFY_PEER, NULL);
	assert_int_equal(SSL_CTX_set1_client_sigalgs_list(meeting.ctx, takes), 1);
	meet(&meeting);
	rig_run(&meeting.shake);
	expect_failure(&meeting, TLS_FAILURE_NONE);
	assert_int_equal(meeting.shake.theirs, 0);
	X509 *shown = SSL_get0_peer_certificate(meeting.shake.peer);
	if (wanted < 0)
		assert_null(shown);
	else
		assert_int_equal(X509_cmp(shown, identity_certificate(list[wanted])), 0);
	part(&meeting);
	rig_leaf_fini(&leaf);
	trust_unref(&trust);
}

static void our_client_shows_the_first_certificate_that_the_server_can_verify(void **state)
{
	(void)state;
	struct rig_wish wish = {.kind = "ML-DSA-65", .usage = "clientAuth"}, other = {.usage = "clientAuth"};
	struct identity *list[] = {rig_identity(&wish, IDENTITY_CLIENT, 0), rig_identity(&other, IDENTITY_CLIENT, 0)};
	check_shown(list, "mldsa65:ecdsa_secp256r1_sha256", 0);
	check_shown(list, "ecdsa_secp256r1_sha256", 1);
	check_shown(list, "ed25519", -1);
	identity_unref(&list[0]);
	identity_unref(&list[1]);
}

// ---- stapled OCSP responses

// What the client gets: the response of the certificate that it gets, or nothing.
static void check_staple(struct identity *const *list, const char *offers, int version, int wanted)
{
	struct meeting meeting = {.settings = {.identities = list,
	                                       .identity_count = 2,
	                                       .client_cert = TLS_CLIENT_CERT_NONE,
	                                       .pq = TLS_PQ_PREFER,
	                                       .allow_tls12 = true},
	                          .ctx = rig_client(NULL)};
	const uint8_t *got = NULL, *own = NULL;
	size_t length = 0;
	SSL_CTX_set_max_proto_version(meeting.ctx, version);
	assert_int_equal(SSL_CTX_set1_sigalgs_list(meeting.ctx, offers), 1);
	meet(&meeting);
	SSL_set_tlsext_status_type(meeting.shake.peer, TLSEXT_STATUSTYPE_ocsp);
	rig_run(&meeting.shake);
	expect_failure(&meeting, TLS_FAILURE_NONE);
	assert_int_equal(meeting.shake.theirs, 0);
	long got_length = SSL_get_tlsext_status_ocsp_resp(meeting.shake.peer, &got);
	if (wanted >= 0) {
		own = identity_staple(list[wanted], &length);
		assert_non_null(own);
		assert_int_equal(got_length, length);
		assert_memory_equal(got, own, length);
	} else {
		assert_null(got);
	}
	part(&meeting);
}

static void each_certificate_has_its_own_response_for_who_asks(void **state)
{
	(void)state;
	struct rig_wish rsa = {.kind = "RSA", .usage = "serverAuth"}, ec = {.usage = "serverAuth"};
	struct identity *list[] = {rig_identity(&ec, IDENTITY_SERVER, 3600), rig_identity(&rsa, IDENTITY_SERVER, 7200)};
	check_staple(list, CLASSICAL, TLS1_3_VERSION, 0);
	check_staple(list, "rsa_pss_rsae_sha256:RSA+SHA256", TLS1_3_VERSION, 1);
	check_staple(list, CLASSICAL, TLS1_2_VERSION, 0);
	check_staple(list, "rsa_pss_rsae_sha256:RSA+SHA256", TLS1_2_VERSION, 1);
	struct identity *bare[] = {rig_server("P-256"), list[1]};
	check_staple(bare, CLASSICAL, TLS1_3_VERSION, -1);
	identity_unref(&bare[0]);
	identity_unref(&list[0]);
	identity_unref(&list[1]);
}

static void response_that_is_over_is_served_no_longer(void **state)
{
	(void)state;
	struct rig_wish wish = {.usage = "serverAuth"};
	struct identity *list[] = {rig_identity(&wish, IDENTITY_SERVER, 2), rig_server("RSA")};
	size_t length;
	uint64_t until = clock_ms() + RIG_PATIENCE_MS;
	assert_true(identity_staple_until(list[0]) > 0);
	while (identity_staple(list[0], &length)) {
		(void)poll(NULL, 0, 20);
		assert_true(clock_ms() < until);
	}
	assert_true(identity_staple_until(list[0]) > 0); // and its owner can say since when
	uint64_t served = counter_read(COUNTER_STAPLE_SERVED), over = counter_read(COUNTER_STAPLE_OVER);
	check_staple(list, CLASSICAL, TLS1_3_VERSION, -1);
	check_staple(list, CLASSICAL, TLS1_3_VERSION, -1);
	assert_int_equal(counter_read(COUNTER_STAPLE_OVER), over + 2);
	assert_int_equal(counter_read(COUNTER_STAPLE_SERVED), served);
	assert_false(identity_staple_news(list[0])); // it has been said
	identity_unref(&list[0]);
	identity_unref(&list[1]);
}

// ---- TLS 1.2

static void check_old(SSL_CTX *ctx, bool allowed, enum tls_failure expected)
{
	struct identity *server = rig_server("RSA");
	struct meeting meeting = {.settings = {.identities = &server,
	                                       .identity_count = 1,
	                                       .client_cert = TLS_CLIENT_CERT_NONE,
	                                       .pq = TLS_PQ_PREFER,
	                                       .allow_tls12 = allowed},
	                          .ctx = ctx};
	SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
	meet(&meeting);
	rig_run(&meeting.shake);
	expect_failure(&meeting, expected);
	assert_true(meeting.shake.theirs == 0 || meeting.shake.theirs > SSL_AD_REASON_OFFSET);
	if (expected == TLS_FAILURE_NONE) {
		say_both_ways(&meeting.shake);
		// The library's own client asks for a renegotiation and goes on without one.
		assert_int_equal(SSL_renegotiate(meeting.shake.peer), 1);
		assert_int_not_equal(rig_peer_step(meeting.shake.peer), 0);
		assert_int_equal(tls_conn_update_keys(meeting.shake.conn), 0);
	}
	part(&meeting);
	identity_unref(&server);
}

static void tls12_is_taken_when_allowed_with_modern_suites_only(void **state)
{
	(void)state;
	SSL_CTX *ctx = rig_client(NULL);
	check_old(ctx, true, TLS_FAILURE_NONE);
	check_old(rig_client(NULL), false, TLS_FAILURE_NO_VERSION);
	ctx = rig_client(NULL);
	assert_int_equal(SSL_CTX_set_cipher_list(ctx, "ECDHE-RSA-AES256-SHA:AES256-GCM-SHA384"), 1);
	check_old(ctx, true, TLS_FAILURE_PROTOCOL);
	ctx = rig_client(NULL);
	SSL_CTX_set_options(ctx, SSL_OP_NO_EXTENDED_MASTER_SECRET);
	check_old(ctx, true, TLS_FAILURE_NO_VERSION);
}

static void nothing_is_resumed(void **state)
{
	(void)state;
	struct identity *server = rig_server("P-256");
	for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
		struct meeting meeting = {.settings = {.identities = &server,
		                                       .identity_count = 1,
		                                       .client_cert = TLS_CLIENT_CERT_NONE,
		                                       .pq = TLS_PQ_PREFER,
		                                       .allow_tls12 = true},
		                          .ctx = rig_client(NULL)};
		SSL_CTX_set_max_proto_version(meeting.ctx, version);
		meet(&meeting);
		rig_run(&meeting.shake);
		say_both_ways(&meeting.shake);
		SSL_SESSION *session = SSL_get1_session(meeting.shake.peer);
		assert_false(SSL_SESSION_has_ticket(session));
		rig_shake_fini(&meeting.shake);
		rig_meet(&meeting.shake, meeting.profile, &meeting.options, meeting.ctx, true);
		SSL_set_session(meeting.shake.peer, session);
		rig_run(&meeting.shake);
		expect_failure(&meeting, TLS_FAILURE_NONE);
		assert_false(SSL_session_reused(meeting.shake.peer));
		SSL_SESSION_free(session);
		part(&meeting);
	}
	identity_unref(&server);
}

// ---- who stands already

static int judge_by_flag(void *owner, X509 *certificate)
{
	assert_non_null(certificate);
	return *(const bool *)owner ? TLS_FAILURE_NONE : TLS_FAILURE_NOT_ALLOWED;
}

static void expect_again(const struct meeting *meeting, struct tls_sidecar settings, const struct tls_options *options,
                         enum tls_failure expected)
{
	char text[TLS_EXPLANATION_BYTES];
	struct tls_profile *profile = rig_profile(&settings);
	int failure = tls_sidecar_judge_again(meeting->shake.conn, profile, options, text);
	assert_string_equal(tls_failure_name((enum tls_failure)failure), tls_failure_name(expected));
	assert_non_null(strstr(text, tls_failure_name(expected)));
	tls_profile_free(&profile);
}

static void connection_that_stands_is_judged_by_newer_lists(void **state)
{
	(void)state;
	bool is_allowed = true;
	struct identity *server = rig_server("P-256");
	struct rig_leaf leaf = rig_issue(&(struct rig_wish){.usage = "clientAuth"});
	struct trust *trust = rig_trust("ca", NULL), *other = rig_trust("other", NULL);
	struct meeting meeting = {.settings = {.identities = &server, .identity_count = 1, .trust = trust},
	                          .options = {.judge = judge_by_flag, .owner = &is_allowed},
	                          .ctx = rig_client(&leaf)};
	meet(&meeting);
	rig_run(&meeting.shake);
	expect_failure(&meeting, TLS_FAILURE_NONE);
	struct tls_sidecar newer = meeting.settings;
	expect_again(&meeting, newer, &meeting.options, TLS_FAILURE_NONE);
	is_allowed = false;
	expect_again(&meeting, newer, &meeting.options, TLS_FAILURE_NOT_ALLOWED);
	is_allowed = true;
	newer.trust = other;
	expect_again(&meeting, newer, &meeting.options, TLS_FAILURE_UNKNOWN_CA);
	newer.client_cert = TLS_CLIENT_CERT_NONE;
	expect_again(&meeting, newer, &meeting.options, TLS_FAILURE_NONE);
	rig_write_list("ca", rig.ca, rig.ca_key, leaf.certificate, 3600);
	struct trust *with_list = rig_trust("ca", "ca");
	newer = meeting.settings;
	newer.trust = with_list;
	expect_again(&meeting, newer, &meeting.options, TLS_FAILURE_REVOKED);
	part(&meeting);

	// One that has shown nothing.
	meeting.settings.client_cert = TLS_CLIENT_CERT_OPTIONAL;
	meeting.ctx = rig_client(NULL);
	meet(&meeting);
	rig_run(&meeting.shake);
	newer = meeting.settings;
	expect_again(&meeting, newer, &meeting.options, TLS_FAILURE_NONE);
	newer.client_cert = TLS_CLIENT_CERT_REQUIRED;
	expect_again(&meeting, newer, &meeting.options, TLS_FAILURE_NO_CERTIFICATE);
	part(&meeting);
	trust_unref(&trust);
	trust_unref(&other);
	trust_unref(&with_list);
	identity_unref(&server);
	rig_leaf_fini(&leaf);
}

static void client_outside_the_allow_list_is_refused(void **state)
{
	(void)state;
	bool is_allowed = false;
	struct identity *server = rig_server("P-256");
	struct rig_leaf leaf = rig_issue(&(struct rig_wish){.usage = "clientAuth"});
	struct trust *trust = rig_trust("ca", NULL);
	struct meeting meeting = {.settings = {.identities = &server, .identity_count = 1, .trust = trust},
	                          .options = {.judge = judge_by_flag, .owner = &is_allowed},
	                          .ctx = rig_client(&leaf)};
	meet(&meeting);
	rig_run(&meeting.shake);
	expect_failure(&meeting, TLS_FAILURE_NOT_ALLOWED);
	assert_non_null(strstr(tls_conn_problem(meeting.shake.conn), "allow-list"));
	part(&meeting);
	trust_unref(&trust);
	identity_unref(&server);
	rig_leaf_fini(&leaf);
}

// ---- strangers

// Lets the server read what was sent (and the end behind it, when told so) until it has a verdict; then what it
// answered.
static enum tls_failure say_to_server(const void *bytes, size_t length, bool answer_http, char *answer, size_t room)
{
	struct identity *server = rig_server("P-256");
	struct tls_profile *profile = rig_profile(
		&(struct tls_sidecar){.identities = &server, .identity_count = 1, .client_cert = TLS_CLIENT_CERT_NONE});
	struct tls_conn *conn;
	int pair[2], r = TLS_BLOCKED;
	uint64_t until = clock_ms() + RIG_PATIENCE_MS;
	tls_rig_pair(pair, 0);
	assert_int_equal(tls_conn_new(profile, &pair[1], &(struct tls_options){0}, &conn), 0);
	assert_int_equal(send(pair[0], bytes, length, MSG_NOSIGNAL), length);
	shutdown(pair[0], SHUT_WR);
	while (r == TLS_BLOCKED) {
		r = rig_step(conn);
		assert_true(clock_ms() < until);
	}
	assert_int_equal(r, TLS_FAILED);
	enum tls_failure failure = tls_conn_failure(conn);
	if (answer_http)
		tls_sidecar_answer_http(conn);
	ssize_t got = recv(pair[0], answer, room - 1, MSG_DONTWAIT);
	answer[got > 0 ? got : 0] = '\0';
	tls_conn_free(&conn);
	close(pair[0]);
	tls_profile_free(&profile);
	identity_unref(&server);
	return failure;
}

static void plain_http_is_told_apart_and_garbage_gets_an_alert(void **state)
{
	(void)state;
	char answer[512];
	static const char *const requests[] = {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "DELETE /x HTTP/1.1\r\n\r\n",
	                                       "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "OPTIONS * HTTP/1.1\r\n\r\n"};
	for (size_t i = 0; i < COUNT_OF(requests); i++) {
		assert_int_equal(say_to_server(requests[i], strlen(requests[i]), true, answer, sizeof answer),
		                 TLS_FAILURE_HTTP);
		assert_non_null(strstr(answer, "HTTP/1.1 400 "));
		const char *body = strstr(answer, "\r\n\r\n");
		assert_non_null(body);
		assert_int_equal(strlen(body + 4), 40);
	}
	static const char *const garbage[] = {"SSH-2.0-OpenSSH_9.2\r\n", "\x80\x80\x80\x80\x80", "EHLO example.org\r\n",
	                                      "GETTING\r\n", "\x16\x02\x00\x00\x05hello"};
	for (size_t i = 0; i < COUNT_OF(garbage); i++) {
		size_t length = i == 1 ? 5 : i == 4 ? 10 : strlen(garbage[i]);
		assert_int_equal(say_to_server(garbage[i], length, false, answer, sizeof answer), TLS_FAILURE_NOT_TLS);
		assert_int_equal((uint8_t)answer[0], 0x15);
		assert_int_equal((uint8_t)answer[1], 0x03);
	}
	assert_int_equal(say_to_server("", 0, false, answer, sizeof answer), TLS_FAILURE_CLOSED);
}

// What a client would send, taken out of the library.
static size_t hello_of(SSL_CTX *ctx, uint8_t *bytes, size_t room)
{
	SSL *ssl = SSL_new(ctx);
	BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
	SSL_set_bio(ssl, in, out);
	SSL_set_connect_state(ssl);
	assert_int_equal(SSL_do_handshake(ssl), -1);
	int length = BIO_read(out, bytes, (int)room);
	assert_true(length > 0);
	SSL_free(ssl);
	return (size_t)length;
}

static void hello_that_comes_byte_by_byte_is_understood(void **state)
{
	(void)state;
	struct identity *server = rig_server("P-256");
	struct tls_profile *profile = rig_profile(&(struct tls_sidecar){
		.identities = &server, .identity_count = 1, .client_cert = TLS_CLIENT_CERT_NONE, .pq = TLS_PQ_REQUIRE});
	SSL_CTX *ctx = rig_client(NULL);
	uint8_t hello[8192];
	size_t length = hello_of(ctx, hello, sizeof hello);
	struct tls_conn *conn;
	int pair[2];
	tls_rig_pair(pair, 0);
	assert_int_equal(tls_conn_new(profile, &pair[1], &(struct tls_options){0}, &conn), 0);
	for (size_t i = 0; i < length; i++) {
		assert_int_equal(tls_conn_put(conn), 0); // no answer before the last byte
		assert_int_equal(send(pair[0], hello + i, 1, MSG_NOSIGNAL), 1);
		struct pollfd one = {.fd = tls_conn_fd(conn), .events = POLLIN};
		assert_int_equal(poll(&one, 1, RIG_PATIENCE_MS), 1);
		assert_int_equal(rig_step(conn), TLS_BLOCKED);
	}
	assert_true(tls_conn_put(conn) > 1000); // key share and certificate
	tls_conn_free(&conn);
	close(pair[0]);
	SSL_CTX_free(ctx);
	tls_profile_free(&profile);
	identity_unref(&server);
}

// The same ClientHello in records of a few bytes each, and one of more than 16 KiB over several records.
static void hello_in_many_records_is_understood_and_an_oversized_one_refused(void **state)
{
	(void)state;
	char answer[64];
	SSL_CTX *ctx = rig_client(NULL);
	uint8_t hello[8192], cut[4 * 8192];
	size_t length = hello_of(ctx, hello, sizeof hello), at = 0;
	for (size_t i = 5; i < length;) {
		size_t n = length - i < 100 ? length - i : 100;
		memcpy(cut + at, "\x16\x03\x01\x00", 4);
		cut[at + 4] = (uint8_t)n;
		memcpy(cut + at + 5, hello + i, n);
		at += 5 + n;
		i += n;
	}
	// It is answered, and then the client is gone.
	assert_int_equal(say_to_server(cut, at, false, answer, sizeof answer), TLS_FAILURE_CLOSED);
	assert_int_equal((uint8_t)answer[0], 0x16);
	// A length of 16 MiB less one is announced: nothing of that size is waited for.
	memcpy(cut, "\x16\x03\x01\x00\x64\x01\xff\xff\xff", 9);
	assert_int_equal(say_to_server(cut, 105, false, answer, sizeof answer), TLS_FAILURE_PROTOCOL);
	assert_int_equal((uint8_t)answer[0], 0x15);
	SSL_CTX_free(ctx);
}

static void server_names_that_are_none_are_refused(void **state)
{
	(void)state;
	struct identity *server = rig_server("P-256");
	struct meeting meeting = {.settings = {.identities = &server,
	                                       .identity_count = 1,
	                                       .client_cert = TLS_CLIENT_CERT_NONE},
	                          .ctx = rig_client(NULL)};
	meet(&meeting);
	SSL_set_tlsext_host_name(meeting.shake.peer, "a\x1b[31m.example");
	rig_run(&meeting.shake);
	expect_failure(&meeting, TLS_FAILURE_PROTOCOL);
	assert_string_equal(tls_sidecar_sni(meeting.shake.conn), "");
	part(&meeting);
	identity_unref(&server);
}

// ---- settings

static void expect_refused(struct tls_sidecar settings, const char *why)
{
	char problem[TLS_SIDECAR_PROBLEM_BYTES] = "";
	struct tls_profile *profile = NULL;
	assert_int_equal(tls_sidecar_profile(&settings, &profile, problem), TLS_SIDECAR_REFUSED);
	assert_null(profile);
	if (!strstr(problem, why))
		fail_msg("%s", problem);
}

static void settings_that_cannot_be_meant_are_refused_with_a_reason(void **state)
{
	(void)state;
	static const char *const empty[] = {""};
	struct identity *server = rig_server("P-256");
	struct tls_sidecar good = {.identities = &server, .identity_count = 1, .client_cert = TLS_CLIENT_CERT_NONE};
	struct tls_sidecar settings = good;
	settings.identity_count = 0;
	expect_refused(settings, "needs a certificate");
	settings = good;
	settings.client_cert = TLS_CLIENT_CERT_OPTIONAL;
	expect_refused(settings, "no CA certificates or pins");
	settings = good;
	settings.allow_tls12 = true;
	expect_refused(settings, "no post-quantum key agreement");
	settings.pq = TLS_PQ_PREFER;
	settings.signatures = TLS_SIGNATURES_REQUIRE_PQ;
	expect_refused(settings, "no post-quantum signatures");
	settings = good;
	settings.alpn = empty;
	settings.alpn_count = 1;
	expect_refused(settings, "ALPN protocol 1");
	settings = good;
	settings.alpn_is_strict = true;
	expect_refused(settings, "strict ALPN");
	expect_refused((struct tls_sidecar){.is_client = true}, "to know its server by");
	identity_unref(&server);
}

static void sidecars_of_both_kinds_understand_each_other(void **state)
{
	(void)state;
	struct identity *server = rig_server("ML-DSA-65");
	struct identity *client = rig_identity(&(struct rig_wish){.usage = "clientAuth"}, IDENTITY_CLIENT, 0);
	struct trust *trust = rig_trust("ca", NULL);
	struct tls_profile *profiles[] = {
		rig_profile(&(struct tls_sidecar){.identities = &server, .identity_count = 1, .trust = trust}),
		rig_profile(
			&(struct tls_sidecar){.is_client = true, .identities = &client, .identity_count = 1, .trust = trust})};
	struct tls_conn *conns[2];
	uint8_t text[8];
	size_t got = 0;
	int pair[2], results[2] = {TLS_BLOCKED, TLS_BLOCKED};
	uint64_t until = clock_ms() + RIG_PATIENCE_MS;
	tls_rig_pair(pair, 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(tls_conn_new(profiles[i], &pair[i],
		                              &(struct tls_options){.peer_name = i ? "dest.example" : NULL}, &conns[i]),
		                 0);
	while (results[0] == TLS_BLOCKED || results[1] == TLS_BLOCKED) {
		for (int i = 0; i < 2; i++)
			if (results[i] == TLS_BLOCKED)
				results[i] = rig_step(conns[i]);
		assert_true(clock_ms() < until);
	}
	assert_int_equal(results[0], 0);
	assert_int_equal(results[1], 0);
	assert_string_equal(tls_sidecar_sni(conns[0]), "dest.example");
	// Each direction ends for itself.
	assert_int_equal(tls_conn_send(conns[1], (const uint8_t *)"bye", 3), 0);
	assert_int_equal(tls_conn_finish(conns[1]), 0);
	int r;
	for (r = TLS_BLOCKED; r == TLS_BLOCKED; r = tls_conn_recv(conns[0], text, sizeof text, &got)) {
		tls_conn_readable(conns[0]);
		assert_true(clock_ms() < until);
	}
	assert_int_equal(got, 3);
	for (r = TLS_BLOCKED; r == TLS_BLOCKED; r = tls_conn_recv(conns[0], text, sizeof text, &got)) {
		tls_conn_readable(conns[0]);
		assert_true(clock_ms() < until);
	}
	assert_int_equal(r, TLS_END);
	assert_int_equal(tls_conn_send(conns[0], (const uint8_t *)"still", 5), 0);
	for (r = TLS_BLOCKED; r == TLS_BLOCKED; r = tls_conn_recv(conns[1], text, sizeof text, &got)) {
		tls_conn_readable(conns[1]);
		assert_true(clock_ms() < until);
	}
	assert_int_equal(r, 0);
	assert_int_equal(got, 5);
	for (int i = 0; i < 2; i++) {
		tls_conn_free(&conns[i]);
		tls_profile_free(&profiles[i]);
	}
	trust_unref(&trust);
	identity_unref(&server);
	identity_unref(&client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_client_certificate_mode_judges_every_kind_of_certificate),
		cmocka_unit_test(group_policy_is_kept_and_reported_by_what_was_negotiated),
		cmocka_unit_test(each_client_gets_the_first_certificate_that_it_can_verify),
		cmocka_unit_test(client_that_knows_only_rsa_suites_of_tls12_gets_the_rsa_certificate),
		cmocka_unit_test(client_that_asks_for_a_name_gets_the_certificate_of_that_name),
		cmocka_unit_test(post_quantum_signatures_can_be_required_of_both_sides),
		cmocka_unit_test(protocols_are_chosen_in_our_order_and_a_strict_list_ends_the_handshake),
		cmocka_unit_test(servers_are_judged_by_authority_name_times_and_usage),
		cmocka_unit_test(pinned_keys_are_asked_beside_an_authority_or_in_its_place),
		cmocka_unit_test(our_client_shows_the_first_certificate_that_the_server_can_verify),
		cmocka_unit_test(each_certificate_has_its_own_response_for_who_asks),
		cmocka_unit_test(response_that_is_over_is_served_no_longer),
		cmocka_unit_test(tls12_is_taken_when_allowed_with_modern_suites_only),
		cmocka_unit_test(nothing_is_resumed),
		cmocka_unit_test(connection_that_stands_is_judged_by_newer_lists),
		cmocka_unit_test(client_outside_the_allow_list_is_refused),
		cmocka_unit_test(plain_http_is_told_apart_and_garbage_gets_an_alert),
		cmocka_unit_test(hello_that_comes_byte_by_byte_is_understood),
		cmocka_unit_test(hello_in_many_records_is_understood_and_an_oversized_one_refused),
		cmocka_unit_test(server_names_that_are_none_are_refused),
		cmocka_unit_test(settings_that_cannot_be_meant_are_refused_with_a_reason),
		cmocka_unit_test(sidecars_of_both_kinds_understand_each_other),
	};
	return cmocka_run_group_tests(tests, rig_start, rig_stop);
}
