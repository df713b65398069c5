#include "crypto/request.h"

#include "crypto/build.h"
#include "crypto/issue_file.h"
#include "crypto/issue_name.h"
#include "crypto/pair.h"
#include "crypto/pem.h"
#include "crypto/refusal.h"
#include "crypto/san.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <string.h>

_Static_assert((int)REQUEST_REFUSED == (int)REFUSAL && (int)REQUEST_REFUSED == (int)PEM_REFUSED &&
                   (int)REQUEST_REFUSED == (int)PAIR_REFUSED && (int)REQUEST_REFUSED == (int)SAN_REFUSED,
               "refusals are passed up");

static struct san_request names_of(const struct request_making *making)
{
	return (struct san_request){.common_name = making->common_name,
	                            .dns_names = making->dns_names,
	                            .dns_count = making->dns_count,
	                            .ip_addresses = making->ip_addresses,
	                            .ip_count = making->ip_count};
}

static int check_making(const struct request_making *making, char problem[REQUEST_PROBLEM_BYTES])
{
	const struct pair_paths paths = {making->out_path, making->out_key_path, making->force};
	const struct pair_single single = {"request", making->out_path, 0644, making->force};
	const struct san_request names = names_of(making);
	int result = build_check_common_name(making->common_name, problem);

	if (result == 0)
		result = san_check(&names, problem);
	if (result != 0)
		return result;
	return making->use_key_path ? pair_check_single(&single, problem) : pair_check(&paths, problem);
}

// ---- the request

static int set_subject(X509_REQ *request, const char *common_name, char problem[REQUEST_PROBLEM_BYTES])
{
	X509_NAME *name = X509_REQ_get_subject_name(request);

	if (X509_NAME_add_entry_by_NID(name, NID_organizationName, MBSTRING_UTF8, (const unsigned char *)"qanat", -1, -1,
	                               0) != 1)
		return refusal_by_library("filling the request", problem);
	if (X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8, (const unsigned char *)common_name, -1, -1,
	                               0) != 1)
		return refusal(problem, "the common name is longer than 64 characters or not UTF-8");
	return 0;
}

static bool add_names(X509_REQ *request, const struct san_request *wanted)
{
	GENERAL_NAMES *names = NULL;
	STACK_OF(X509_EXTENSION) *extensions = NULL;
	bool done = san_make(wanted, &names);

	if (done && sk_GENERAL_NAME_num(names) > 0)
		done = X509V3_add1_i2d(&extensions, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) == 1 &&
		       X509_REQ_add_extensions(request, extensions) == 1;
	sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
	GENERAL_NAMES_free(names);
	return done;
}

static int fill_and_sign(const struct request_making *making, EVP_PKEY *key, X509_REQ *request,
                         char problem[REQUEST_PROBLEM_BYTES])
{
	struct san_request names = names_of(making);
	uint8_t ignored[16];

	// An address is a name too when nothing else is given: whether it will be a server is the CA's word.
	const char *common_name = making->common_name;
	if (names.ip_count == 0 && names.dns_count == 0 && issue_parse_address(common_name, ignored) > 0) {
		names.ip_addresses = &common_name;
		names.ip_count = 1;
	}
	int result = X509_REQ_set_version(request, X509_REQ_VERSION_1) == 1 && X509_REQ_set_pubkey(request, key) == 1
	                 ? set_subject(request, making->common_name, problem)
	                 : refusal_by_library("filling the request", problem);
	if (result != 0)
		return result;
	if (!add_names(request, &names))
		return refusal_by_library("filling the request", problem);
	if (X509_REQ_sign(request, key, authority_digest(key)) <= 0 || X509_REQ_verify(request, key) != 1)
		return refusal_by_library("signing the request", problem);
	return 0;
}

static int write_request(const struct request_making *making, X509_REQ *request, char problem[REQUEST_PROBLEM_BYTES])
{
	const struct pair_single single = {"request", making->out_path, 0644, making->force};
	BIO *output = BIO_new(BIO_s_mem());
	char *bytes = NULL;
	int result;

	if (!output || PEM_write_bio_X509_REQ(output, request) != 1) {
		result = refusal_by_library("writing PEM", problem);
	} else {
		size_t length = (size_t)BIO_get_mem_data(output, &bytes);
		result = pair_write_single(&single, (struct pair_content){bytes, length}, problem);
	}
	BIO_free(output);
	return result;
}

int request_make(const struct request_making *making, char problem[REQUEST_PROBLEM_BYTES])
{
	X509_REQ *request = X509_REQ_new();
	EVP_PKEY *key = NULL;
	int result = request ? check_making(making, problem) : refusal_by_library("filling the request", problem);

	if (result == 0 && making->use_key_path)
		result = pem_private_key(making->use_key_path, &key, problem);
	else if (result == 0 && !(key = issue_make_key(making->key)))
		result = refusal_by_library("making the key", problem);
	if (result == 0)
		result = fill_and_sign(making, key, request, problem);
	if (result == 0 && !making->use_key_path)
		result = issue_file_write_key(key, making->out_key_path, making->force, problem);
	if (result == 0)
		result = write_request(making, request, problem);
	EVP_PKEY_free(key);
	X509_REQ_free(request);
	ERR_clear_error();
	return result;
}
