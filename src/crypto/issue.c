#include "crypto/issue.h"

#include "core/secret.h"
#include "crypto/digest.h"
#include "crypto/identity.h"
#include "crypto/issue_name.h"
#include "crypto/pair.h"
#include "crypto/pem.h"

#include <errno.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>

_Static_assert((int)ISSUE_REFUSED == (int)PEM_REFUSED && (int)ISSUE_REFUSED == (int)PAIR_REFUSED,
               "refusals are passed up");
_Static_assert(ISSUE_PROBLEM_BYTES == PEM_PROBLEM_BYTES, "and so are their texts");
_Static_assert(ISSUE_PROBLEM_BYTES == PAIR_PROBLEM_BYTES, "and so are their texts");

enum {
	// A peer whose clock is a little behind must not find the certificate "not yet valid".
	ISSUE_BACKDATE_S = 3600,
	ISSUE_DAY_S = 86400,
	ISSUE_SERIAL_BYTES = 20,
};

static const struct {
	const char *word;
	const char *algorithm;
	char *group; // EVP_PKEY_Q_keygen's further argument
} keys[] = {
	[ISSUE_KEY_P256] = {"p256", "EC", "P-256"},
	[ISSUE_KEY_ED25519] = {"ed25519", "ED25519", NULL},
	[ISSUE_KEY_ML_DSA_65] = {"ml-dsa-65", "ML-DSA-65", NULL},
	[ISSUE_KEY_ML_DSA_87] = {"ml-dsa-87", "ML-DSA-87", NULL},
};
_Static_assert(COUNT_OF(keys) == ISSUE_KEY_ML_DSA_87 + 1, "a name for every kind of key");

const char *issue_key_name(enum issue_key key)
{
	return keys[key].word;
}

int issue_key_parse(const char *word, enum issue_key *key)
{
	for (size_t i = 0; i < COUNT_OF(keys); i++) {
		if (strcasecmp(word, keys[i].word) == 0) {
			*key = (enum issue_key)i;
			return 0;
		}
	}
	return 1;
}

// What one certificate is made of. The CA's parts are those of the new certificate itself when a CA is made.
struct making {
	EVP_PKEY *key;
	X509 *certificate;
	STACK_OF(X509) * issuers; // the CA certificate first; NULL when a CA is made
	EVP_PKEY *issuer_key;
};

static void making_fini(struct making *making)
{
	EVP_PKEY_free(making->key);
	X509_free(making->certificate);
	OSSL_STACK_OF_X509_free(making->issuers);
	EVP_PKEY_free(making->issuer_key);
	*making = (struct making){0};
}

PRINTF_LIKE(2, 3) static int refuse(char problem[ISSUE_PROBLEM_BYTES], const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(problem, ISSUE_PROBLEM_BYTES, format, arguments);
	va_end(arguments);
	ERR_clear_error();
	return ISSUE_REFUSED;
}

static int library_failed(const char *doing, char problem[ISSUE_PROBLEM_BYTES])
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());

	return refuse(problem, "the crypto library failed while %s: %s", doing, reason ? reason : "no reason given");
}

// ---- what was asked for

static int check_common_name(const char *name, char problem[ISSUE_PROBLEM_BYTES])
{
	if (!name || !name[0])
		return refuse(problem, "the common name is empty");
	for (const char *at = name; *at; at++) {
		if ((unsigned char)*at < 0x20 || *at == 0x7f)
			return refuse(problem, "the common name holds a control character");
	}
	return 0;
}

static int check_names(const struct issue_request *request, char problem[ISSUE_PROBLEM_BYTES])
{
	uint8_t bytes[16];

	for (size_t i = 0; i < request->dns_count; i++) {
		const char *name = request->dns_names[i], *fault = issue_host_name_fault(name, true);
		if (fault && issue_parse_address(name, bytes) > 0)
			return refuse(problem, "'%s' is an address, not a DNS name: give it with --ip-addresses", name);
		if (fault)
			return refuse(problem, "'%s' is not a DNS name: %s", name, fault);
	}
	for (size_t i = 0; i < request->ip_count; i++) {
		if (issue_parse_address(request->ip_addresses[i], bytes) == 0)
			return refuse(problem, "'%s' is not an IPv4 or IPv6 address (no brackets, no port, no zone)",
			              request->ip_addresses[i]);
	}
	if (request->kind == ISSUE_SERVER && request->dns_count == 0 && request->ip_count == 0 &&
	    issue_host_name_fault(request->common_name, true) && issue_parse_address(request->common_name, bytes) == 0)
		return refuse(
			problem,
			"a server certificate needs the names it is reached by: '%s' is neither a host name nor an address, so "
			"give --dns-names or --ip-addresses",
			request->common_name);
	return 0;
}

static bool is_same_file(const char *a, const char *b)
{
	struct stat info_a, info_b;

	return stat(a, &info_a) == 0 && stat(b, &info_b) == 0 && info_a.st_dev == info_b.st_dev &&
	       info_a.st_ino == info_b.st_ino;
}

static int check_paths(const struct issue_request *request, char problem[ISSUE_PROBLEM_BYTES])
{
	const struct pair_paths paths = {request->out_cert_path, request->out_key_path, request->force};
	const char *const outputs[] = {request->out_cert_path, request->out_key_path};

	if (!request->out_cert_path || !request->out_key_path)
		return refuse(problem, "the paths for the certificate and the private key are both needed");
	if (request->kind != ISSUE_CA && (!request->ca_cert_path || !request->ca_key_path))
		return refuse(problem, "the paths of the CA's certificate and private key are both needed");
	for (size_t i = 0; request->kind != ISSUE_CA && i < COUNT_OF(outputs); i++) {
		if (is_same_file(outputs[i], request->ca_cert_path) || is_same_file(outputs[i], request->ca_key_path))
			return refuse(problem, "%s is the CA's own file; choose another name", outputs[i]);
	}
	return pair_check(&paths, problem);
}

static int check_request(const struct issue_request *request, char problem[ISSUE_PROBLEM_BYTES])
{
	int result = check_common_name(request->common_name, problem);

	if (result == 0 && (request->validity_days < 1 || request->validity_days > ISSUE_MAX_DAYS))
		result = refuse(problem, "a validity of %u days is not between 1 and %d", request->validity_days,
		                ISSUE_MAX_DAYS);
	if (result == 0)
		result = check_names(request, problem);
	if (result == 0)
		result = check_paths(request, problem);
	return result;
}

// ---- the CA that signs

static int check_ca(const struct issue_request *request, X509 *certificate, EVP_PKEY *key,
                    char problem[ISSUE_PROBLEM_BYTES])
{
	if (X509_check_private_key(certificate, key) != 1)
		return refuse(problem, "CA key %s does not belong to CA certificate %s", request->ca_key_path,
		              request->ca_cert_path);
	if (X509_check_ca(certificate) != 1)
		return refuse(
			problem,
			"%s is not a CA certificate (basicConstraints CA:TRUE and keyCertSign). Make one with: qanat cert ca",
			request->ca_cert_path);
	if (X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0)
		return refuse(
			problem,
			"CA certificate %s has expired; nothing it signs would be accepted. Make a new one with: qanat cert ca",
			request->ca_cert_path);
	if (X509_cmp_current_time(X509_get0_notBefore(certificate)) > 0)
		return refuse(problem, "CA certificate %s is not valid yet: is the clock of this machine right?",
		              request->ca_cert_path);
	return 0;
}

static int load_ca(const struct issue_request *request, struct making *making, char problem[ISSUE_PROBLEM_BYTES])
{
	int result = pem_certificates(request->ca_cert_path, "CA certificate", PEM_TO_RELY_ON, &making->issuers, problem);

	if (result == 0)
		result = pem_private_key(request->ca_key_path, &making->issuer_key, problem);
	if (result == 0)
		result = check_ca(request, sk_X509_value(making->issuers, 0), making->issuer_key, problem);
	return result;
}

// ---- the certificate

static bool set_serial(X509 *certificate)
{
	uint8_t bytes[ISSUE_SERIAL_BYTES];

	random_bytes(bytes, sizeof bytes);
	// Spec: RFC 5280 4.1.2.2, positive and at most 20 octets: 159 bits are left.
	bytes[0] &= 0x7f;
	BIGNUM *number = BN_bin2bn(bytes, sizeof bytes, NULL);
	bool done = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != NULL;
	BN_free(number);
	return done;
}

// Never beyond the CA's own time: a leaf that outlives its CA only looks valid.
static bool set_times(const struct issue_request *request, X509 *certificate, X509 *issuer)
{
	int64_t now = (int64_t)time(NULL);
	int64_t from = now - ISSUE_BACKDATE_S, to = now + (int64_t)request->validity_days * ISSUE_DAY_S;

	if (issuer != certificate) {
		struct identity_text text;
		identity_describe(issuer, &text);
		from = from < text.not_before ? text.not_before : from;
		to = to > text.not_after ? text.not_after : to;
	}
	return ASN1_TIME_set(X509_getm_notBefore(certificate), (time_t)from) &&
	       ASN1_TIME_set(X509_getm_notAfter(certificate), (time_t)to);
}

static int set_subject(const struct issue_request *request, X509 *certificate, char problem[ISSUE_PROBLEM_BYTES])
{
	X509_NAME *name = X509_get_subject_name(certificate);
	const unsigned char *common_name = (const unsigned char *)request->common_name;

	if (X509_NAME_add_entry_by_NID(name, NID_organizationName, MBSTRING_UTF8, (const unsigned char *)"qanat", -1, -1,
	                               0) != 1)
		return library_failed("naming the certificate", problem);
	if (X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8, common_name, -1, -1, 0) != 1)
		return refuse(problem, "the common name is longer than 64 characters or not UTF-8");
	return 0;
}

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

static bool push_name(GENERAL_NAMES *names, int type, const void *bytes, size_t length)
{
	GENERAL_NAME *name = GENERAL_NAME_new();
	ASN1_STRING *value = ASN1_STRING_type_new(type == GEN_DNS ? V_ASN1_IA5STRING : V_ASN1_OCTET_STRING);

	if (!name || !value || ASN1_STRING_set(value, bytes, (int)length) != 1) {
		ASN1_STRING_free(value);
		GENERAL_NAME_free(name);
		return false;
	}
	GENERAL_NAME_set0_value(name, type, value);
	if (sk_GENERAL_NAME_push(names, name) > 0)
		return true;
	GENERAL_NAME_free(name);
	return false;
}

static bool push_address(GENERAL_NAMES *names, const char *literal)
{
	uint8_t bytes[16];
	size_t length = issue_parse_address(literal, bytes);

	return length > 0 && push_name(names, GEN_IPADD, bytes, length);
}

// The names given; without any, the common name where it can be one.
static bool push_names(const struct issue_request *request, GENERAL_NAMES *names)
{
	const char *common_name = request->common_name;
	uint8_t bytes[16];
	bool done = true;

	for (size_t i = 0; done && i < request->dns_count; i++)
		done = push_name(names, GEN_DNS, request->dns_names[i], strlen(request->dns_names[i]));
	for (size_t i = 0; done && i < request->ip_count; i++)
		done = push_address(names, request->ip_addresses[i]);
	if (!done || sk_GENERAL_NAME_num(names) > 0)
		return done;
	if (!issue_host_name_fault(common_name, request->kind == ISSUE_SERVER))
		return push_name(names, GEN_DNS, common_name, strlen(common_name));
	if (request->kind == ISSUE_SERVER && issue_parse_address(common_name, bytes) > 0)
		return push_address(names, common_name);
	return true;
}

static bool add_names(const struct issue_request *request, X509 *certificate)
{
	GENERAL_NAMES *names = GENERAL_NAMES_new();
	bool done = names && push_names(request, names);

	if (done && sk_GENERAL_NAME_num(names) > 0)
		done = X509_add1_ext_i2d(certificate, NID_subject_alt_name, names, 0, 0) == 1;
	GENERAL_NAMES_free(names);
	return done;
}

// Spec: RFC 5280 4.2.1
static bool add_extensions(const struct issue_request *request, X509 *certificate, X509 *issuer)
{
	bool is_ca = request->kind == ISSUE_CA;

	if (!add_extension(certificate, issuer, NID_basic_constraints,
	                   is_ca ? "critical,CA:TRUE,pathlen:0" : "critical,CA:FALSE") ||
	    !add_extension(certificate, issuer, NID_key_usage,
	                   is_ca ? "critical,keyCertSign,cRLSign" : "critical,digitalSignature") ||
	    !add_extension(certificate, issuer, NID_subject_key_identifier, "hash") ||
	    !add_extension(certificate, issuer, NID_authority_key_identifier, is_ca ? "keyid:always" : "keyid,issuer"))
		return false;
	if (is_ca)
		return true;
	return add_extension(certificate, issuer, NID_ext_key_usage,
	                     request->kind == ISSUE_SERVER ? "serverAuth" : "clientAuth") &&
	       add_names(request, certificate);
}

// Ed25519 and ML-DSA hash by themselves.
static const EVP_MD *signing_digest(const EVP_PKEY *key)
{
	if (!EVP_PKEY_is_a(key, "EC") && !EVP_PKEY_is_a(key, "RSA") && !EVP_PKEY_is_a(key, "RSA-PSS"))
		return NULL;
	return EVP_PKEY_is_a(key, "EC") && EVP_PKEY_get_bits(key) > 256 ? EVP_sha384() : EVP_sha256();
}

static int make_certificate(const struct issue_request *request, struct making *making,
                            char problem[ISSUE_PROBLEM_BYTES])
{
	X509 *certificate = making->certificate = X509_new();
	X509 *issuer = making->issuers ? sk_X509_value(making->issuers, 0) : certificate;
	EVP_PKEY *signer = making->issuer_key ? making->issuer_key : making->key;

	if (!certificate || X509_set_version(certificate, X509_VERSION_3) != 1 || !set_serial(certificate) ||
	    !set_times(request, certificate, issuer) || X509_set_pubkey(certificate, making->key) != 1)
		return library_failed("filling the certificate", problem);
	int result = set_subject(request, certificate, problem);
	if (result != 0)
		return result;
	// A leaf with its CA's name looks self-issued, which verifiers treat in different ways.
	if (issuer != certificate && X509_NAME_cmp(X509_get_subject_name(certificate), X509_get_subject_name(issuer)) == 0)
		return refuse(problem, "the common name '%s' is the CA's own; choose another one", request->common_name);
	if (X509_set_issuer_name(certificate, X509_get_subject_name(issuer)) != 1 ||
	    !add_extensions(request, certificate, issuer))
		return library_failed("filling the certificate", problem);
	if (X509_sign(certificate, signer, signing_digest(signer)) <= 0 || X509_verify(certificate, signer) != 1)
		return library_failed("signing the certificate", problem);
	return 0;
}

// ---- the files

static bool is_self_signed(X509 *certificate)
{
	return X509_self_signed(certificate, 0) == 1;
}

// The leaf, then the CA and what follows it in its file as far as those are intermediates.
static bool print_certificates(const struct making *making, BIO *output)
{
	bool done = PEM_write_bio_X509(output, making->certificate) == 1;

	for (int i = 0; done && i < sk_X509_num(making->issuers); i++) {
		X509 *issuer = sk_X509_value(making->issuers, i);
		if (is_self_signed(issuer))
			break;
		done = PEM_write_bio_X509(output, issuer) == 1;
	}
	return done;
}

static int write_files(const struct issue_request *request, const struct making *making,
                       char problem[ISSUE_PROBLEM_BYTES])
{
	const struct pair_paths paths = {request->out_cert_path, request->out_key_path, request->force};
	BIO *cert = BIO_new(BIO_s_mem()), *key = BIO_new(BIO_s_secmem());
	char *cert_bytes = NULL, *key_bytes = NULL;
	int result;

	if (!cert || !key || !print_certificates(making, cert) ||
	    PEM_write_bio_PrivateKey(key, making->key, NULL, NULL, 0, NULL, NULL) != 1) {
		result = library_failed("writing PEM", problem);
	} else {
		size_t cert_length = (size_t)BIO_get_mem_data(cert, &cert_bytes);
		size_t key_length = (size_t)BIO_get_mem_data(key, &key_bytes);
		result = pair_write(&paths, (struct pair_content){cert_bytes, cert_length},
		                    (struct pair_content){key_bytes, key_length}, problem);
		secret_wipe(key_bytes, key_length);
	}
	BIO_free(cert);
	BIO_free(key);
	return result;
}

int issue_certificate(const struct issue_request *request, char problem[ISSUE_PROBLEM_BYTES])
{
	struct making making = {0};
	int result = check_request(request, problem);

	if (result == 0 && request->kind != ISSUE_CA)
		result = load_ca(request, &making, problem);
	if (result == 0) {
		making.key = EVP_PKEY_Q_keygen(NULL, NULL, keys[request->key].algorithm, keys[request->key].group);
		if (!making.key)
			result = library_failed("making the key", problem);
	}
	if (result == 0)
		result = make_certificate(request, &making, problem);
	if (result == 0)
		result = write_files(request, &making, problem);
	making_fini(&making);
	ERR_clear_error();
	return result;
}
