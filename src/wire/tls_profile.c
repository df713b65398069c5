#include "wire/tls_profile.h"

#include "limits.h"
#include "wire/tls_internal.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

// Spec: protocol.md 1, "Groups by policy".
static const char *groups_of(enum tls_pq pq)
{
	switch (pq) {
	case TLS_PQ_REQUIRE:
		return "X25519MLKEM768:SecP256r1MLKEM768:SecP384r1MLKEM1024";
	case TLS_PQ_PREFER:
		return "X25519MLKEM768:SecP256r1MLKEM768:SecP384r1MLKEM1024:X25519:P-256";
	case TLS_PQ_OFF:
		return "X25519:P-256";
	}
	return NULL;
}

const char *tls_pq_demand(enum tls_pq pq)
{
	switch (pq) {
	case TLS_PQ_REQUIRE:
		return "crypto.pq = \"require\" takes post-quantum groups only: X25519MLKEM768, SecP256r1MLKEM768, "
			   "SecP384r1MLKEM1024";
	case TLS_PQ_PREFER:
		return "crypto.pq = \"prefer\" takes the post-quantum groups, X25519 and P-256";
	case TLS_PQ_OFF:
		return "crypto.pq = \"off\" takes X25519 and P-256 only";
	}
	return "";
}

bool tls_pq_allows(enum tls_pq pq, const char *group)
{
	const char *list = groups_of(pq), *at = list;
	size_t length = strlen(group);
	while (length > 0 && (at = strcasestr(at, group)) != NULL) {
		if ((at == list || at[-1] == ':') && (at[length] == ':' || at[length] == '\0'))
			return true;
		at += length;
	}
	// The library calls P-256 by another of its names.
	return pq != TLS_PQ_REQUIRE && (strcasecmp(group, "secp256r1") == 0 || strcasecmp(group, "prime256v1") == 0);
}

static int allow_early(SSL *ssl, void *unused)
{
	(void)ssl;
	(void)unused;
	// Only data connections get this far with early data, and their PSK's index was burnt in the ALPN callback.
	return 1;
}

int tls_profile_base(const SSL_METHOD *method, struct tls_profile **out)
{
	struct tls_profile *profile = calloc(1, sizeof *profile);
	if (!profile)
		return -ENOMEM;
	SSL_CTX *c = SSL_CTX_new(method);
	if (!c) {
		free(profile);
		return -ENOMEM;
	}
	profile->ssl_ctx = c;
	profile->references = 1;
	SSL_CTX_set_min_proto_version(c, TLS1_3_VERSION);
	SSL_CTX_set_max_proto_version(c, TLS1_3_VERSION);
	SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(c, 0);
	SSL_CTX_set_mode(c, SSL_MODE_NO_AUTO_CHAIN | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	// Early data is safe without the library's own replay cache because each PSK is accepted once (protocol.md 3).
	SSL_CTX_set_options(c, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_ANTI_REPLAY);
	*out = profile;
	return 0;
}

static int use_identity(struct tls_profile *profile, struct identity *identity)
{
	SSL_CTX *c = profile->ssl_ctx;
	profile->identity = identity_ref(identity);
	if (SSL_CTX_use_cert_and_key(c, identity_certificate(identity), identity_key(identity), identity_chain(identity),
	                             1) != 1)
		return -EINVAL;
	SSL_CTX_set1_cert_store(c, identity_store(identity));
	SSL_CTX_set_cert_verify_callback(c, tls_conn_verify, NULL);
	return 0;
}

static int finish(int r, struct tls_profile **profile)
{
	ERR_clear_error();
	if (r < 0)
		tls_profile_free(profile);
	return r;
}

int tls_profile_control(struct identity *identity, enum tls_pq pq, struct tls_profile **profile)
{
	int r = tls_profile_base(TLS_client_method(), profile);
	if (r < 0)
		return r;
	SSL_CTX *c = (*profile)->ssl_ctx;
	(*profile)->role = PROFILE_CONTROL;
	r = use_identity(*profile, identity);
	if (r == 0 && (SSL_CTX_set1_groups_list(c, groups_of(pq)) != 1 ||
	               SSL_CTX_set_ciphersuites(c, "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256") != 1 ||
	               SSL_CTX_set_alpn_protos(c, (const uint8_t *)TLS_ALPN_CONTROL, sizeof TLS_ALPN_CONTROL - 1) != 0))
		r = -EINVAL;
	SSL_CTX_set_verify(c, SSL_VERIFY_PEER, NULL);
	return finish(r, profile);
}

int tls_profile_data(const char *group, struct tls_profile **profile)
{
	int r = tls_profile_base(TLS_client_method(), profile);
	if (r < 0)
		return r;
	SSL_CTX *c = (*profile)->ssl_ctx;
	(*profile)->role = PROFILE_DATA;
	if (SSL_CTX_set1_groups_list(c, group) != 1 || SSL_CTX_set_ciphersuites(c, "TLS_AES_256_GCM_SHA384") != 1 ||
	    SSL_CTX_set_alpn_protos(c, (const uint8_t *)TLS_ALPN_DATA, sizeof TLS_ALPN_DATA - 1) != 0)
		r = -EINVAL;
	SSL_CTX_set_psk_use_session_callback(c, tls_conn_use_psk);
	// An empty trust store: a responder that ignores the PSK and shows a certificate is refused (trap 1).
	SSL_CTX_set_verify(c, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_default_read_buffer_len(c, LIMIT_RECORD_BUFFER_BYTES);
	SSL_CTX_set_read_ahead(c, 1);
	return finish(r, profile);
}

int tls_profile_listener(struct identity *identity, enum tls_pq pq, const struct tls_listener_ops *ops,
                         struct tls_profile **profile)
{
	static const uint8_t session_id_context[] = "qanat";
	int r = tls_profile_base(TLS_server_method(), profile);
	if (r < 0)
		return r;
	SSL_CTX *c = (*profile)->ssl_ctx;
	(*profile)->role = PROFILE_LISTENER;
	(*profile)->ops = *ops;
	r = use_identity(*profile, identity);
	if (r == 0 && (SSL_CTX_set1_groups_list(c, groups_of(pq)) != 1 ||
	               SSL_CTX_set_ciphersuites(c, "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256") != 1 ||
	               SSL_CTX_set_session_id_context(c, session_id_context, sizeof session_id_context - 1) != 1))
		r = -EINVAL;
	// Certificates unless the ClientHello says it is a data connection (tls_conn_client_hello).
	SSL_CTX_set_verify(c, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	SSL_CTX_set_client_hello_cb(c, tls_conn_client_hello, NULL);
	SSL_CTX_set_alpn_select_cb(c, tls_conn_select_alpn, NULL);
	SSL_CTX_set_max_early_data(c, SSL3_RT_MAX_PLAIN_LENGTH);
	SSL_CTX_set_recv_max_early_data(c, SSL3_RT_MAX_PLAIN_LENGTH);
	SSL_CTX_set_allow_early_data_cb(c, allow_early, NULL);
	return finish(r, profile);
}

struct tls_profile *tls_profile_ref(struct tls_profile *profile)
{
	profile->references++;
	return profile;
}

void tls_profile_free(struct tls_profile **slot)
{
	struct tls_profile *profile = *slot;
	*slot = NULL;
	if (!profile || --profile->references > 0)
		return;
	SSL_CTX_free(profile->ssl_ctx);
	if (profile->identity)
		identity_unref(&profile->identity);
	tls_sidecar_free(&profile->sidecar);
	free(profile);
}
