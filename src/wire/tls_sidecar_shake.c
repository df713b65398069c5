// What the library asks in a sidecar's handshake, and what is asked of the finished one.

#include "core/counter.h"
#include "core/log.h"
#include "limits.h"
#include "wire/tls_sidecar_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static int refuse_hello(struct tls_conn *conn, enum tls_failure failure, const char *text)
{
	if (conn->failure == TLS_FAILURE_NONE)
		conn->failure = failure;
	if (!conn->problem[0])
		snprintf(conn->problem, sizeof conn->problem, "%s", text);
	return SSL_CLIENT_HELLO_ERROR;
}

static struct tls_codes codes_of(SSL *ssl, unsigned extension, size_t prefix)
{
	struct tls_codes codes = {0};
	const uint8_t *body;
	size_t length;
	if (SSL_client_hello_get0_ext(ssl, extension, &body, &length) == 1)
		(void)tls_hello_codes(body, length, prefix, &codes); // the library answers what is not well formed
	return codes;
}

static bool has_extension(SSL *ssl, unsigned extension)
{
	const uint8_t *body;
	size_t length;
	return SSL_client_hello_get0_ext(ssl, extension, &body, &length) == 1;
}

static bool take_sni(SSL *ssl, struct tls_conn *conn)
{
	char name[TLS_SNI_BYTES];
	const uint8_t *body;
	size_t length;
	if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &body, &length) != 1)
		return true;
	return tls_hello_sni(body, length, name) && (conn->sni = strdup(name));
}

static bool show(SSL *ssl, struct tls_conn *conn, const struct tls_choice *choice)
{
	const struct tls_sidecar_copy *sidecar = conn->profile->sidecar;
	// A second ClientHello may choose differently, so "the first" is what is in the context only while nothing else
	// was.
	const struct tls_choice *now = conn->shown ? conn->shown : sidecar->choices;
	conn->shown = choice;
	if (choice == now)
		return true;
	const struct identity *identity = choice->identity;
	SSL_certs_clear(ssl);
	return SSL_use_cert_and_key(ssl, identity_certificate(identity), identity_key(identity), identity_chain(identity),
	                            1) == 1;
}

static int choose_for_client(SSL *ssl, struct tls_conn *conn, bool is_tls13, int *alert)
{
	const struct tls_sidecar_copy *sidecar = conn->profile->sidecar;
	struct tls_wanted wanted = {
		.schemes = codes_of(ssl, TLSEXT_TYPE_signature_algorithms, 2),
		.cert_schemes = codes_of(ssl, TLSEXT_TYPE_signature_algorithms_cert, 2),
		.is_tls13 = is_tls13,
		.groups = codes_of(ssl, TLSEXT_TYPE_supported_groups, 2),
		.name = conn->sni,
	};
	wanted.suites.length = SSL_client_hello_get0_ciphers(ssl, &wanted.suites.bytes);
	const struct tls_choice *choice = tls_choice_best(sidecar->choices, sidecar->settings.identity_count, &wanted);
	// TLS 1.2: it may be for the suites, and the library says so.
	if (!choice && !is_tls13)
		return SSL_CLIENT_HELLO_SUCCESS;
	if (!choice) {
		*alert = SSL_AD_HANDSHAKE_FAILURE;
		return refuse_hello(conn, TLS_FAILURE_NO_SIGNATURE, "the client can verify none of our certificates");
	}
	if (show(ssl, conn, choice))
		return SSL_CLIENT_HELLO_SUCCESS;
	*alert = SSL_AD_INTERNAL_ERROR;
	return refuse_hello(conn, TLS_FAILURE_INTERNAL, "the certificate cannot be used");
}

static int ask_owner(struct tls_conn *conn, int *alert)
{
	const struct tls_sidecar *settings = &conn->profile->sidecar->settings;
	int refused = settings->on_hello ? settings->on_hello(conn->owner, conn) : TLS_FAILURE_NONE;
	if (refused == TLS_FAILURE_NONE)
		return SSL_CLIENT_HELLO_SUCCESS;
	*alert = refused == TLS_FAILURE_WRONG_NAME ? SSL_AD_UNRECOGNIZED_NAME : SSL_AD_ACCESS_DENIED;
	return refuse_hello(conn, (enum tls_failure)refused, "refused before the handshake");
}

int tls_sidecar_client_hello(SSL *ssl, int *alert, void *unused)
{
	(void)unused;
	struct tls_conn *conn = SSL_get_app_data(ssl);
	struct tls_codes versions = codes_of(ssl, TLSEXT_TYPE_supported_versions, 1);
	bool is_tls13 = tls_codes_have(&versions, TLS1_3_VERSION);
	// Spec: RFC 7627 5.2; without it a TLS 1.2 session can be played to another server.
	if (!is_tls13 && conn->profile->sidecar->settings.allow_tls12 &&
	    !has_extension(ssl, TLSEXT_TYPE_extended_master_secret)) {
		*alert = SSL_AD_HANDSHAKE_FAILURE;
		return refuse_hello(conn, TLS_FAILURE_NO_VERSION, "TLS 1.2 without extended master secret");
	}
	// A second ClientHello (HelloRetryRequest) is not asked about again; the library sees to it that the name is the
	// same.
	if (!conn->asked) {
		conn->asked = true;
		if (!take_sni(ssl, conn)) {
			*alert = SSL_AD_UNRECOGNIZED_NAME;
			return refuse_hello(conn, TLS_FAILURE_PROTOCOL, "the server name asked for is none");
		}
		int r = ask_owner(conn, alert);
		if (r != SSL_CLIENT_HELLO_SUCCESS)
			return r;
	}
	// A version that we do not speak is the library's to refuse, and one certificate is no choice.
	const struct tls_sidecar *settings = &conn->profile->sidecar->settings;
	if ((!is_tls13 && !settings->allow_tls12) || settings->identity_count < 2)
		return SSL_CLIENT_HELLO_SUCCESS;
	return choose_for_client(ssl, conn, is_tls13, alert);
}

// A client's certificate, by what the CertificateRequest takes. None fits: none is shown, and the server decides.
int tls_sidecar_choose_for_server(SSL *ssl, void *unused)
{
	(void)unused;
	struct tls_conn *conn = SSL_get_app_data(ssl);
	const struct tls_sidecar_copy *sidecar = conn->profile->sidecar;
	uint8_t bytes[256];
	struct tls_wanted wanted = {.is_tls13 = SSL_version(ssl) >= TLS1_3_VERSION, .schemes.bytes = bytes};
	static const uint8_t any_suite[] = {0xc0, 0x2b, 0xc0, 0x2f};
	wanted.suites = (struct tls_codes){any_suite, sizeof any_suite}; // these do not depend on a client's certificate
	int count = SSL_get_sigalgs(ssl, 0, NULL, NULL, NULL, NULL, NULL);
	for (int i = 0; i < count && wanted.schemes.length + 2 <= sizeof bytes; i++) {
		unsigned char signature, hash;
		SSL_get_sigalgs(ssl, i, NULL, NULL, NULL, &signature, &hash);
		bytes[wanted.schemes.length++] = hash;
		bytes[wanted.schemes.length++] = signature;
	}
	const struct tls_choice *choice = tls_choice_best(sidecar->choices, sidecar->settings.identity_count, &wanted);
	if (!choice) {
		SSL_certs_clear(ssl);
		return 1;
	}
	return show(ssl, conn, choice) ? 1 : 0;
}

int tls_sidecar_select_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_length, const unsigned char *in,
                            unsigned int in_length, void *unused)
{
	(void)unused;
	struct tls_conn *conn = SSL_get_app_data(ssl);
	const struct tls_sidecar_copy *sidecar = conn->profile->sidecar;
	unsigned char *chosen;
	if (SSL_select_next_proto(&chosen, out_length, sidecar->alpn, (unsigned)sidecar->alpn_length, in, in_length) ==
	    OPENSSL_NPN_NEGOTIATED) {
		*out = chosen;
		return SSL_TLSEXT_ERR_OK;
	}
	if (!sidecar->settings.alpn_is_strict)
		return SSL_TLSEXT_ERR_NOACK;
	if (conn->failure == TLS_FAILURE_NONE)
		conn->failure = TLS_FAILURE_BAD_ALPN;
	snprintf(conn->problem, sizeof conn->problem, "no protocol in common");
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static void say_over(struct identity *identity)
{
	struct identity_text text;
	counter_add(COUNTER_STAPLE_OVER, 1);
	if (!identity_staple_news(identity))
		return;
	identity_describe(identity_certificate(identity), &text);
	log_warn(
		"tls_sidecar",
		"the OCSP response for our certificate (%s) is over: clients that ask for one get none. Put the new one into "
		"its file and reload",
		text.subject);
}

int tls_sidecar_staple(SSL *ssl, void *unused)
{
	(void)unused;
	const struct tls_conn *conn = SSL_get_app_data(ssl);
	const struct tls_choice *shown = conn->shown ? conn->shown : conn->profile->sidecar->choices;
	size_t length;
	const uint8_t *staple = identity_staple(shown->identity, &length);
	if (!staple && length > 0)
		say_over(shown->identity);
	uint8_t *copy = staple ? OPENSSL_memdup(staple, length) : NULL; // the library frees it
	if (!copy || SSL_set_tlsext_status_ocsp_resp(ssl, copy, (long)length) != 1) {
		OPENSSL_free(copy);
		return SSL_TLSEXT_ERR_NOACK;
	}
	counter_add(COUNTER_STAPLE_SERVED, 1);
	return SSL_TLSEXT_ERR_OK;
}

// ---- a connection's life

static bool is_address(const char *name)
{
	uint8_t bytes[16];
	return name[0] == '[' || inet_pton(AF_INET, name, bytes) == 1 || strchr(name, ':');
}

int tls_sidecar_prepare(struct tls_conn *conn)
{
	if (conn->profile->role == PROFILE_SIDECAR_SERVER || !conn->peer_name || is_address(conn->peer_name))
		return 0;
	// Spec: RFC 6066 3: without the dot of an absolute name.
	char name[TLS_SNI_BYTES];
	size_t length = strlen(conn->peer_name);
	if (length > 0 && conn->peer_name[length - 1] == '.')
		length--;
	if (length == 0 || length >= sizeof name)
		return 0; // it will not match a certificate either
	memcpy(name, conn->peer_name, length);
	name[length] = '\0';
	return SSL_set_tlsext_host_name(conn->ssl, name) == 1 ? 0 : -ENOMEM;
}

static int check_policy(struct tls_conn *conn)
{
	const struct tls_sidecar_copy *sidecar = conn->profile->sidecar;
	const char *group = SSL_get0_group_name(conn->ssl); // there is a session by now
	if (!group || !tls_sidecar_allows_group(sidecar, group))
		return tls_fail(conn, TLS_FAILURE_NO_GROUP, group ? group : "no key agreement");
	if (SSL_version(conn->ssl) < TLS1_3_VERSION && SSL_get_extms_support(conn->ssl) != 1)
		return tls_fail(conn, TLS_FAILURE_NO_VERSION, "TLS 1.2 without extended master secret");
	const uint8_t *alpn;
	unsigned length;
	SSL_get0_alpn_selected(conn->ssl, &alpn, &length);
	if (sidecar->settings.is_client && sidecar->settings.alpn_is_strict && length == 0)
		return tls_fail(conn, TLS_FAILURE_BAD_ALPN, "the server chose no protocol");
	return 0;
}

int tls_sidecar_check_ready(struct tls_conn *conn)
{
	const struct tls_sidecar *settings = &conn->profile->sidecar->settings;
	bool has_peer = SSL_get0_peer_certificate(conn->ssl) != NULL;
	bool needs_peer = settings->is_client || settings->client_cert == TLS_CLIENT_CERT_REQUIRED;
	if (SSL_session_reused(conn->ssl) || (needs_peer && !has_peer) ||
	    (has_peer && SSL_get_verify_result(conn->ssl) != X509_V_OK))
		return tls_fail(conn, TLS_FAILURE_NO_CERTIFICATE, NULL);
	return check_policy(conn);
}

static void say_alert(struct tls_conn *conn)
{
	// Spec: RFC 8446 6: fatal, unexpected_message, in a record as every version reads it.
	static const uint8_t alert[] = {0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x0a};
	size_t written;
	if (conn->failure != TLS_FAILURE_NOT_TLS && conn->failure != TLS_FAILURE_HTTP)
		return;
	if (tls_hello_is_http(conn->first, conn->first_length))
		conn->failure = TLS_FAILURE_HTTP;
	// The library is silent towards what does not begin like TLS.
	if (conn->failure == TLS_FAILURE_NOT_TLS)
		(void)BIO_write_ex(SSL_get_wbio(conn->ssl), alert, sizeof alert, &written);
}

void tls_sidecar_stopped(struct tls_conn *conn, int r)
{
	if (conn->profile->role != PROFILE_SIDECAR_SERVER)
		return;
	if (r == TLS_FAILED)
		say_alert(conn);
	// The buffer of the next keys, which are those after the peer has proved itself: strangers get a record's worth.
	if (r == TLS_BLOCKED && conn->asked)
		SSL_set_default_read_buffer_len(conn->ssl, LIMIT_RECORD_BUFFER_BYTES);
}

void tls_sidecar_answer_http(struct tls_conn *conn)
{
	static const char answer[] = "HTTP/1.1 400 Bad Request\r\n"
								 "Content-Type: text/plain\r\n"
								 "Content-Length: 40\r\n"
								 "Connection: close\r\n"
								 "\r\n"
								 "This port speaks TLS (https), not HTTP.\n";
	// What a new connection's buffer does not take is not worth waiting for.
	if (send(conn->fd, answer, sizeof answer - 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return;
	(void)shutdown(conn->fd, SHUT_WR);
}

const char *tls_sidecar_alpn(const struct tls_conn *conn)
{
	static _Thread_local char name[UINT8_MAX + 1];
	const uint8_t *alpn;
	unsigned length;
	SSL_get0_alpn_selected(conn->ssl, &alpn, &length);
	memcpy(name, alpn ? alpn : (const uint8_t *)"", length);
	name[length] = '\0';
	return name;
}
