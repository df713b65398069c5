// For tests of sidecars: a CA and its certificates, good and bad, in a temporary folder, and a peer that is the TLS
// library itself, as other software uses it.

#pragma once

#include "crypto/forge.h"
#include "wire/tls_rig.h"
#include "wire/tls_sidecar.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/ssl.h>

struct sidecar_rig {
	char folder[64];
	EVP_PKEY *ca_key, *other_key;
	X509 *ca, *other;
	unsigned made;
};

static struct sidecar_rig rig;

static inline void rig_path(char path[128], const char *name, const char *ending)
{
	snprintf(path, 128, "%s/%s.%s", rig.folder, name, ending);
}

static inline EVP_PKEY *rig_key(const char *kind)
{
	EVP_PKEY *key = strncmp(kind, "P-", 2) == 0 ? EVP_PKEY_Q_keygen(NULL, NULL, "EC", kind)
	                : strcmp(kind, "RSA") == 0  ? EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048)
	                                            : EVP_PKEY_Q_keygen(NULL, NULL, kind);
	assert_non_null(key);
	return key;
}

static inline void rig_write_certificates(const char *name, X509 *first, X509 *second)
{
	char path[128];
	rig_path(path, name, "crt");
	BIO *out = BIO_new_file(path, "wb");
	assert_non_null(out);
	assert_int_equal(PEM_write_bio_X509(out, first), 1);
	if (second)
		assert_int_equal(PEM_write_bio_X509(out, second), 1);
	BIO_free(out);
}

static inline void rig_write_key(const char *name, EVP_PKEY *key)
{
	char path[128];
	rig_path(path, name, "key");
	BIO *out = BIO_new_fd(open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), BIO_CLOSE);
	assert_int_equal(PEM_write_bio_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL), 1);
	BIO_free(out);
}

// A certificate and its key, of whatever quality.
struct rig_leaf {
	X509 *certificate;
	EVP_PKEY *key;
};

struct rig_wish {
	const char *kind;  // of the key, NULL: P-256
	const char *names; // NULL: DNS:dest.example,IP:127.0.0.1
	const char *usage; // "serverAuth"; NULL: none
	long from_s, to_s;
	X509 *issuer; // NULL: the CA; by_itself: none
	EVP_PKEY *issuer_key;
	bool by_itself;
};

static inline struct rig_leaf rig_issue(const struct rig_wish *wish)
{
	char name[32];
	struct rig_leaf leaf = {.key = rig_key(wish->kind ? wish->kind : "P-256")};
	snprintf(name, sizeof name, "number %u", ++rig.made);
	leaf.certificate = forge(&(struct forgery){
		.common_name = name,
		.names = wish->names ? wish->names : "DNS:dest.example,IP:127.0.0.1",
		.usage = wish->usage,
		.from_s = wish->from_s,
		.to_s = wish->to_s,
		.key = leaf.key,
		.issuer = wish->by_itself ? NULL
	              : wish->issuer  ? wish->issuer
	                              : rig.ca,
		.issuer_key = wish->by_itself    ? leaf.key
	                  : wish->issuer_key ? wish->issuer_key
	                                     : rig.ca_key,
	});
	return leaf;
}

static inline void rig_leaf_fini(struct rig_leaf *leaf)
{
	X509_free(leaf->certificate);
	EVP_PKEY_free(leaf->key);
}

// The CA says of a leaf that it is good, for so long.
static inline void rig_write_staple(const char *name, X509 *leaf, long until_s)
{
	char path[128];
	OCSP_BASICRESP *basic = OCSP_BASICRESP_new();
	OCSP_CERTID *id = OCSP_cert_to_id(NULL, leaf, rig.ca);
	ASN1_TIME *from = X509_gmtime_adj(NULL, -60), *to = X509_gmtime_adj(NULL, until_s);
	assert_non_null(OCSP_basic_add1_status(basic, id, V_OCSP_CERTSTATUS_GOOD, 0, NULL, from, to));
	assert_int_equal(OCSP_basic_sign(basic, rig.ca, rig.ca_key, EVP_sha256(), NULL, 0), 1);
	OCSP_RESPONSE *response = OCSP_response_create(OCSP_RESPONSE_STATUS_SUCCESSFUL, basic);
	rig_path(path, name, "ocsp");
	BIO *out = BIO_new_file(path, "wb");
	assert_int_equal(i2d_OCSP_RESPONSE_bio(out, response), 1);
	BIO_free(out);
	OCSP_RESPONSE_free(response);
	OCSP_BASICRESP_free(basic);
	OCSP_CERTID_free(id);
	ASN1_TIME_free(from);
	ASN1_TIME_free(to);
}

// The way through files, as for the proxy's own certificates.
// staple_s: how long its OCSP response is good for; 0: it has none.
static inline struct identity *rig_identity(const struct rig_wish *wish, enum identity_usage usage, long staple_s)
{
	char name[32], cert[128], key[128], staple[128], problem[IDENTITY_PROBLEM_BYTES] = "";
	struct identity *identity = NULL;
	struct rig_leaf leaf = rig_issue(wish);
	snprintf(name, sizeof name, "leaf-%u", rig.made);
	rig_write_certificates(name, leaf.certificate, NULL);
	rig_write_key(name, leaf.key);
	rig_path(cert, name, "crt");
	rig_path(key, name, "key");
	rig_path(staple, name, "ocsp");
	if (staple_s != 0)
		rig_write_staple(name, leaf.certificate, staple_s);
	struct identity_files files = {
		.cert_path = cert, .key_path = key, .usage = usage, .any_issuer = true, .ocsp_path = staple_s ? staple : NULL};
	if (identity_load(&files, &identity, problem) != 0)
		fail_msg("%s", problem);
	rig_leaf_fini(&leaf);
	return identity;
}

static inline struct identity *rig_server(const char *kind)
{
	return rig_identity(&(struct rig_wish){.kind = kind, .usage = "serverAuth"}, IDENTITY_SERVER, 0);
}

static inline void rig_write_list(const char *name, X509 *issuer, EVP_PKEY *key, X509 *revoked, long until_s)
{
	char path[128];
	X509_CRL *list = X509_CRL_new();
	ASN1_TIME *time = ASN1_TIME_new();
	X509_gmtime_adj(time, -7200);
	assert_int_equal(X509_CRL_set_version(list, X509_CRL_VERSION_2), 1);
	assert_int_equal(X509_CRL_set_issuer_name(list, X509_get_subject_name(issuer)), 1);
	assert_int_equal(X509_CRL_set1_lastUpdate(list, time), 1);
	if (revoked) {
		X509_REVOKED *entry = X509_REVOKED_new();
		assert_int_equal(X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(revoked)), 1);
		assert_int_equal(X509_REVOKED_set_revocationDate(entry, time), 1);
		assert_int_equal(X509_CRL_add0_revoked(list, entry), 1);
	}
	X509_gmtime_adj(time, until_s);
	assert_int_equal(X509_CRL_set1_nextUpdate(list, time), 1);
	assert_true(X509_CRL_sign(list, key, EVP_sha256()) > 0);
	rig_path(path, name, "crl");
	BIO *out = BIO_new_file(path, "wb");
	assert_int_equal(PEM_write_bio_X509_CRL(out, list), 1);
	BIO_free(out);
	ASN1_TIME_free(time);
	X509_CRL_free(list);
}

// The CA alone (list NULL), or with its list of that name.
static inline struct trust *rig_trust(const char *ca, const char *list)
{
	char ca_path[128], list_path[128] = "", problem[IDENTITY_PROBLEM_BYTES];
	struct trust *trust = NULL;
	const char *lists[] = {list_path};
	rig_path(ca_path, ca, "crt");
	if (list)
		rig_path(list_path, list, "crl");
	struct trust_files files = {.ca_path = ca_path, .crl_paths = lists, .crl_count = list ? 1 : 0};
	if (trust_load(&files, &trust, problem) != 0)
		fail_msg("%s", problem);
	return trust;
}

static inline X509 *rig_authority(const char *name, EVP_PKEY *key)
{
	X509 *ca = forge(
		&(struct forgery){.common_name = name, .constraints = "critical,CA:TRUE", .key = key, .issuer_key = key});
	rig_write_certificates(name, ca, NULL);
	return ca;
}

static inline int rig_start(void **state)
{
	(void)state;
	assert_int_equal(secret_start(), 0);
	strcpy(rig.folder, "/tmp/qanat-sidecar-XXXXXX");
	assert_non_null(mkdtemp(rig.folder));
	forge_start();
	rig.ca_key = rig_key("P-256");
	rig.other_key = rig_key("P-256");
	rig.ca = rig_authority("ca", rig.ca_key);
	rig.other = rig_authority("other", rig.other_key);
	return 0;
}

static inline int rig_stop(void **state)
{
	(void)state;
	char command[96];
	X509_free(rig.ca);
	X509_free(rig.other);
	EVP_PKEY_free(rig.ca_key);
	EVP_PKEY_free(rig.other_key);
	forge_stop();
	snprintf(command, sizeof command, "rm -rf '%s'", rig.folder);
	assert_int_equal(system(command), 0);
	return 0;
}

// ---- the other side

// A handshake of a connection of ours with the library. What each came to: 0, TLS_FAILED or the reason of an error.
struct rig_shake {
	struct tls_conn *conn;
	SSL *peer;
	int ours, theirs;
};

static inline int rig_step(struct tls_conn *conn)
{
	struct pollfd one = {.fd = tls_conn_fd(conn), .events = POLLIN};
	if (poll(&one, 1, 0) == 1)
		tls_conn_readable(conn);
	int r = tls_conn_flush(conn);
	return r == 0 || r == TLS_BLOCKED ? tls_conn_handshake(conn) : r;
}

static inline int rig_peer_step(SSL *peer)
{
	ERR_clear_error();
	int done = SSL_do_handshake(peer);
	if (done == 1)
		return 0;
	int error = SSL_get_error(peer, done);
	if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
		return TLS_BLOCKED;
	int reason = ERR_GET_REASON(ERR_peek_last_error());
	return reason ? reason : TLS_FAILED;
}

// A peer of TLS 1.3 is content before it is judged: it hears of the verdict when it reads.
static inline int rig_peer_hears(SSL *peer)
{
	uint8_t byte;
	uint64_t until = clock_ms() + RIG_PATIENCE_MS;
	for (;;) {
		ERR_clear_error();
		int got = SSL_read(peer, &byte, 1);
		int error = SSL_get_error(peer, got);
		if (error != SSL_ERROR_WANT_READ)
			return error == SSL_ERROR_SSL ? ERR_GET_REASON(ERR_peek_last_error()) : 0;
		struct pollfd one = {.fd = SSL_get_fd(peer), .events = POLLIN};
		(void)poll(&one, 1, 100);
		assert_true(clock_ms() < until);
	}
}

static inline void rig_run(struct rig_shake *shake)
{
	uint64_t until = clock_ms() + RIG_PATIENCE_MS;
	shake->ours = shake->theirs = TLS_BLOCKED;
	while (shake->ours == TLS_BLOCKED || shake->theirs == TLS_BLOCKED) {
		if (shake->theirs == TLS_BLOCKED)
			shake->theirs = rig_peer_step(shake->peer);
		if (shake->ours == TLS_BLOCKED)
			shake->ours = rig_step(shake->conn);
		if (shake->ours == TLS_FAILED && shake->theirs == TLS_BLOCKED)
			shutdown(tls_conn_fd(shake->conn), SHUT_WR);
		if (shake->theirs != TLS_BLOCKED && shake->theirs != 0 && shake->ours == TLS_BLOCKED)
			shutdown(SSL_get_fd(shake->peer), SHUT_WR);
		assert_true(clock_ms() < until);
	}
}

static inline void rig_shake_fini(struct rig_shake *shake)
{
	int peer_fd = SSL_get_fd(shake->peer);
	tls_conn_free(&shake->conn);
	SSL_free(shake->peer);
	close(peer_fd);
	shake->peer = NULL;
}

static inline struct tls_profile *rig_profile(const struct tls_sidecar *settings)
{
	char problem[TLS_SIDECAR_PROBLEM_BYTES] = "";
	struct tls_profile *profile = NULL;
	if (tls_sidecar_profile(settings, &profile, problem) != 0)
		fail_msg("%s", problem);
	return profile;
}

// A library client that believes anybody, shows the leaf when there is one, and is changed further by the caller.
static inline SSL_CTX *rig_client(const struct rig_leaf *leaf)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	assert_int_equal(SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION), 1);
	if (leaf) {
		assert_int_equal(SSL_CTX_use_certificate(ctx, leaf->certificate), 1);
		assert_int_equal(SSL_CTX_use_PrivateKey(ctx, leaf->key), 1);
	}
	return ctx;
}

static inline SSL_CTX *rig_listener(const struct rig_leaf *leaf)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	assert_int_equal(SSL_CTX_use_certificate(ctx, leaf->certificate), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(ctx, leaf->key), 1);
	return ctx;
}

// Sets up, does not shake: for what is to be changed on either.
static inline void rig_meet(struct rig_shake *shake, struct tls_profile *profile, const struct tls_options *options,
                            SSL_CTX *ctx, bool peer_is_client)
{
	int pair[2];
	tls_rig_pair(pair, 0);
	shake->peer = SSL_new(ctx);
	SSL_set_fd(shake->peer, pair[0]);
	if (peer_is_client)
		SSL_set_connect_state(shake->peer);
	else
		SSL_set_accept_state(shake->peer);
	assert_int_equal(tls_conn_new(profile, &pair[1], options, &shake->conn), 0);
}
