#include "wire/tls_sidecar.h"

#include "crypto/pin.h"
#include "limits.h"
#include "wire/tls_names.h"
#include "wire/tls_sidecar_internal.h"

#include <assert.h>
#include <errno.h>
#include <openssl/err.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(TLS_PIN_BYTES == PIN_BYTES, "a pin is a pin");

// Behind a '/' stands what is taken only when nothing before it can be, even if the client sent a key share for it; a
// '*' is what a client sends key shares for, so that neither kind of server needs a second ClientHello.
#define HYBRID_GROUPS "X25519MLKEM768:SecP256r1MLKEM768:SecP384r1MLKEM1024"
#define CLASSICAL_GROUPS "X25519:P-256:P-384"

static const char *groups_of(const struct tls_sidecar *settings)
{
	switch (settings->pq) {
	case TLS_PQ_REQUIRE:
		return HYBRID_GROUPS;
	case TLS_PQ_PREFER:
		return settings->is_client ? "*" HYBRID_GROUPS "/*" CLASSICAL_GROUPS : HYBRID_GROUPS "/" CLASSICAL_GROUPS;
	case TLS_PQ_OFF:
		return CLASSICAL_GROUPS;
	}
	return NULL;
}

#define PQ_SIGNATURES "mldsa65:mldsa87:mldsa44"

static const char *signatures_of(const struct tls_sidecar *settings)
{
	if (settings->signatures == TLS_SIGNATURES_REQUIRE_PQ)
		return PQ_SIGNATURES;
	return PQ_SIGNATURES
		":ecdsa_secp256r1_sha256:ecdsa_secp384r1_sha384:ecdsa_secp521r1_sha512:ed25519:ed448:rsa_pss_rsae_sha256:"
		"rsa_pss_rsae_sha384:rsa_pss_rsae_sha512:rsa_pss_pss_sha256:rsa_pss_pss_sha384:rsa_pss_pss_sha512:"
		"RSA+SHA256:RSA+SHA384:RSA+SHA512";
}

bool tls_group_is_pq(const char *group)
{
	return strcasestr(group, "MLKEM") != NULL;
}

bool tls_signature_is_pq(const char *signature)
{
	return strncasecmp(signature, "mldsa", 5) == 0;
}

bool tls_sidecar_allows_group(const struct tls_sidecar_copy *sidecar, const char *group)
{
	switch (sidecar->settings.pq) {
	case TLS_PQ_REQUIRE:
		return tls_group_is_pq(group);
	case TLS_PQ_PREFER:
		return true;
	case TLS_PQ_OFF:
		return !tls_group_is_pq(group);
	}
	return false;
}

// ---- what cannot be meant

PRINTF_LIKE(2, 3) static int refuse(char problem[TLS_SIDECAR_PROBLEM_BYTES], const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(problem, TLS_SIDECAR_PROBLEM_BYTES, format, arguments);
	va_end(arguments);
	return TLS_SIDECAR_REFUSED;
}

static int judge_identities(const struct tls_sidecar *settings, char problem[TLS_SIDECAR_PROBLEM_BYTES])
{
	if (!settings->is_client && settings->identity_count == 0)
		return refuse(problem, "a TLS server needs a certificate");
	for (size_t i = 0; i < settings->identity_count; i++) {
		struct tls_choice choice;
		tls_choice_init(&choice, settings->identities[i]);
		if (choice.own[0] == 0)
			return refuse(problem, "certificate %zu has a kind of key that TLS has no signature scheme for", i + 1);
		if (settings->signatures == TLS_SIGNATURES_REQUIRE_PQ && choice.in_tls12)
			return refuse(
				problem,
				"certificate %zu has a classical key, and signatures = \"require-pq\" shows ML-DSA ones only. "
				"Make one with --key ml-dsa-65, or take it out",
				i + 1);
	}
	return 0;
}

static int judge_settings(const struct tls_sidecar *settings, char problem[TLS_SIDECAR_PROBLEM_BYTES])
{
	bool believes = settings->trust || settings->pin_count > 0;
	if (settings->is_client && !believes)
		return refuse(problem, "a TLS client needs CA certificates or pins to know its server by");
	if (!settings->is_client && settings->client_cert != TLS_CLIENT_CERT_NONE && !believes)
		return refuse(problem,
		              "client certificates are asked for, but no CA certificates or pins to judge them by are given");
	if (settings->allow_tls12 && settings->pq == TLS_PQ_REQUIRE)
		return refuse(problem,
		              "TLS 1.2 has no post-quantum key agreement: it cannot be allowed where that is required");
	if (settings->allow_tls12 && settings->signatures == TLS_SIGNATURES_REQUIRE_PQ)
		return refuse(problem, "TLS 1.2 has no post-quantum signatures: it cannot be allowed where these are required");
	for (size_t i = 0; i < settings->alpn_count; i++)
		if (strlen(settings->alpn[i]) < 1 || strlen(settings->alpn[i]) > UINT8_MAX)
			return refuse(problem, "ALPN protocol %zu must have 1 to 255 bytes", i + 1);
	if (settings->alpn_is_strict && settings->alpn_count == 0)
		return refuse(problem, "a strict ALPN list needs a protocol in it");
	return judge_identities(settings, problem);
}

// ---- the copy of the settings

void tls_sidecar_free(struct tls_sidecar_copy **slot)
{
	struct tls_sidecar_copy *sidecar = *slot;
	*slot = NULL;
	if (!sidecar)
		return;
	for (size_t i = 0; i < sidecar->settings.identity_count; i++)
		if (sidecar->identities && sidecar->identities[i])
			identity_unref(&sidecar->identities[i]);
	trust_unref(&sidecar->settings.trust);
	free(sidecar->identities);
	free(sidecar->choices);
	free(sidecar->pins);
	free(sidecar->alpn);
	free(sidecar);
}

static int copy_alpn(struct tls_sidecar_copy *sidecar, const struct tls_sidecar *settings)
{
	size_t need = 0;
	if (settings->alpn_count == 0)
		return 0;
	for (size_t i = 0; i < settings->alpn_count; i++)
		need += 1 + strlen(settings->alpn[i]);
	sidecar->alpn = malloc(need);
	if (!sidecar->alpn)
		return -ENOMEM;
	for (size_t i = 0; i < settings->alpn_count; i++) {
		size_t length = strlen(settings->alpn[i]);
		sidecar->alpn[sidecar->alpn_length] = (uint8_t)length;
		memcpy(sidecar->alpn + sidecar->alpn_length + 1, settings->alpn[i], length);
		sidecar->alpn_length += 1 + length;
	}
	return 0;
}

static int copy_identities(struct tls_sidecar_copy *sidecar, const struct tls_sidecar *settings)
{
	size_t count = settings->identity_count;
	sidecar->identities = calloc(count ? count : 1, sizeof(struct identity *));
	sidecar->choices = calloc(count ? count : 1, sizeof *sidecar->choices);
	if (!sidecar->identities || !sidecar->choices)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		sidecar->identities[i] = identity_ref(settings->identities[i]);
		tls_choice_init(&sidecar->choices[i], sidecar->identities[i]);
	}
	return 0;
}

static int copy(const struct tls_sidecar *settings, struct tls_sidecar_copy **out)
{
	struct tls_sidecar_copy *sidecar = *out = calloc(1, sizeof *sidecar);
	if (!sidecar)
		return -ENOMEM;
	sidecar->settings = *settings;
	sidecar->settings.trust = settings->trust ? trust_ref(settings->trust) : NULL;
	sidecar->settings.alpn = NULL;
	int r = copy_identities(sidecar, settings);
	sidecar->settings.identities = sidecar->identities;
	if (r == 0)
		r = copy_alpn(sidecar, settings);
	if (r == 0 && settings->pin_count > 0) {
		sidecar->pins = malloc(settings->pin_count * TLS_PIN_BYTES);
		if (!sidecar->pins)
			return -ENOMEM;
		memcpy(sidecar->pins, settings->pins, settings->pin_count * TLS_PIN_BYTES);
	}
	sidecar->settings.pins = (const uint8_t(*)[TLS_PIN_BYTES])sidecar->pins;
	return r;
}

// ---- the library's settings

static bool set_algorithms(SSL_CTX *c, const struct tls_sidecar *settings)
{
	const char *signatures = signatures_of(settings);
	return SSL_CTX_set_min_proto_version(c, settings->allow_tls12 ? TLS1_2_VERSION : TLS1_3_VERSION) == 1 &&
	       SSL_CTX_set1_groups_list(c, groups_of(settings)) == 1 &&
	       SSL_CTX_set_ciphersuites(c, "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256") ==
	           1 &&
	       SSL_CTX_set_cipher_list(c, "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
	                                  "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"
	                                  "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256") == 1 &&
	       SSL_CTX_set1_sigalgs_list(c, signatures) == 1 && SSL_CTX_set1_client_sigalgs_list(c, signatures) == 1;
}

static int verify_mode(const struct tls_sidecar *settings)
{
	if (settings->is_client)
		return SSL_VERIFY_PEER;
	switch (settings->client_cert) {
	case TLS_CLIENT_CERT_REQUIRED:
		return SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
	case TLS_CLIENT_CERT_OPTIONAL:
		return SSL_VERIFY_PEER;
	case TLS_CLIENT_CERT_NONE:
		break;
	}
	return SSL_VERIFY_NONE;
}

// The first of the list is in the context; a connection that needs another one is given it by itself.
static bool set_identity(SSL_CTX *c, const struct tls_sidecar_copy *sidecar)
{
	if (sidecar->settings.identity_count == 0)
		return true;
	const struct identity *first = sidecar->identities[0];
	return SSL_CTX_use_cert_and_key(c, identity_certificate(first), identity_key(first), identity_chain(first), 1) == 1;
}

// Which CAs' certificates we ask a client for.
static bool set_names(SSL_CTX *c, const struct tls_sidecar *settings)
{
	if (settings->client_cert == TLS_CLIENT_CERT_NONE || !settings->trust)
		return true;
	STACK_OF(X509_NAME) *names = tls_names_of(settings->trust);
	if (names)
		SSL_CTX_set0_CA_list(c, names);
	return names;
}

static bool set_server(SSL_CTX *c, const struct tls_sidecar_copy *sidecar)
{
	static const uint8_t session_id_context[] = "qanat proxy";
	SSL_CTX_set_options(c, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
	SSL_CTX_set_client_hello_cb(c, tls_sidecar_client_hello, NULL);
	if (sidecar->alpn_length > 0)
		SSL_CTX_set_alpn_select_cb(c, tls_sidecar_select_alpn, NULL);
	SSL_CTX_set_tlsext_status_cb(c, tls_sidecar_staple);
	return set_names(c, &sidecar->settings) &&
	       SSL_CTX_set_session_id_context(c, session_id_context, sizeof session_id_context - 1) == 1;
}

// The server has shown that it holds its key: the next buffer is that of its data. Many handshakes at once would leave
// their large buffers' places empty between what stays.
static void on_step(const SSL *ssl, int where, int unused)
{
	(void)unused;
	if (where & SSL_CB_LOOP && SSL_get_state(ssl) == TLS_ST_CR_CERT_VRFY)
		SSL_set_default_read_buffer_len((SSL *)ssl, LIMIT_RECORD_BUFFER_BYTES);
}

static bool set_client(SSL_CTX *c, const struct tls_sidecar_copy *sidecar)
{
	SSL_CTX_set_info_callback(c, on_step);
	if (sidecar->settings.identity_count > 1)
		SSL_CTX_set_cert_cb(c, tls_sidecar_choose_for_server, NULL);
	return sidecar->alpn_length == 0 || SSL_CTX_set_alpn_protos(c, sidecar->alpn, (unsigned)sidecar->alpn_length) == 0;
}

static bool set_up(struct tls_profile *profile)
{
	SSL_CTX *c = profile->ssl_ctx;
	const struct tls_sidecar_copy *sidecar = profile->sidecar;
	bool is_client = sidecar->settings.is_client;
	profile->role = is_client ? PROFILE_SIDECAR_CLIENT : PROFILE_SIDECAR_SERVER;
	if (sidecar->settings.trust)
		SSL_CTX_set1_cert_store(c, trust_store(sidecar->settings.trust));
	SSL_CTX_set_verify(c, verify_mode(&sidecar->settings), NULL);
	SSL_CTX_set_verify_depth(c, LIMIT_CHAIN_DEPTH);
	SSL_CTX_set_cert_verify_callback(c, tls_sidecar_verify, NULL);
	// Records in as few reads as they come in, also those of a handshake.
	SSL_CTX_set_read_ahead(c, 1);
	return set_algorithms(c, &sidecar->settings) && set_identity(c, sidecar) &&
	       (is_client ? set_client(c, sidecar) : set_server(c, sidecar));
}

int tls_sidecar_profile(const struct tls_sidecar *settings, struct tls_profile **profile,
                        char problem[TLS_SIDECAR_PROBLEM_BYTES])
{
	struct tls_profile *fresh = NULL;
	int r = judge_settings(settings, problem);
	if (r == 0)
		r = tls_profile_base(settings->is_client ? TLS_client_method() : TLS_server_method(), &fresh);
	if (r == 0)
		r = copy(settings, &fresh->sidecar);
	if (r == 0 && !set_up(fresh)) {
		const char *reason = ERR_reason_error_string(ERR_peek_last_error());
		r = refuse(problem, "the TLS library refuses these settings: %s", reason ? reason : "no reason given");
	}
	ERR_clear_error();
	if (r != 0) {
		tls_profile_free(&fresh);
		return r;
	}
	*profile = fresh;
	return 0;
}

// ---- questions

bool tls_is_sidecar(const struct tls_profile *profile)
{
	return profile->role == PROFILE_SIDECAR_SERVER || profile->role == PROFILE_SIDECAR_CLIENT;
}

const char *tls_sidecar_sni(const struct tls_conn *conn)
{
	return conn->sni ? conn->sni : "";
}
