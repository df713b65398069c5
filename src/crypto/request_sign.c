// A stranger's request: judged, and signed when it is acceptable.

#include "crypto/build.h"
#include "crypto/identity.h"
#include "crypto/issue_file.h"
#include "crypto/legacy.h"
#include "crypto/pair.h"
#include "crypto/pem.h"
#include "crypto/refusal.h"
#include "crypto/request.h"
#include "crypto/san.h"
#include "limits.h"

#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Spec: NIST SP 800-57, what is still allowed: RSA-2048, P-224 and up.
enum { REQUEST_SECURITY_BITS = 112 };

// What is taken over from a request. The null value is harmless to fini.
struct wish {
	char common_name[4 * 64 + 1];
	GENERAL_NAMES *names;
};

static void wish_fini(struct wish *wish)
{
	GENERAL_NAMES_free(wish->names);
	*wish = (struct wish){0};
}

// ---- what is taken over

static int take_common_name(X509_REQ *request, struct wish *wish, char problem[REQUEST_PROBLEM_BYTES])
{
	const X509_NAME *name = X509_REQ_get_subject_name(request);
	int index = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
	unsigned char *bytes = NULL;

	if (index < 0)
		return refusal(problem, "it has no common name");
	if (X509_NAME_get_index_by_NID(name, NID_commonName, index) >= 0)
		return refusal(problem, "it has several common names");
	int length = ASN1_STRING_to_UTF8(&bytes, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, index)));
	bool is_good = length > 0 && (size_t)length < sizeof wish->common_name && !memchr(bytes, 0, (size_t)length);
	if (is_good)
		snprintf(wish->common_name, sizeof wish->common_name, "%.*s", length, (const char *)bytes);
	OPENSSL_free(bytes);
	return is_good ? build_check_common_name(wish->common_name, problem)
	               : refusal(problem, "its common name is empty, too long, or no text");
}

static bool asks_to_be_a_ca(const STACK_OF(X509_EXTENSION) * extensions)
{
	BASIC_CONSTRAINTS *constraints = X509V3_get_d2i(extensions, NID_basic_constraints, NULL, NULL);
	bool is_asked = constraints && constraints->ca;

	BASIC_CONSTRAINTS_free(constraints);
	return is_asked;
}

static int take_extensions(const STACK_OF(X509_EXTENSION) * extensions, struct wish *wish,
                           char problem[REQUEST_PROBLEM_BYTES])
{
	int critical = 0;

	if (asks_to_be_a_ca(extensions))
		return refusal(problem, "it asks to be a CA, which this CA never signs");
	wish->names = X509V3_get_d2i(extensions, NID_subject_alt_name, &critical, NULL);
	// -1: there are none.
	if (!wish->names && critical != -1)
		return refusal(problem, "its subject alternative names are damaged or given twice");
	return san_judge(wish->names, problem);
}

static int judge_key(X509_REQ *request, char problem[REQUEST_PROBLEM_BYTES])
{
	EVP_PKEY *key = X509_REQ_get0_pubkey(request);
	const char *legacy = legacy_of_pubkey(X509_REQ_get_X509_PUBKEY(request));

	if (!key && legacy)
		return refusal(problem, "its key is %s", legacy);
	if (!key)
		return refusal(problem, "its key is of a kind that is not known here");
	if (X509_REQ_verify(request, key) != 1)
		return refusal(problem,
		               "its self-signature is wrong: it was changed on its way, or its sender does not have the "
		               "private key");
	if (EVP_PKEY_get_security_bits(key) < REQUEST_SECURITY_BITS)
		return refusal(problem, "its key is too weak (%d bits of security; %d are needed)",
		               EVP_PKEY_get_security_bits(key), REQUEST_SECURITY_BITS);
	return 0;
}

static int take(X509_REQ *request, struct wish *wish, char problem[REQUEST_PROBLEM_BYTES])
{
	STACK_OF(X509_EXTENSION) *extensions = X509_REQ_get_extensions(request);
	int result = judge_key(request, problem);

	if (result == 0)
		result = take_common_name(request, wish, problem);
	if (result == 0)
		result = take_extensions(extensions, wish, problem);
	sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
	ERR_clear_error();
	return result;
}

// ---- what people see

static void describe_ignored(X509_REQ *request, char *text, size_t room)
{
	STACK_OF(X509_EXTENSION) *extensions = X509_REQ_get_extensions(request);
	size_t length = 0;

	text[0] = 0;
	for (int i = 0; i < sk_X509_EXTENSION_num(extensions) && length < room; i++) {
		const ASN1_OBJECT *object = X509_EXTENSION_get_object(sk_X509_EXTENSION_value(extensions, i));
		const char *known = OBJ_nid2sn(OBJ_obj2nid(object));
		char number[64] = "";
		if (OBJ_obj2nid(object) == NID_subject_alt_name)
			continue;
		if (OBJ_obj2nid(object) == NID_undef)
			OBJ_obj2txt(number, sizeof number, object, 1);
		length += (size_t)snprintf(text + length, room - length, "%s%s", length ? ", " : "",
		                           number[0] ? number : known);
	}
	sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
}

// The same texts as of a certificate, by way of one that is never signed.
static void describe(X509_REQ *request, struct request_details *details)
{
	STACK_OF(X509_EXTENSION) *extensions = X509_REQ_get_extensions(request);
	X509 *likeness = X509_new();
	struct identity_text text;
	const X509_ALGOR *algorithm = NULL;
	const ASN1_OBJECT *object = NULL;
	int at = X509v3_get_ext_by_NID(extensions, NID_subject_alt_name, -1);

	if (likeness && X509_set_subject_name(likeness, X509_REQ_get_subject_name(request)) == 1 &&
	    (at < 0 || X509_add_ext(likeness, X509v3_get_ext(extensions, at), -1) == 1)) {
		EVP_PKEY *key = X509_REQ_get0_pubkey(request);
		if (key)
			(void)X509_set_pubkey(likeness, key);
		identity_describe(likeness, &text);
		identity_describe_names(likeness, details->names, sizeof details->names);
		snprintf(details->subject, sizeof details->subject, "%s", text.subject);
		snprintf(details->common_name, sizeof details->common_name, "%s", text.common_name);
		snprintf(details->key_type, sizeof details->key_type, "%s", key ? text.key_type : "unknown");
	}
	X509_REQ_get0_signature(request, NULL, &algorithm);
	X509_ALGOR_get0(&object, NULL, NULL, algorithm);
	OBJ_obj2txt(details->signature, sizeof details->signature, object, 0);
	describe_ignored(request, details->ignored, sizeof details->ignored);
	X509_free(likeness);
	sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
}

void request_judge(X509_REQ *request, struct request_details *details)
{
	struct wish wish = {0};
	EVP_PKEY *key = X509_REQ_get0_pubkey(request);

	*details = (struct request_details){0};
	describe(request, details);
	details->is_self_signed = key && X509_REQ_verify(request, key) == 1;
	details->is_acceptable = take(request, &wish, details->fault) == 0;
	wish_fini(&wish);
	ERR_clear_error();
}

int request_inspect(const char *path, struct request_details *details, char problem[REQUEST_PROBLEM_BYTES])
{
	X509_REQ *request = NULL;
	int result = pem_request(path, &request, problem);

	if (result == 0)
		request_judge(request, details);
	X509_REQ_free(request);
	return result;
}

// ---- signing

static int sign(const struct request_signing *signing, X509_REQ *request, struct wish *wish,
                char problem[REQUEST_PROBLEM_BYTES])
{
	const struct san_request by_name = {.common_name = wish->common_name, .is_server = signing->is_server};
	struct authority authority = {0};
	struct issue_file file = {.cert_path = signing->out_cert_path, .force = signing->force};
	int result = authority_open(&signing->ca, INDEX_TO_WRITE, &authority, problem);

	if (result == 0 && sk_GENERAL_NAME_num(wish->names) <= 0) {
		GENERAL_NAMES_free(wish->names);
		wish->names = NULL;
		result = san_check(&by_name, problem);
		if (result == 0 && !san_make(&by_name, &wish->names))
			result = refusal_by_library("filling the certificate", problem);
	}
	struct build_plan plan = {.is_server = signing->is_server,
	                          .is_client = signing->is_client,
	                          .common_name = wish->common_name,
	                          .names = wish->names,
	                          .validity_days = signing->validity_days,
	                          .validity_s = signing->validity_s,
	                          .key = X509_REQ_get0_pubkey(request),
	                          .issuer_key = authority.key};
	if (result == 0) {
		plan.issuer = authority_certificate(&authority);
		file.issuers = authority.issuers;
		result = build_certificate(&plan, &file.certificate, problem);
	}
	if (result == 0)
		result = authority_release(&authority, file.certificate, issue_file_write, &file, problem);
	issue_file_fini(&file);
	authority_close(&authority);
	return result;
}

int request_sign(const struct request_signing *signing, char problem[REQUEST_PROBLEM_BYTES])
{
	const struct pair_single single = {"certificate", signing->out_cert_path, 0644, signing->force};
	char fault[REQUEST_PROBLEM_BYTES - 128];
	struct wish wish = {0};
	X509_REQ *request = NULL;
	int result = issue_check_validity(signing->validity_days, signing->validity_s, problem);

	if (result == 0)
		result = issue_file_spare_ca(&signing->ca, signing->out_cert_path, problem);
	if (result == 0)
		result = pair_check_single(&single, problem);
	if (result == 0)
		result = pem_request(signing->path, &request, problem);
	if (result == 0 && (result = take(request, &wish, problem)) > 0) {
		memcpy(fault, problem, sizeof fault);
		fault[sizeof fault - 1] = 0;
		result = refusal(problem, "request %.120s is not signed: %s", signing->path, fault);
	}
	if (result == 0)
		result = sign(signing, request, &wish, problem);
	wish_fini(&wish);
	X509_REQ_free(request);
	ERR_clear_error();
	return result;
}
