// What the library asks during a handshake, and the names of what can go wrong in one.

#include "core/outcome.h"
#include "limits.h"
#include "wire/tls_internal.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

// For the log: whose certificate was refused, and why.
static int refuse_certificate(struct tls_conn *conn, X509_STORE_CTX *store, int error)
{
	X509 *certificate = X509_STORE_CTX_get0_cert(store);
	struct identity_text text = {0};
	if (certificate)
		identity_describe(certificate, &text);
	X509_STORE_CTX_set_error(store, error);
	if (error == X509_V_ERR_HOSTNAME_MISMATCH)
		snprintf(conn->problem, sizeof conn->problem, "wanted %.64s, it names %.96s", conn->peer_name, text.names);
	else
		snprintf(conn->problem, sizeof conn->problem, "%.96s: %.80s", text.subject,
		         error == X509_V_ERR_APPLICATION_VERIFICATION ? "auth.allowed_peers does not name it"
		                                                      : X509_verify_cert_error_string(error));
	return 0;
}

// X509_V_OK, or the error that says what is wrong with the peer's chain or its leaf.
static int judge_peer(X509_STORE_CTX *store, enum identity_usage usage, const struct tls_options *wanted)
{
	if (X509_verify_cert(store) != 1)
		return X509_STORE_CTX_get_error(store);
	X509 *leaf = X509_STORE_CTX_get0_cert(store);
	// Hostile: OpenSSL accepts a certificate without any EKU; here the right one must be there.
	if (!identity_has_usage(leaf, usage))
		return X509_V_ERR_INVALID_PURPOSE;
	if (wanted->peer_name && !identity_has_name(leaf, wanted->peer_name))
		return X509_V_ERR_HOSTNAME_MISMATCH;
	if (wanted->judge && wanted->judge(wanted->owner, leaf) != TLS_FAILURE_NONE)
		return X509_V_ERR_APPLICATION_VERIFICATION;
	return X509_V_OK;
}

static enum identity_usage usage_of_peer(const struct tls_conn *conn)
{
	return conn->profile->role == PROFILE_LISTENER ? IDENTITY_CLIENT : IDENTITY_SERVER;
}

int tls_conn_verify(X509_STORE_CTX *store, void *unused)
{
	(void)unused;
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct tls_conn *conn = SSL_get_app_data(ssl);
	struct tls_options wanted = {.peer_name = conn->peer_name, .judge = conn->judge, .owner = conn->owner};
	int error = judge_peer(store, usage_of_peer(conn), &wanted);
	return error == X509_V_OK ? 1 : refuse_certificate(conn, store, error);
}

int tls_judge_certificate(X509 *certificate, STACK_OF(X509) * chain, enum identity_usage usage,
                          struct identity *identity, const struct tls_options *options,
                          char text[TLS_EXPLANATION_BYTES])
{
	X509_STORE_CTX *store = X509_STORE_CTX_new();
	int error = X509_V_ERR_OUT_OF_MEM;
	if (store && X509_STORE_CTX_init(store, identity_store(identity), certificate, chain) == 1 &&
	    X509_STORE_CTX_set_purpose(store,
	                               usage == IDENTITY_CLIENT ? X509_PURPOSE_SSL_CLIENT : X509_PURPOSE_SSL_SERVER) == 1)
		error = judge_peer(store, usage, options);
	X509_STORE_CTX_free(store);
	ERR_clear_error();
	enum tls_failure failure = error == X509_V_OK               ? TLS_FAILURE_NONE
	                           : error == X509_V_ERR_OUT_OF_MEM ? TLS_FAILURE_INTERNAL
	                                                            : tls_failure_of_verification(error);
	snprintf(text, TLS_EXPLANATION_BYTES, "%s%s%s", tls_failure_name(failure), failure == TLS_FAILURE_NONE ? "" : ": ",
	         error == X509_V_OK                             ? ""
	         : error == X509_V_ERR_APPLICATION_VERIFICATION ? "auth.allowed_peers does not name it"
	                                                        : X509_verify_cert_error_string(error));
	return (int)failure;
}

int tls_conn_judge_again(struct tls_conn *conn, struct identity *identity, const struct tls_options *options,
                         char text[TLS_EXPLANATION_BYTES])
{
	return tls_judge_certificate(SSL_get0_peer_certificate(conn->ssl), SSL_get_peer_cert_chain(conn->ssl),
	                             usage_of_peer(conn), identity, options, text);
}

static SSL_SESSION *psk_session(SSL *ssl, const struct secret *psk)
{
	static const uint8_t suite[] = {0x13, 0x02}; // TLS_AES_256_GCM_SHA384
	SSL_SESSION *session = SSL_SESSION_new();
	const SSL_CIPHER *cipher = SSL_CIPHER_find(ssl, suite);
	if (session && cipher && SSL_SESSION_set1_master_key(session, psk->bytes, psk->length) == 1 &&
	    SSL_SESSION_set_cipher(session, cipher) == 1 &&
	    SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) == 1 &&
	    SSL_SESSION_set_max_early_data(session, SSL3_RT_MAX_PLAIN_LENGTH) == 1 &&
	    SSL_SESSION_set1_alpn_selected(session, (const uint8_t *)TLS_ALPN_DATA + 1, sizeof TLS_ALPN_DATA - 2) == 1)
		return session;
	SSL_SESSION_free(session);
	return NULL;
}

int tls_conn_use_psk(SSL *ssl, const EVP_MD *md, const unsigned char **id, size_t *length, SSL_SESSION **session)
{
	(void)md;
	struct tls_conn *conn = SSL_get_app_data(ssl);
	*id = conn->psk_identity;
	*length = conn->psk_identity_length;
	*session = psk_session(ssl, &conn->psk);
	return *session != NULL;
}

// Hostile: a second ClientHello (HelloRetryRequest) that changed its identity would use one that was never burnt.
static enum tls_failure keep_identity(struct tls_conn *conn, const unsigned char *id, size_t length)
{
	if (length > sizeof conn->psk_identity)
		return TLS_FAILURE_PSK_MALFORMED;
	if (conn->psk_burnt && (length != conn->psk_identity_length || memcmp(id, conn->psk_identity, length) != 0))
		return TLS_FAILURE_PROTOCOL;
	memcpy(conn->psk_identity, id, length);
	conn->psk_identity_length = length;
	return TLS_FAILURE_NONE;
}

// Trap 4: a NULL session would fall through to certificates; 0 is an alert.
int tls_conn_find_psk(SSL *ssl, const unsigned char *id, size_t length, SSL_SESSION **session)
{
	struct tls_conn *conn = SSL_get_app_data(ssl);
	struct secret psk = {0};
	*session = NULL;
	int r = (int)keep_identity(conn, id, length);
	if (r == TLS_FAILURE_NONE)
		r = conn->profile->ops.find_psk(conn->owner, conn, id, length, &psk);
	if (r == TLS_FAILURE_NONE)
		*session = psk_session(ssl, &psk);
	else if (conn->failure == TLS_FAILURE_NONE)
		conn->failure = (enum tls_failure)r;
	secret_fini(&psk);
	return *session != NULL;
}

static bool alpn_is(const uint8_t *list, size_t length, const char *wanted, size_t wanted_length)
{
	return length == wanted_length && memcmp(list, wanted, wanted_length) == 0;
}

// Trap 2: the ALPN alone decides, before anything expensive, and exactly one protocol must be offered.
int tls_conn_client_hello(SSL *ssl, int *alert, void *unused)
{
	(void)unused;
	struct tls_conn *conn = SSL_get_app_data(ssl);
	const uint8_t *extension;
	size_t length;
	enum tls_kind kind = TLS_UNDECIDED;
	if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_application_layer_protocol_negotiation, &extension, &length) == 1 &&
	    length > 2) {
		if (alpn_is(extension + 2, length - 2, TLS_ALPN_CONTROL, sizeof TLS_ALPN_CONTROL - 1))
			kind = TLS_CONTROL;
		else if (alpn_is(extension + 2, length - 2, TLS_ALPN_DATA, sizeof TLS_ALPN_DATA - 1))
			kind = TLS_DATA;
	}
	if (kind == TLS_UNDECIDED) {
		conn->failure = TLS_FAILURE_BAD_ALPN;
		snprintf(conn->problem, sizeof conn->problem, "no qanat protocol, or more than one, is offered");
		*alert = SSL_AD_NO_APPLICATION_PROTOCOL;
		return SSL_CLIENT_HELLO_ERROR;
	}
	// A second ClientHello (HelloRetryRequest) must be of the same kind and is not admitted again.
	if (conn->kind == kind)
		return SSL_CLIENT_HELLO_SUCCESS;
	int refused = conn->kind == TLS_UNDECIDED ? conn->profile->ops.on_hello(conn->owner, conn, kind)
	                                          : (int)TLS_FAILURE_PROTOCOL;
	if (refused == TLS_HELLO_LATER)
		return SSL_CLIENT_HELLO_RETRY;
	if (refused != TLS_FAILURE_NONE) {
		conn->failure = (enum tls_failure)refused;
		snprintf(conn->problem, sizeof conn->problem, "refused before the handshake");
		*alert = refused == TLS_FAILURE_ADMISSION ? SSL_AD_ACCESS_DENIED : SSL_AD_UNEXPECTED_MESSAGE;
		return SSL_CLIENT_HELLO_ERROR;
	}
	conn->kind = kind;
	if (kind == TLS_DATA) {
		SSL_set_psk_find_session_callback(ssl, tls_conn_find_psk);
		SSL_set_verify(ssl, SSL_VERIFY_NONE, NULL);
		SSL_certs_clear(ssl);
	}
	return SSL_CLIENT_HELLO_SUCCESS;
}

int tls_conn_select_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_length, const unsigned char *in,
                         unsigned int in_length, void *unused)
{
	(void)unused;
	struct tls_conn *conn = SSL_get_app_data(ssl);
	(void)in_length;
	bool with_psk = SSL_session_reused(ssl);
	// Hostile: a data connection without its PSK, or a control connection with one (protocol.md 3 and 5).
	if (with_psk != (conn->kind == TLS_DATA)) {
		conn->failure = TLS_FAILURE_PSK_NOT_USED;
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	}
	if (with_psk && !conn->psk_burnt) {
		int r = conn->profile->ops.burn_psk(conn->owner, conn);
		if (r != TLS_FAILURE_NONE) {
			conn->failure = (enum tls_failure)r;
			return SSL_TLSEXT_ERR_ALERT_FATAL;
		}
		conn->psk_burnt = true;
		// The peer is proved: from here on it may have the large read buffer.
		SSL_set_default_read_buffer_len(ssl, LIMIT_RECORD_BUFFER_BYTES);
		SSL_set_read_ahead(ssl, 1);
	}
	*out = in + 1;
	*out_length = in[0];
	return SSL_TLSEXT_ERR_OK;
}
