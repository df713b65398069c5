#include "core/outcome.h"
#include "wire/tls_internal.h"

#include <openssl/err.h>
#include <openssl/x509.h>
#include <stdio.h>

const char *tls_failure_name(enum tls_failure failure)
{
	static const char *const names[] = {
		[TLS_FAILURE_NONE] = "none",
		[TLS_FAILURE_CLOSED] = "closed by the peer",
		[TLS_FAILURE_NOT_TLS] = "not TLS",
		[TLS_FAILURE_HTTP] = "plain HTTP instead of TLS",
		[TLS_FAILURE_NO_VERSION] = "no common TLS version",
		[TLS_FAILURE_BAD_ALPN] = "not a qanat peer (ALPN)",
		[TLS_FAILURE_NO_GROUP] = "no common key agreement group",
		[TLS_FAILURE_NO_SIGNATURE] = "no common signature algorithm",
		[TLS_FAILURE_PROTOCOL] = "TLS protocol error",
		[TLS_FAILURE_PEER_ALERT] = "refused by the peer",
		[TLS_FAILURE_NO_CERTIFICATE] = "no certificate",
		[TLS_FAILURE_UNKNOWN_CA] = "certificate of an unknown CA",
		[TLS_FAILURE_EXPIRED] = "certificate expired",
		[TLS_FAILURE_NOT_YET_VALID] = "certificate not yet valid",
		[TLS_FAILURE_REVOKED] = "certificate revoked",
		[TLS_FAILURE_NO_CRL] = "no current revocation list for the certificate",
		[TLS_FAILURE_WRONG_USAGE] = "certificate not made for this role (EKU)",
		[TLS_FAILURE_WRONG_NAME] = "certificate of another name",
		[TLS_FAILURE_NOT_ALLOWED] = "certificate not allowed here",
		[TLS_FAILURE_WRONG_PIN] = "certificate with another key than the pinned ones",
		[TLS_FAILURE_CLASSICAL] = "certificate signed with a classical algorithm",
		[TLS_FAILURE_BAD_SIGNATURE] = "peer does not hold the certificate's key",
		[TLS_FAILURE_BAD_CERTIFICATE] = "bad certificate",
		[TLS_FAILURE_PSK_MALFORMED] = "malformed PSK identity",
		[TLS_FAILURE_PSK_UNKNOWN_LINK] = "PSK of an unknown link",
		[TLS_FAILURE_PSK_UNKNOWN_EPOCH] = "PSK of an unknown epoch",
		[TLS_FAILURE_PSK_REPLAYED] = "PSK used before",
		[TLS_FAILURE_PSK_BAD_BINDER] = "wrong PSK",
		[TLS_FAILURE_PSK_NOT_USED] = "PSK not used",
		[TLS_FAILURE_ADMISSION] = "too many handshakes",
		[TLS_FAILURE_INTERNAL] = "internal error",
	};
	_Static_assert(COUNT_OF(names) == TLS_FAILURE_COUNT, "a failure has no name");
	return names[failure];
}

enum tls_failure tls_failure_of_verification(long error)
{
	switch (error) {
	case X509_V_OK:
		return TLS_FAILURE_PROTOCOL;
	case X509_V_ERR_CERT_HAS_EXPIRED:
		return TLS_FAILURE_EXPIRED;
	case X509_V_ERR_CERT_NOT_YET_VALID:
		return TLS_FAILURE_NOT_YET_VALID;
	case X509_V_ERR_CERT_REVOKED:
		return TLS_FAILURE_REVOKED;
	case X509_V_ERR_UNABLE_TO_GET_CRL:
	case X509_V_ERR_CRL_HAS_EXPIRED:
	case X509_V_ERR_CRL_NOT_YET_VALID:
	case X509_V_ERR_UNABLE_TO_GET_CRL_ISSUER:
	case X509_V_ERR_CRL_SIGNATURE_FAILURE:
	case X509_V_ERR_CRL_PATH_VALIDATION_ERROR:
	case X509_V_ERR_DIFFERENT_CRL_SCOPE:
	case X509_V_ERR_KEYUSAGE_NO_CRL_SIGN:
	case X509_V_ERR_UNHANDLED_CRITICAL_CRL_EXTENSION:
		return TLS_FAILURE_NO_CRL;
	case X509_V_ERR_INVALID_PURPOSE:
		return TLS_FAILURE_WRONG_USAGE;
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case X509_V_ERR_IP_ADDRESS_MISMATCH:
		return TLS_FAILURE_WRONG_NAME;
	case X509_V_ERR_APPLICATION_VERIFICATION:
		return TLS_FAILURE_NOT_ALLOWED;
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_CERT_UNTRUSTED:
	case X509_V_ERR_CERT_SIGNATURE_FAILURE:
		return TLS_FAILURE_UNKNOWN_CA;
	default:
		return TLS_FAILURE_BAD_CERTIFICATE;
	}
}

static enum tls_failure failure_of_library(struct tls_conn *conn, unsigned long error)
{
	int reason = ERR_GET_REASON(error);
	if (ERR_GET_LIB(error) != ERR_LIB_SSL)
		return TLS_FAILURE_PROTOCOL;
	if (reason > SSL_AD_REASON_OFFSET && reason < SSL_AD_REASON_OFFSET + 256)
		return TLS_FAILURE_PEER_ALERT;
	switch (reason) {
	case SSL_R_UNEXPECTED_EOF_WHILE_READING:
		return TLS_FAILURE_CLOSED;
	case SSL_R_HTTP_REQUEST:
	case SSL_R_HTTPS_PROXY_REQUEST:
		return TLS_FAILURE_HTTP;
	case SSL_R_WRONG_VERSION_NUMBER:
	case SSL_R_BAD_RECORD_TYPE:
		return TLS_FAILURE_NOT_TLS;
	case SSL_R_UNSUPPORTED_PROTOCOL:
	case SSL_R_VERSION_TOO_LOW:
	case SSL_R_UNKNOWN_PROTOCOL:
		return TLS_FAILURE_NO_VERSION;
	case SSL_R_NO_APPLICATION_PROTOCOL:
		return TLS_FAILURE_BAD_ALPN;
	case SSL_R_NO_SUITABLE_KEY_SHARE:
	case SSL_R_NO_SUITABLE_GROUPS:
	case SSL_R_NO_SHARED_GROUPS:
		return TLS_FAILURE_NO_GROUP;
	case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
	case SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS:
	case SSL_R_WRONG_SIGNATURE_TYPE:
		return TLS_FAILURE_NO_SIGNATURE;
	case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
		return TLS_FAILURE_NO_CERTIFICATE;
	case SSL_R_CERTIFICATE_VERIFY_FAILED:
		return tls_failure_of_verification(SSL_get_verify_result(conn->ssl));
	case SSL_R_BAD_SIGNATURE:
		return TLS_FAILURE_BAD_SIGNATURE;
	case SSL_R_BINDER_DOES_NOT_VERIFY:
		return TLS_FAILURE_PSK_BAD_BINDER;
	default:
		return TLS_FAILURE_PROTOCOL;
	}
}

// Records why, once; the first reason is the true one.
int tls_fail(struct tls_conn *conn, enum tls_failure failure, const char *text)
{
	conn->phase = conn->phase == CONN_READY ? CONN_BROKEN : conn->phase;
	if (conn->failure == TLS_FAILURE_NONE)
		conn->failure = failure;
	if (!conn->problem[0] && text)
		snprintf(conn->problem, sizeof conn->problem, "%s", text);
	ERR_clear_error();
	return TLS_FAILED;
}

// The verdict on a library call that did not succeed.
int tls_judge(struct tls_conn *conn, int error)
{
	switch (error) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
	case SSL_ERROR_WANT_CLIENT_HELLO_CB:
		return TLS_BLOCKED;
	case SSL_ERROR_ZERO_RETURN:
		conn->rx_end = true;
		return TLS_END;
	case SSL_ERROR_SYSCALL:
		return tls_fail(conn, TLS_FAILURE_CLOSED, conn->rx_eof ? "end without close_notify" : "connection lost");
	default:
		break;
	}
	// The verdict of the TLS room is the newest; what led to it in a provider comes first.
	unsigned long library = ERR_peek_last_error();
	return tls_fail(conn, failure_of_library(conn, library), ERR_reason_error_string(library));
}

void tls_conn_explain(const struct tls_conn *conn, char text[TLS_EXPLANATION_BYTES])
{
	const char *detail = conn->problem;
	snprintf(text, TLS_EXPLANATION_BYTES, "%s%s%s%s", tls_failure_name(conn->failure), *detail ? " (" : "", detail,
	         *detail ? ")" : "");
}
