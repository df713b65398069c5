#include "crypto/build.h"

#include "crypto/authority.h"
#include "crypto/digest.h"
#include "crypto/identity.h"
#include "crypto/refusal.h"

#include <openssl/bn.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <time.h>

_Static_assert((int)BUILD_REFUSED == (int)REFUSAL && BUILD_PROBLEM_BYTES == REFUSAL_BYTES, "refusals are passed up");

enum {
	// A peer whose clock is a little behind must not find the certificate "not yet valid".
	BUILD_BACKDATE_S = 3600,
	BUILD_DAY_S = 86400,
	BUILD_SERIAL_BYTES = 20,
};

int build_check_common_name(const char *name, char problem[BUILD_PROBLEM_BYTES])
{
	if (!name || !name[0])
		return refusal(problem, "the common name is empty");
	for (const char *at = name; *at; at++) {
		if ((unsigned char)*at < 0x20 || *at == 0x7f)
			return refusal(problem, "the common name holds a control character");
	}
	return 0;
}

static bool set_serial(X509 *certificate)
{
	uint8_t bytes[BUILD_SERIAL_BYTES];

	random_bytes(bytes, sizeof bytes);
	// Spec: RFC 5280 4.1.2.2, positive and at most 20 octets: 159 bits are left.
	bytes[0] &= 0x7f;
	BIGNUM *number = BN_bin2bn(bytes, sizeof bytes, NULL);
	bool done = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != NULL;
	BN_free(number);
	return done;
}

// Never beyond the CA's own time: a leaf that outlives its CA only looks valid. It begins an hour ago, because clocks
// differ, or a tenth of its life when that is short: it would be half over.
static bool set_times(const struct build_plan *plan, X509 *certificate)
{
	int64_t now = (int64_t)time(NULL);
	int64_t length = plan->validity_s ? (int64_t)plan->validity_s : (int64_t)plan->validity_days * BUILD_DAY_S;
	int64_t from = now - (length / 10 < BUILD_BACKDATE_S ? length / 10 : BUILD_BACKDATE_S), to = now + length;

	if (plan->issuer) {
		struct identity_text text;
		identity_describe(plan->issuer, &text);
		from = from < text.not_before ? text.not_before : from;
		to = to > text.not_after ? text.not_after : to;
	}
	return ASN1_TIME_set(X509_getm_notBefore(certificate), (time_t)from) &&
	       ASN1_TIME_set(X509_getm_notAfter(certificate), (time_t)to);
}

static int set_subject(const struct build_plan *plan, X509 *certificate, char problem[BUILD_PROBLEM_BYTES])
{
	X509_NAME *name = X509_get_subject_name(certificate);
	const unsigned char *common_name = (const unsigned char *)plan->common_name;

	if (plan->model)
		return X509_set_subject_name(certificate, X509_get_subject_name(plan->model)) == 1
		           ? 0
		           : refusal_by_library("naming the certificate", problem);
	int result = build_check_common_name(plan->common_name, problem);
	if (result != 0)
		return result;
	if (X509_NAME_add_entry_by_NID(name, NID_organizationName, MBSTRING_UTF8, (const unsigned char *)"qanat", -1, -1,
	                               0) != 1)
		return refusal_by_library("naming the certificate", problem);
	if (X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8, common_name, -1, -1, 0) != 1)
		return refusal(problem, "the common name is longer than 64 characters or not UTF-8");
	return 0;
}

// ---- extensions

static bool add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX context;

	X509V3_set_ctx_nodb(&context);
	X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
	X509_EXTENSION *extension = X509V3_EXT_nconf_nid(NULL, &context, nid, value);
	bool done = extension && X509_add_ext(certificate, extension, -1) == 1;
	X509_EXTENSION_free(extension);
	return done;
}

static bool copy_extension(X509 *certificate, X509 *model, int nid)
{
	int at = X509_get_ext_by_NID(model, nid, -1);

	return at < 0 || X509_add_ext(certificate, X509_get_ext(model, at), -1) == 1;
}

static bool add_usages(const struct build_plan *plan, X509 *certificate, X509 *issuer)
{
	const char *purpose = plan->is_server && plan->is_client ? "serverAuth,clientAuth"
	                      : plan->is_server                  ? "serverAuth"
	                                                         : "clientAuth";

	if (plan->model)
		return copy_extension(certificate, plan->model, NID_key_usage) &&
		       copy_extension(certificate, plan->model, NID_ext_key_usage) &&
		       copy_extension(certificate, plan->model, NID_subject_alt_name);
	if (!add_extension(certificate, issuer, NID_key_usage,
	                   plan->is_ca ? "critical,keyCertSign,cRLSign" : "critical,digitalSignature"))
		return false;
	if (plan->is_ca)
		return true;
	if (!add_extension(certificate, issuer, NID_ext_key_usage, purpose))
		return false;
	return !plan->names || sk_GENERAL_NAME_num(plan->names) == 0 ||
	       X509_add1_ext_i2d(certificate, NID_subject_alt_name, (void *)plan->names, 0, 0) == 1;
}

// Spec: RFC 5280 4.2.1
static bool add_extensions(const struct build_plan *plan, X509 *certificate, X509 *issuer)
{
	return add_extension(certificate, issuer, NID_basic_constraints,
	                     plan->is_ca ? "critical,CA:TRUE,pathlen:0" : "critical,CA:FALSE") &&
	       add_extension(certificate, issuer, NID_subject_key_identifier, "hash") &&
	       add_extension(certificate, issuer, NID_authority_key_identifier,
	                     plan->is_ca ? "keyid:always" : "keyid,issuer") &&
	       add_usages(plan, certificate, issuer);
}

static int fill_and_sign(const struct build_plan *plan, X509 *certificate, char problem[BUILD_PROBLEM_BYTES])
{
	X509 *issuer = plan->issuer ? plan->issuer : certificate;
	EVP_PKEY *signer = plan->issuer ? plan->issuer_key : plan->key;

	if (X509_set_version(certificate, X509_VERSION_3) != 1 || !set_serial(certificate) ||
	    !set_times(plan, certificate) || X509_set_pubkey(certificate, plan->key) != 1)
		return refusal_by_library("filling the certificate", problem);
	int result = set_subject(plan, certificate, problem);
	if (result != 0)
		return result;
	// A leaf with its CA's name looks self-issued, which verifiers treat in different ways.
	if (issuer != certificate && X509_NAME_cmp(X509_get_subject_name(certificate), X509_get_subject_name(issuer)) == 0)
		return refusal(problem, "the common name '%s' is the CA's own; choose another one",
		               plan->common_name ? plan->common_name : "of the certificate");
	if (X509_set_issuer_name(certificate, X509_get_subject_name(issuer)) != 1 ||
	    !add_extensions(plan, certificate, issuer))
		return refusal_by_library("filling the certificate", problem);
	if (X509_sign(certificate, signer, authority_digest(signer)) <= 0 || X509_verify(certificate, signer) != 1)
		return refusal_by_library("signing the certificate", problem);
	return 0;
}

int build_certificate(const struct build_plan *plan, X509 **out, char problem[BUILD_PROBLEM_BYTES])
{
	X509 *certificate = X509_new();
	int result = certificate ? fill_and_sign(plan, certificate, problem)
	                         : refusal_by_library("filling the certificate", problem);

	if (result == 0)
		*out = certificate;
	else
		X509_free(certificate);
	return result;
}

bool build_print(X509 *certificate, STACK_OF(X509) * issuers, BIO *output)
{
	bool done = PEM_write_bio_X509(output, certificate) == 1;

	for (int i = 0; done && i < sk_X509_num(issuers); i++) {
		X509 *issuer = sk_X509_value(issuers, i);
		if (X509_self_signed(issuer, 0) == 1)
			break;
		done = PEM_write_bio_X509(output, issuer) == 1;
	}
	return done;
}
