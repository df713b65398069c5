#include "crypto/chain.h"

#include "crypto/pem.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <stdio.h>

_Static_assert((int)CHAIN_REFUSED == (int)PEM_REFUSED && IDENTITY_PROBLEM_BYTES == PEM_PROBLEM_BYTES,
               "refusals are passed up");

static int library_failed(void)
{
	ERR_clear_error();
	return -ENOMEM;
}

static int fill_store(X509_STORE *store, STACK_OF(X509) * certificates, const char *path,
                      char problem[IDENTITY_PROBLEM_BYTES])
{
	for (int i = 0; i < sk_X509_num(certificates); i++) {
		X509 *certificate = sk_X509_value(certificates, i);
		// 1 is basicConstraints CA:TRUE and a key usage that allows it; the other answers are guesses about old forms.
		if (X509_check_ca(certificate) != 1) {
			struct identity_text text;
			identity_describe(certificate, &text);
			snprintf(problem, IDENTITY_PROBLEM_BYTES,
			         "CA file %s: certificate %d (%s) is not a CA's (no basicConstraints CA:TRUE). It must hold the "
			         "certificate that issued the others, not one of them",
			         path, i + 1, text.subject);
			return CHAIN_REFUSED;
		}
		if (X509_STORE_add_cert(store, certificate) != 1)
			return library_failed();
	}
	return 0;
}

int chain_load_store(const char *ca_path, X509_STORE **store, char problem[IDENTITY_PROBLEM_BYTES])
{
	STACK_OF(X509) *certificates = NULL;
	int result = pem_certificates(ca_path, "CA file", PEM_TO_RELY_ON, &certificates, problem);

	if (result != 0)
		return result;
	X509_STORE *fresh = X509_STORE_new();
	result = fresh ? fill_store(fresh, certificates, ca_path, problem) : library_failed();
	if (result == 0)
		*store = fresh;
	else
		X509_STORE_free(fresh);
	ERR_clear_error();
	OSSL_STACK_OF_X509_free(certificates);
	return result;
}

static void explain(X509_STORE_CTX *context, X509 *leaf, char reason[CHAIN_REASON_BYTES])
{
	int error = X509_STORE_CTX_get_error(context);
	X509 *where = X509_STORE_CTX_get_current_cert(context);
	struct identity_text text;

	identity_describe(where ? where : leaf, &text);
	if (error == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY || error == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT ||
	    error == X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE || error == X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN ||
	    error == X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT)
		snprintf(reason, CHAIN_REASON_BYTES, "not issued by the CA given: %s (%s)",
		         X509_verify_cert_error_string(error), text.subject);
	else
		snprintf(reason, CHAIN_REASON_BYTES, "%s (%s)", X509_verify_cert_error_string(error), text.subject);
}

// What X509_verify_cert built, without the leaf and the root.
static int take_middle(X509_STORE_CTX *context, STACK_OF(X509) * *chain)
{
	STACK_OF(X509) *whole = X509_STORE_CTX_get1_chain(context);

	if (!whole)
		return library_failed();
	X509_free(sk_X509_shift(whole));
	X509_free(sk_X509_pop(whole));
	*chain = whole;
	return 0;
}

int chain_verify(X509_STORE *store, X509 *leaf, STACK_OF(X509) * intermediates, enum identity_usage usage,
                 STACK_OF(X509) * *chain, char reason[CHAIN_REASON_BYTES])
{
	int purpose = usage == IDENTITY_SERVER ? X509_PURPOSE_SSL_SERVER : X509_PURPOSE_SSL_CLIENT;
	X509_STORE_CTX *context = X509_STORE_CTX_new();
	int result = 0;

	if (!context || X509_STORE_CTX_init(context, store, leaf, intermediates) != 1 ||
	    X509_STORE_CTX_set_purpose(context, purpose) != 1)
		result = library_failed();
	if (result == 0 && X509_verify_cert(context) != 1) {
		explain(context, leaf, reason);
		result = CHAIN_REFUSED;
	}
	if (result == 0 && chain)
		result = take_middle(context, chain);
	ERR_clear_error();
	X509_STORE_CTX_free(context);
	return result;
}
