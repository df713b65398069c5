#include "wire/tls_probe.h"

#include "crypto/build.h"
#include "crypto/issue.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>

// More than a handshake with the largest certificate needs, in either direction.
enum { PROBE_PIPE_BYTES = 65536, PROBE_TURNS = 16 };

static const struct {
	const char *name;
	bool is_hybrid;
	enum finding_severity when_missing;
} groups[] = {
	{"X25519MLKEM768", true, FINDING_ERROR},
	{"SecP256r1MLKEM768", true, FINDING_WARNING},
	{"SecP384r1MLKEM1024", true, FINDING_WARNING},
	{"X25519", false, FINDING_WARNING},
	{"P-256", false, FINDING_WARNING},
};

static const struct {
	enum issue_key key;
	const char *name; // as TLS calls it
} signatures[] = {
	{ISSUE_KEY_P256, "ecdsa_secp256r1_sha256"},
	{ISSUE_KEY_ED25519, "ed25519"},
	{ISSUE_KEY_ML_DSA_65, "mldsa65"},
	{ISSUE_KEY_ML_DSA_87, "mldsa87"},
};

static bool set_up(SSL_CTX *ctx, const char *group, const char *signature)
{
	return SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) == 1 && SSL_CTX_set1_groups_list(ctx, group) == 1 &&
	       SSL_CTX_set1_sigalgs_list(ctx, signature) == 1;
}

static bool shake(SSL *client, SSL *server)
{
	BIO *near_end = NULL, *far_end = NULL;

	if (BIO_new_bio_pair(&near_end, PROBE_PIPE_BYTES, &far_end, PROBE_PIPE_BYTES) != 1)
		return false;
	SSL_set_bio(client, near_end, near_end);
	SSL_set_bio(server, far_end, far_end);
	SSL_set_connect_state(client);
	SSL_set_accept_state(server);
	for (int turn = 0; turn < PROBE_TURNS; turn++) {
		int a = SSL_do_handshake(client), b = SSL_do_handshake(server);
		if (a == 1 && b == 1)
			return true;
		if ((a != 1 && SSL_get_error(client, a) != SSL_ERROR_WANT_READ) ||
		    (b != 1 && SSL_get_error(server, b) != SSL_ERROR_WANT_READ))
			return false;
	}
	return false;
}

// A handshake with just this group and this kind of certificate.
static bool try(const char *group, const char *signature, enum issue_key kind)
{
	char problem[BUILD_PROBLEM_BYTES];
	EVP_PKEY *key = issue_make_key(kind);
	struct build_plan plan = {.is_ca = true, .common_name = "probe", .validity_days = 1, .key = key};
	X509 *certificate = NULL;
	SSL_CTX *near_ctx = SSL_CTX_new(TLS_client_method()), *far_ctx = SSL_CTX_new(TLS_server_method());
	SSL *client = NULL, *server = NULL;
	bool done = key && near_ctx && far_ctx && build_certificate(&plan, &certificate, problem) == 0 &&
	            set_up(near_ctx, group, signature) && set_up(far_ctx, group, signature) &&
	            SSL_CTX_use_certificate(far_ctx, certificate) == 1 && SSL_CTX_use_PrivateKey(far_ctx, key) == 1;

	if (done) {
		client = SSL_new(near_ctx);
		server = SSL_new(far_ctx);
		done = client && server && shake(client, server);
	}
	SSL_free(client);
	SSL_free(server);
	SSL_CTX_free(near_ctx);
	SSL_CTX_free(far_ctx);
	X509_free(certificate);
	EVP_PKEY_free(key);
	ERR_clear_error();
	return done;
}

void tls_probe(struct findings *findings)
{
	for (size_t i = 0; i < COUNT_OF(groups); i++) {
		const char *name = groups[i].name;
		if (try(name, signatures[0].name, signatures[0].key))
			finding_add(findings, FINDING_OK, "TLS group", NULL, "%s: a handshake with it succeeds%s", name,
			            groups[i].is_hybrid ? " (hybrid, quantum-safe)" : "");
		else
			finding_add(findings, groups[i].when_missing, "TLS group",
			            groups[i].is_hybrid
			                ? "install OpenSSL 3.5 or newer, and look for MinProtocol, Groups and providers in "
			                  "openssl.cnf"
			                : "only crypto.pq = \"prefer\" and \"off\" use it",
			            "%s: a handshake with it fails", name);
	}
	for (size_t i = 0; i < COUNT_OF(signatures); i++) {
		const char *name = signatures[i].name;
		if (try(groups[0].name, name, signatures[i].key))
			finding_add(findings, FINDING_OK, "TLS signature", NULL, "%s: a handshake with such a certificate succeeds",
			            name);
		else
			finding_add(findings, FINDING_WARNING, "TLS signature",
			            "peers with such certificates cannot be talked to: install OpenSSL 3.5 or newer",
			            "%s: a handshake with such a certificate fails", name);
	}
}
