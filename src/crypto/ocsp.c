#include "crypto/ocsp.h"

#include "crypto/pem.h"
#include "limits.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ocsp.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

_Static_assert((int)OCSP_REFUSED == (int)PEM_REFUSED && IDENTITY_PROBLEM_BYTES == PEM_PROBLEM_BYTES,
               "refusals are passed up");

// The clocks of responders and ours differ a little, so a new response may seem to be one of tomorrow.
enum { CLOCK_SKEW_S = 300 };

PRINTF_LIKE(2, 3) static int refuse(char problem[IDENTITY_PROBLEM_BYTES], const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(problem, IDENTITY_PROBLEM_BYTES, format, arguments);
	va_end(arguments);
	ERR_clear_error();
	return OCSP_REFUSED;
}

void ocsp_fini(struct ocsp_staple *staple)
{
	free(staple->bytes);
	*staple = (struct ocsp_staple){0};
}

bool ocsp_is_current(const struct ocsp_staple *staple)
{
	return (int64_t)time(NULL) < staple->until;
}

// ---- who issued the leaf

static bool issued(X509 *issuer, X509 *leaf)
{
	return X509_check_issued(issuer, leaf) == X509_V_OK && X509_verify(leaf, X509_get0_pubkey(issuer)) == 1;
}

static X509 *find_among(STACK_OF(X509) * others, X509 *leaf)
{
	for (int i = 0; i < sk_X509_num(others); i++)
		if (issued(sk_X509_value(others, i), leaf))
			return sk_X509_value(others, i);
	return NULL;
}

// A reference; NULL: not known here.
static X509 *issuer_of(const struct ocsp_subject *subject)
{
	X509 *issuer = find_among(subject->others, subject->leaf);
	if (!issuer && subject->store) {
		STACK_OF(X509) *believed = X509_STORE_get1_all_certs(subject->store);
		issuer = find_among(believed, subject->leaf);
		if (issuer)
			X509_up_ref(issuer);
		OSSL_STACK_OF_X509_free(believed);
		return issuer;
	}
	if (issuer)
		X509_up_ref(issuer);
	return issuer;
}

// ---- what the response says

// The name is that of the leaf's issuer in whatever hash the responder likes; its key is checked by the signature.
static bool is_about(const OCSP_SINGLERESP *single, const X509 *leaf)
{
	ASN1_OCTET_STRING *name_hash = NULL;
	ASN1_OBJECT *algorithm = NULL;
	ASN1_INTEGER *serial = NULL;
	uint8_t digest[EVP_MAX_MD_SIZE];
	unsigned length = 0;
	OCSP_CERTID *id = (OCSP_CERTID *)OCSP_SINGLERESP_get0_id(single);
	if (OCSP_id_get0_info(&name_hash, &algorithm, NULL, &serial, id) != 1)
		return false;
	const EVP_MD *md = EVP_get_digestbyobj(algorithm);
	return md && ASN1_INTEGER_cmp(serial, X509_get0_serialNumber(leaf)) == 0 &&
	       X509_NAME_digest(X509_get_issuer_name(leaf), md, digest, &length) == 1 &&
	       (unsigned)ASN1_STRING_length(name_hash) == length &&
	       memcmp(ASN1_STRING_get0_data(name_hash), digest, length) == 0;
}

static OCSP_SINGLERESP *find_single(OCSP_BASICRESP *basic, const X509 *leaf)
{
	for (int i = 0; i < OCSP_resp_count(basic); i++)
		if (is_about(OCSP_resp_get0(basic, i), leaf))
			return OCSP_resp_get0(basic, i);
	return NULL;
}

static int64_t unix_seconds(const ASN1_GENERALIZEDTIME *when)
{
	struct tm parts = {0};
	return when && ASN1_TIME_to_tm(when, &parts) == 1 ? (int64_t)timegm(&parts) : 0;
}

static int judge_single(const char *path, OCSP_BASICRESP *basic, const X509 *leaf, int64_t *until,
                        char problem[IDENTITY_PROBLEM_BYTES])
{
	ASN1_GENERALIZEDTIME *this_update = NULL, *next_update = NULL;
	OCSP_SINGLERESP *single = find_single(basic, leaf);
	if (!single)
		return refuse(problem, "OCSP response %s is not about our certificate: ask for one again, with its issuer",
		              path);
	int status = OCSP_single_get0_status(single, NULL, NULL, &this_update, &next_update);
	if (status != V_OCSP_CERTSTATUS_GOOD)
		return refuse(problem, "OCSP response %s says that our certificate is %s", path,
		              status == V_OCSP_CERTSTATUS_REVOKED ? "revoked: get a new one" : "unknown to its CA");
	if (!next_update)
		return refuse(problem,
		              "OCSP response %s does not say when the next is due: nobody could tell when it is too old", path);
	*until = unix_seconds(next_update);
	if (OCSP_check_validity(this_update, next_update, CLOCK_SKEW_S, -1) == 1 && *until > (int64_t)time(NULL))
		return 0;
	bool is_early = ERR_GET_REASON(ERR_peek_error()) == OCSP_R_STATUS_NOT_YET_VALID;
	return refuse(problem, "OCSP response %s %s", path,
	              is_early ? "begins later only: is the clock of this machine right?"
	                       : "was to be replaced already: get the new one");
}

static int judge_signer(const char *path, OCSP_BASICRESP *basic, X509 *issuer, char problem[IDENTITY_PROBLEM_BYTES])
{
	STACK_OF(X509) *known = sk_X509_new_null();
	X509_STORE *store = X509_STORE_new();
	int r = 0;
	// The issuer itself, or who has its leave (id-kp-OCSPSigning) and is shown in the response. The issuer is believed
	// though it may not be a root.
	if (!known || !store || sk_X509_push(known, issuer) <= 0 || X509_STORE_add_cert(store, issuer) != 1 ||
	    X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN) != 1)
		r = -ENOMEM;
	else if (OCSP_basic_verify(basic, known, store, OCSP_PARTIAL_CHAIN) != 1)
		r = refuse(problem, "OCSP response %s is signed by somebody who may not speak for the CA of our certificate",
		           path);
	sk_X509_free(known);
	X509_STORE_free(store);
	ERR_clear_error();
	return r;
}

static int judge_basic(const char *path, OCSP_BASICRESP *basic, const struct ocsp_subject *subject, int64_t *until,
                       char problem[IDENTITY_PROBLEM_BYTES])
{
	int r = judge_single(path, basic, subject->leaf, until, problem);
	X509 *issuer = r == 0 ? issuer_of(subject) : NULL;
	if (issuer)
		r = judge_signer(path, basic, issuer, problem);
	X509_free(issuer);
	return r;
}

static int judge(const char *path, struct ocsp_staple *staple, const struct ocsp_subject *subject,
                 char problem[IDENTITY_PROBLEM_BYTES])
{
	const uint8_t *at = staple->bytes;
	OCSP_RESPONSE *response = d2i_OCSP_RESPONSE(NULL, &at, (long)staple->length);
	if (!response || at != staple->bytes + staple->length) {
		OCSP_RESPONSE_free(response);
		return refuse(problem, "OCSP response %s is not one in DER form, as `openssl ocsp -respout` writes it", path);
	}
	int status = OCSP_response_status(response);
	OCSP_BASICRESP *basic = status == OCSP_RESPONSE_STATUS_SUCCESSFUL ? OCSP_response_get1_basic(response) : NULL;
	int r = basic ? judge_basic(path, basic, subject, &staple->until, problem)
	              : refuse(problem, "OCSP response %s is an error of the responder: %s", path,
	                       OCSP_response_status_str(status));
	OCSP_BASICRESP_free(basic);
	OCSP_RESPONSE_free(response);
	return r;
}

int ocsp_load(const char *path, const struct ocsp_subject *subject, struct ocsp_staple *staple,
              char problem[IDENTITY_PROBLEM_BYTES])
{
	struct ocsp_staple fresh = {0};
	int r = pem_other(path, "OCSP response", &fresh.bytes, &fresh.length, problem);
	if (r == 0 && fresh.length > LIMIT_STAPLE_BYTES)
		r = refuse(problem, "OCSP response %s is larger than %d bytes, and every client would get it", path,
		           LIMIT_STAPLE_BYTES);
	if (r == 0)
		r = judge(path, &fresh, subject, problem);
	ERR_clear_error();
	if (r == 0)
		*staple = fresh;
	else
		ocsp_fini(&fresh);
	return r;
}
