#include "crypto/chain.h"

#include "crypto/pem.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <time.h>

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

// ---- revocation

static void date_text(const ASN1_TIME *time, char text[32])
{
	struct tm parts;

	if (!time || ASN1_TIME_to_tm(time, &parts) != 1 || strftime(text, 32, "%Y-%m-%d %H:%M:%S UTC", &parts) == 0)
		snprintf(text, 32, "unknown");
}

// Several CA certificates may have the name of one CA: old and new keys.
static bool is_signed_by_one_of(X509_CRL *list, STACK_OF(X509) * issuers)
{
	for (int i = 0; i < sk_X509_num(issuers); i++)
		if (X509_CRL_verify(list, X509_get0_pubkey(sk_X509_value(issuers, i))) == 1)
			return true;
	return false;
}

static int judge_signer(X509_STORE *store, X509_CRL *list, const char *names[2], char problem[IDENTITY_PROBLEM_BYTES])
{
	X509_STORE_CTX *context = X509_STORE_CTX_new();
	char issuer[192] = "";

	if (!context || X509_STORE_CTX_init(context, store, NULL, NULL) != 1) {
		X509_STORE_CTX_free(context);
		return library_failed();
	}
	STACK_OF(X509) *issuers = X509_STORE_CTX_get1_certs(context, X509_CRL_get_issuer(list));
	bool is_known = sk_X509_num(issuers) > 0, is_signed = is_signed_by_one_of(list, issuers);
	OSSL_STACK_OF_X509_free(issuers);
	X509_STORE_CTX_free(context);
	ERR_clear_error();
	if (is_signed)
		return 0;
	X509_NAME_oneline(X509_CRL_get_issuer(list), issuer, (int)sizeof issuer);
	for (char *at = issuer; *at; at++)
		if (*at < 0x20 || *at > 0x7e)
			*at = '?';
	if (is_known)
		snprintf(problem, IDENTITY_PROBLEM_BYTES,
		         "revocation list %s: its signature is not of the CA that it names (%.150s)", names[1], issuer);
	else
		snprintf(
			problem, IDENTITY_PROBLEM_BYTES,
			"revocation list %s is of a CA that is not in CA file %s (%.150s). Add that CA's certificate there, or "
			"take the list out of the configuration",
			names[1], names[0], issuer);
	return CHAIN_REFUSED;
}

static int judge_list_time(X509_CRL *list, const char *path, char problem[IDENTITY_PROBLEM_BYTES])
{
	const ASN1_TIME *next = X509_CRL_get0_nextUpdate(list);
	char when[32];

	if (!next) {
		snprintf(problem, IDENTITY_PROBLEM_BYTES,
		         "revocation list %s does not say when the next one is due: nobody could tell when it is too old",
		         path);
		return CHAIN_REFUSED;
	}
	date_text(next, when);
	if (X509_cmp_current_time(next) < 0) {
		snprintf(problem, IDENTITY_PROBLEM_BYTES, "revocation list %s was to be replaced on %s: get the new one", path,
		         when);
		return CHAIN_REFUSED;
	}
	date_text(X509_CRL_get0_lastUpdate(list), when);
	if (X509_cmp_current_time(X509_CRL_get0_lastUpdate(list)) > 0) {
		snprintf(problem, IDENTITY_PROBLEM_BYTES,
		         "revocation list %s begins on %s only: is the clock of this machine right?", path, when);
		return CHAIN_REFUSED;
	}
	return 0;
}

int chain_load_lists(X509_STORE *store, const char *ca_path, const char *list_path,
                     char problem[IDENTITY_PROBLEM_BYTES])
{
	STACK_OF(X509_CRL) *lists = NULL;
	const char *names[2] = {ca_path, list_path};
	int result = pem_revocation_lists(list_path, &lists, problem);

	for (int i = 0; result == 0 && i < sk_X509_CRL_num(lists); i++) {
		X509_CRL *list = sk_X509_CRL_value(lists, i);
		result = judge_signer(store, list, names, problem);
		if (result == 0)
			result = judge_list_time(list, list_path, problem);
		if (result == 0 && X509_STORE_add_crl(store, list) != 1)
			result = library_failed();
	}
	if (result == 0 && X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL) != 1)
		result = library_failed();
	ERR_clear_error();
	pem_lists_free(lists);
	return result;
}

// ---- chains

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
	else if (error == X509_V_ERR_UNABLE_TO_GET_CRL)
		snprintf(reason, CHAIN_REASON_BYTES, "there is no revocation list of its issuer %.150s (%.150s)", text.issuer,
		         text.subject);
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
