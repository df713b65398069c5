#include "crypto/issue.h"

#include "core/secret.h"
#include "crypto/authority.h"
#include "crypto/build.h"
#include "crypto/issue_file.h"
#include "crypto/pair.h"
#include "crypto/refusal.h"
#include "crypto/san.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <string.h>
#include <strings.h>

_Static_assert((int)ISSUE_REFUSED == (int)REFUSAL && (int)ISSUE_REFUSED == (int)PAIR_REFUSED &&
                   (int)ISSUE_REFUSED == (int)AUTHORITY_REFUSED && (int)ISSUE_REFUSED == (int)BUILD_REFUSED,
               "refusals are passed up");
_Static_assert(ISSUE_PROBLEM_BYTES == REFUSAL_BYTES, "and so are their texts");
_Static_assert(ISSUE_PROBLEM_BYTES == PAIR_PROBLEM_BYTES, "and so are their texts");
_Static_assert(ISSUE_PROBLEM_BYTES == AUTHORITY_PROBLEM_BYTES, "and so are their texts");
_Static_assert(ISSUE_PROBLEM_BYTES == BUILD_PROBLEM_BYTES, "and so are their texts");

// ---- kinds of keys

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

EVP_PKEY *issue_make_key(enum issue_key key)
{
	return EVP_PKEY_Q_keygen(NULL, NULL, keys[key].algorithm, keys[key].group);
}

int issue_key_of(const EVP_PKEY *pkey, enum issue_key *key)
{
	char group[32] = "";

	for (size_t i = 0; i < COUNT_OF(keys); i++) {
		if (!EVP_PKEY_is_a(pkey, keys[i].algorithm))
			continue;
		if (keys[i].group && (EVP_PKEY_get_group_name(pkey, group, sizeof group, NULL) != 1 ||
		                      (strcmp(group, keys[i].group) != 0 && strcmp(group, "prime256v1") != 0)))
			continue;
		*key = (enum issue_key)i;
		return 0;
	}
	return 1;
}

// ---- what was asked for

static struct san_request names_of(const struct issue_request *request)
{
	return (struct san_request){.common_name = request->common_name,
	                            .dns_names = request->dns_names,
	                            .dns_count = request->dns_count,
	                            .ip_addresses = request->ip_addresses,
	                            .ip_count = request->ip_count,
	                            .is_server = request->kind == ISSUE_SERVER};
}

static int check_paths(const struct issue_request *request, char problem[ISSUE_PROBLEM_BYTES])
{
	const struct pair_paths paths = {request->out_cert_path, request->out_key_path, request->force};
	int result = 0;

	if (!request->out_cert_path || !request->out_key_path)
		return refusal(problem, "the paths for the certificate and the private key are both needed");
	if (request->kind != ISSUE_CA && (!request->ca_cert_path || !request->ca_key_path))
		return refusal(problem, "the paths of the CA's certificate and private key are both needed");
	if (request->kind != ISSUE_CA) {
		const struct authority_files files = {request->ca_cert_path, request->ca_key_path, request->index_path};
		result = issue_file_spare_ca(&files, request->out_cert_path, problem);
		if (result == 0)
			result = issue_file_spare_ca(&files, request->out_key_path, problem);
	}
	return result == 0 ? pair_check(&paths, problem) : result;
}

int issue_check_validity(unsigned days, uint64_t seconds, char problem[ISSUE_PROBLEM_BYTES])
{
	if (seconds > 0 && seconds <= ISSUE_MAX_DAYS * 86400ULL)
		return 0;
	if (seconds == 0 && days >= 1 && days <= ISSUE_MAX_DAYS)
		return 0;
	return refusal(problem, "a validity of %u days is not between 1 and %d", days, ISSUE_MAX_DAYS);
}

static int check_request(const struct issue_request *request, char problem[ISSUE_PROBLEM_BYTES])
{
	const struct san_request names = names_of(request);
	int result = build_check_common_name(request->common_name, problem);

	if (result == 0)
		result = issue_check_validity(request->validity_days, request->validity_s, problem);
	if (result == 0)
		result = san_check(&names, problem);
	if (result == 0)
		result = check_paths(request, problem);
	return result;
}

// ---- the certificate

static int make(const struct issue_request *request, const struct authority *authority, struct issue_file *file,
                char problem[ISSUE_PROBLEM_BYTES])
{
	const struct san_request wanted = names_of(request);
	GENERAL_NAMES *names = NULL;
	struct build_plan plan = {.is_ca = request->kind == ISSUE_CA,
	                          .is_server = request->kind == ISSUE_SERVER,
	                          .is_client = request->kind == ISSUE_CLIENT,
	                          .common_name = request->common_name,
	                          .validity_days = request->validity_days,
	                          .validity_s = request->validity_s};
	int result = 0;

	plan.key = file->key = issue_make_key(request->key);
	if (!plan.key)
		return refusal_by_library("making the key", problem);
	if (!plan.is_ca) {
		plan.issuer = authority_certificate(authority);
		plan.issuer_key = authority->key;
		result = san_make(&wanted, &names) ? 0 : refusal_by_library("filling the certificate", problem);
	}
	plan.names = names;
	if (result == 0)
		result = build_certificate(&plan, &file->certificate, problem);
	GENERAL_NAMES_free(names);
	return result;
}

int issue_certificate(const struct issue_request *request, char problem[ISSUE_PROBLEM_BYTES])
{
	const struct authority_files files = {request->ca_cert_path, request->ca_key_path, request->index_path};
	struct authority authority = {0};
	struct issue_file file = {.cert_path = request->out_cert_path,
	                          .key_path = request->out_key_path,
	                          .force = request->force};
	int result = check_request(request, problem);

	if (result == 0 && request->kind != ISSUE_CA)
		result = authority_open(&files, INDEX_TO_WRITE, &authority, problem);
	file.issuers = authority.issuers;
	if (result == 0)
		result = make(request, &authority, &file, problem);
	if (result == 0 && request->kind == ISSUE_CA)
		result = issue_file_write(&file, problem);
	else if (result == 0)
		result = authority_release(&authority, file.certificate, issue_file_write, &file, problem);
	issue_file_fini(&file);
	authority_close(&authority);
	ERR_clear_error();
	return result;
}
