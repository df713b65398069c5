#include "crypto/renew.h"

#include "crypto/build.h"
#include "crypto/issue_file.h"
#include "crypto/pair.h"
#include "crypto/pem.h"
#include "crypto/refusal.h"

#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <string.h>

static int check_paths(const struct renew_request *request, char problem[ISSUE_PROBLEM_BYTES])
{
	const struct pair_paths paths = {request->out_cert_path, request->out_key_path, request->force};
	const struct pair_single single = {"certificate", request->out_cert_path, 0644, request->force};
	int result = issue_file_spare_ca(&request->ca, request->out_cert_path, problem);

	if (result != 0 || !request->new_key)
		return result == 0 ? pair_check_single(&single, problem) : result;
	result = issue_file_spare_ca(&request->ca, request->out_key_path, problem);
	return result == 0 ? pair_check(&paths, problem) : result;
}

// The extensions that the new one has too.
static int check_extensions(X509 *old, const char *path, char problem[ISSUE_PROBLEM_BYTES])
{
	static const int kept[] = {NID_basic_constraints,        NID_key_usage,     NID_subject_key_identifier,
	                           NID_authority_key_identifier, NID_ext_key_usage, NID_subject_alt_name};

	for (int i = 0; i < X509_get_ext_count(old); i++) {
		const ASN1_OBJECT *object = X509_EXTENSION_get_object(X509_get_ext(old, i));
		char name[64] = "";
		size_t at = 0;
		while (at < COUNT_OF(kept) && kept[at] != OBJ_obj2nid(object))
			at++;
		if (at < COUNT_OF(kept))
			continue;
		OBJ_obj2txt(name, sizeof name, object, 0);
		return refusal(problem, "certificate %s has an extension that would be lost (%s): issue a new one", path, name);
	}
	return 0;
}

int renew_judge_origin(const struct authority *authority, X509 *old, const char *name, const char *ca_name,
                       char problem[ISSUE_PROBLEM_BYTES])
{
	if (!authority_has_signed(authority, old))
		return refusal(problem, "certificate %s was not issued by CA %s", name, ca_name);
	if (X509_check_ca(old) != 0)
		return refusal(problem, "certificate %s is a CA's own. Make a CA with: qanat cert ca", name);
	return 0;
}

int renew_judge(const struct authority *authority, X509 *old, const char *name, const char *ca_name,
                char problem[ISSUE_PROBLEM_BYTES])
{
	struct index_entry entry;
	int result = renew_judge_origin(authority, old, name, ca_name, problem);

	if (result != 0)
		return result;
	authority_describe(old, &entry);
	if (strcmp(entry.usage, "-") == 0)
		return refusal(problem, "certificate %s is for neither a server nor a client: no peer would accept it", name);
	const struct index_entry *known = index_find(authority->index, entry.serial);
	if (known && known->revoked_at)
		return refusal(problem,
		               "certificate %s is revoked (%s). Issue a new one with: qanat cert server, client or sign", name,
		               index_reason_name(known->reason));
	return check_extensions(old, name, problem);
}

static int choose_key(const struct renew_request *request, X509 *old, EVP_PKEY **made,
                      char problem[ISSUE_PROBLEM_BYTES])
{
	EVP_PKEY *key = X509_get0_pubkey(old);
	enum issue_key kind = request->key;

	if (!key)
		return refusal(problem, "certificate %s has a key of a kind that is not known here", request->cert_path);
	if (!request->new_key)
		return 0;
	if (!request->other_algorithm && issue_key_of(key, &kind) != 0)
		return refusal(problem,
		               "certificate %s has a key of a kind that is not made here; choose one with --key (p256, "
		               "ed25519, ml-dsa-65, ml-dsa-87)",
		               request->cert_path);
	*made = issue_make_key(kind);
	return *made ? 0 : refusal_by_library("making the key", problem);
}

static int renew(const struct renew_request *request, struct authority *authority, X509 *old,
                 char problem[ISSUE_PROBLEM_BYTES])
{
	struct issue_file file = {.cert_path = request->out_cert_path,
	                          .key_path = request->new_key ? request->out_key_path : NULL,
	                          .force = request->force,
	                          .issuers = authority->issuers};
	struct build_plan plan = {.model = old,
	                          .validity_days = request->validity_days,
	                          .validity_s = request->validity_s,
	                          .issuer = authority_certificate(authority),
	                          .issuer_key = authority->key};
	int result = renew_judge(authority, old, request->cert_path, request->ca.cert_path, problem);

	if (result == 0)
		result = choose_key(request, old, &file.key, problem);
	plan.key = file.key ? file.key : X509_get0_pubkey(old);
	if (result == 0)
		result = build_certificate(&plan, &file.certificate, problem);
	if (result == 0)
		result = authority_release(authority, file.certificate, issue_file_write, &file, problem);
	issue_file_fini(&file);
	return result;
}

int renew_certificate(const struct renew_request *request, char problem[ISSUE_PROBLEM_BYTES])
{
	STACK_OF(X509) *old = NULL;
	struct authority authority = {0};
	int result = issue_check_validity(request->validity_days, request->validity_s, problem);

	if (result == 0)
		result = check_paths(request, problem);
	if (result == 0)
		result = pem_certificates(request->cert_path, "certificate", PEM_TO_LOOK_AT, &old, problem);
	if (result == 0)
		result = authority_open(&request->ca, INDEX_TO_WRITE, &authority, problem);
	if (result == 0)
		result = renew(request, &authority, sk_X509_value(old, 0), problem);
	authority_close(&authority);
	OSSL_STACK_OF_X509_free(old);
	ERR_clear_error();
	return result;
}
