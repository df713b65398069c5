// Who is on the other side of a sidecar's connection, and whether that one is let in.

#include "crypto/pin.h"
#include "wire/tls_sidecar_internal.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

// A failure, and the library's number for it that chooses the alert.
struct verdict {
	enum tls_failure failure;
	int error;
};

static struct verdict verdict_of(int error)
{
	return (struct verdict){error == X509_V_OK ? TLS_FAILURE_NONE : tls_failure_of_verification(error), error};
}

static bool is_pinned(const struct tls_sidecar_copy *sidecar, X509 *leaf)
{
	uint8_t pin[TLS_PIN_BYTES];
	if (pin_of(leaf, pin) != 0)
		return false;
	for (size_t i = 0; i < sidecar->settings.pin_count; i++)
		if (memcmp(pin, sidecar->pins[i], TLS_PIN_BYTES) == 0)
			return true;
	return false;
}

static int judge_times(const X509 *leaf)
{
	if (X509_cmp_current_time(X509_get0_notAfter(leaf)) < 0)
		return X509_V_ERR_CERT_HAS_EXPIRED;
	return X509_cmp_current_time(X509_get0_notBefore(leaf)) > 0 ? X509_V_ERR_CERT_NOT_YET_VALID : X509_V_OK;
}

// The chain, or without trust what the pins alone do not say.
static struct verdict judge_origin(const struct tls_sidecar_copy *sidecar, X509_STORE_CTX *store, X509 *leaf)
{
	if (sidecar->settings.trust && X509_verify_cert(store) != 1)
		return verdict_of(X509_STORE_CTX_get_error(store));
	int listed = sidecar->settings.trust ? trust_check_lists(sidecar->settings.trust, X509_STORE_CTX_get0_chain(store))
	                                     : X509_V_OK;
	if (listed != X509_V_OK)
		return verdict_of(listed);
	if (sidecar->settings.pin_count > 0 && !is_pinned(sidecar, leaf))
		return (struct verdict){TLS_FAILURE_WRONG_PIN, X509_V_ERR_APPLICATION_VERIFICATION};
	return verdict_of(sidecar->settings.trust ? X509_V_OK : judge_times(leaf));
}

// Hostile: the library takes a certificate without any usage for one of every usage. Here that is a decision.
static bool has_usage(const struct tls_sidecar_copy *sidecar, X509 *leaf)
{
	if (identity_has_usage(leaf, sidecar->settings.is_client ? IDENTITY_SERVER : IDENTITY_CLIENT))
		return true;
	return sidecar->settings.usage_may_be_absent && !(X509_get_extension_flags(leaf) & EXFLAG_XKUSAGE);
}

static bool key_is_pq(X509 *certificate)
{
	const EVP_PKEY *key = X509_get0_pubkey(certificate);
	const char *name = key ? EVP_PKEY_get0_type_name(key) : NULL;
	return name && (strncmp(name, "ML-DSA-", 7) == 0 || strncmp(name, "SLH-DSA-", 8) == 0);
}

// With every key of a chain a post-quantum one, every signature in it is.
static bool chain_is_pq(const struct tls_sidecar_copy *sidecar, X509_STORE_CTX *store, X509 *leaf)
{
	STACK_OF(X509) *chain = sidecar->settings.trust ? X509_STORE_CTX_get0_chain(store) : NULL;
	for (int i = 0; i < sk_X509_num(chain); i++)
		if (!key_is_pq(sk_X509_value(chain, i)))
			return false;
	return key_is_pq(leaf);
}

static struct verdict judge_peer(const struct tls_sidecar_copy *sidecar, X509_STORE_CTX *store,
                                 const struct tls_options *wanted)
{
	X509 *leaf = X509_STORE_CTX_get0_cert(store);
	struct verdict verdict = judge_origin(sidecar, store, leaf);
	if (verdict.failure != TLS_FAILURE_NONE)
		return verdict;
	if (!has_usage(sidecar, leaf))
		return verdict_of(X509_V_ERR_INVALID_PURPOSE);
	if (wanted->peer_name && !identity_has_name(leaf, wanted->peer_name))
		return verdict_of(X509_V_ERR_HOSTNAME_MISMATCH);
	if (sidecar->settings.signatures == TLS_SIGNATURES_REQUIRE_PQ && !chain_is_pq(sidecar, store, leaf))
		return (struct verdict){TLS_FAILURE_CLASSICAL, X509_V_ERR_APPLICATION_VERIFICATION};
	if (wanted->judge && wanted->judge(wanted->owner, leaf) != TLS_FAILURE_NONE)
		return (struct verdict){TLS_FAILURE_NOT_ALLOWED, X509_V_ERR_APPLICATION_VERIFICATION};
	return verdict_of(X509_V_OK);
}

// What the name of the failure does not say already.
static void explain(X509 *leaf, struct verdict verdict, const char *peer_name, char *text, size_t room)
{
	struct identity_text about = {0};
	if (leaf)
		identity_describe(leaf, &about);
	if (verdict.failure == TLS_FAILURE_WRONG_NAME)
		snprintf(text, room, "wanted %.64s, it names %.96s", peer_name ? peer_name : "", about.names);
	else if (verdict.failure == TLS_FAILURE_NOT_ALLOWED)
		snprintf(text, room, "%.128s: the allow-list does not name it", about.subject);
	else if (verdict.error == X509_V_ERR_APPLICATION_VERIFICATION)
		snprintf(text, room, "%.160s", about.subject);
	else
		snprintf(text, room, "%.96s: %.80s", about.subject, X509_verify_cert_error_string(verdict.error));
}

int tls_sidecar_verify(X509_STORE_CTX *store, void *unused)
{
	(void)unused;
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct tls_conn *conn = SSL_get_app_data(ssl);
	struct tls_options wanted = {.peer_name = conn->peer_name, .judge = conn->judge, .owner = conn->owner};
	struct verdict verdict = judge_peer(conn->profile->sidecar, store, &wanted);
	X509_STORE_CTX_set_error(store, verdict.error);
	if (verdict.failure == TLS_FAILURE_NONE)
		return 1;
	if (conn->failure == TLS_FAILURE_NONE)
		conn->failure = verdict.failure;
	explain(X509_STORE_CTX_get0_cert(store), verdict, conn->peer_name, conn->problem, sizeof conn->problem);
	return 0;
}

static struct verdict judge_again(const struct tls_sidecar_copy *sidecar, const struct tls_conn *conn,
                                  const struct tls_options *options)
{
	int purpose = sidecar->settings.is_client ? X509_PURPOSE_SSL_SERVER : X509_PURPOSE_SSL_CLIENT;
	X509_STORE *trusted = sidecar->settings.trust ? trust_store(sidecar->settings.trust) : NULL;
	X509_STORE_CTX *store = X509_STORE_CTX_new();
	struct verdict verdict = {TLS_FAILURE_INTERNAL, X509_V_ERR_OUT_OF_MEM};
	if (store &&
	    X509_STORE_CTX_init(store, trusted, SSL_get0_peer_certificate(conn->ssl), SSL_get_peer_cert_chain(conn->ssl)) ==
	        1 &&
	    X509_STORE_CTX_set_purpose(store, purpose) == 1) {
		X509_VERIFY_PARAM_set_depth(X509_STORE_CTX_get0_param(store), SSL_CTX_get_verify_depth(conn->profile->ssl_ctx));
		verdict = judge_peer(sidecar, store, options);
	}
	X509_STORE_CTX_free(store);
	return verdict;
}

int tls_sidecar_judge_again(const struct tls_conn *conn, const struct tls_profile *profile,
                            const struct tls_options *options, char text[TLS_EXPLANATION_BYTES])
{
	const struct tls_sidecar_copy *sidecar = profile->sidecar;
	X509 *leaf = SSL_get0_peer_certificate(conn->ssl);
	struct verdict verdict = {TLS_FAILURE_NONE, X509_V_OK};
	char detail[192] = "";
	if (leaf) {
		// Not asked for any longer: nobody judges it in a handshake of now either.
		if (sidecar->settings.is_client || sidecar->settings.client_cert != TLS_CLIENT_CERT_NONE)
			verdict = judge_again(sidecar, conn, options);
	} else if (!sidecar->settings.is_client && sidecar->settings.client_cert == TLS_CLIENT_CERT_REQUIRED) {
		verdict.failure = TLS_FAILURE_NO_CERTIFICATE;
	}
	if (verdict.failure != TLS_FAILURE_NONE && leaf)
		explain(leaf, verdict, options->peer_name, detail, sizeof detail);
	snprintf(text, TLS_EXPLANATION_BYTES, "%s%s%s", tls_failure_name(verdict.failure), detail[0] ? ": " : "", detail);
	ERR_clear_error();
	return (int)verdict.failure;
}
