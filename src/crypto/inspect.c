#include "crypto/inspect.h"

#include "crypto/chain.h"
#include "crypto/pem.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

_Static_assert((int)INSPECT_REFUSED == (int)PEM_REFUSED && (int)INSPECT_REFUSED == (int)CHAIN_REFUSED,
               "refusals are passed up");

enum { INSPECT_DAY_S = 86400 };

// The library's text of an extension: names of bits and purposes, dotted numbers for those it does not know.
static void describe_extension(X509 *certificate, int nid, char *text, size_t room)
{
	int index = X509_get_ext_by_NID(certificate, nid, -1);
	BIO *output = BIO_new(BIO_s_mem());
	char *bytes = NULL;

	text[0] = 0;
	if (output && index >= 0 && X509V3_EXT_print(output, X509_get_ext(certificate, index), 0, 0) == 1) {
		long length = BIO_get_mem_data(output, &bytes);
		snprintf(text, room, "%.*s", (int)length, bytes);
	}
	BIO_free(output);
	for (char *at = text; *at; at++) {
		if (*at < 0x20 || *at > 0x7e)
			*at = '?';
	}
}

static void describe_identifier(const ASN1_OCTET_STRING *identifier, char *text, size_t room)
{
	size_t length = identifier ? (size_t)ASN1_STRING_length(identifier) : 0;

	text[0] = 0;
	for (size_t i = 0; i < length && 3 * i + 3 <= room; i++)
		snprintf(text + 3 * i, room - 3 * i, "%02X%s", ASN1_STRING_get0_data(identifier)[i], i + 1 < length ? ":" : "");
}

static void describe(X509 *certificate, struct inspect_details *details)
{
	identity_describe(certificate, &details->text);
	identity_describe_names(certificate, details->names, sizeof details->names);
	identity_describe_issuer(certificate, details->issuer, sizeof details->issuer);
	describe_extension(certificate, NID_key_usage, details->key_usage, sizeof details->key_usage);
	describe_extension(certificate, NID_ext_key_usage, details->extended_key_usage, sizeof details->extended_key_usage);
	describe_identifier(X509_get0_subject_key_id(certificate), details->subject_key_identifier,
	                    sizeof details->subject_key_identifier);
	describe_identifier(X509_get0_authority_key_id(certificate), details->authority_key_identifier,
	                    sizeof details->authority_key_identifier);
	details->is_ca = X509_check_ca(certificate) == 1;
	details->path_length = X509_get_pathlen(certificate);
	ERR_clear_error();
}

int inspect_file(const char *path, struct inspect_details **list, size_t *count, char problem[INSPECT_PROBLEM_BYTES])
{
	STACK_OF(X509) *certificates = NULL;
	int result = pem_certificates(path, "certificate", PEM_TO_LOOK_AT, &certificates, problem);

	if (result != 0)
		return result;
	size_t found = (size_t)sk_X509_num(certificates);
	struct inspect_details *details = calloc(found, sizeof *details);
	for (size_t i = 0; details && i < found; i++)
		describe(sk_X509_value(certificates, (int)i), &details[i]);
	OSSL_STACK_OF_X509_free(certificates);
	if (!details)
		return -ENOMEM;
	*list = details;
	*count = found;
	return 0;
}

// ---- verify

static const char *usage_name(enum identity_usage usage)
{
	return usage == IDENTITY_SERVER ? "serverAuth" : "clientAuth";
}

static int judge_usages(X509 *leaf, enum inspect_purpose purpose, bool *server, bool *client,
                        struct inspect_verdict *verdict)
{
	bool is_server = identity_has_usage(leaf, IDENTITY_SERVER), is_client = identity_has_usage(leaf, IDENTITY_CLIENT);

	*server = purpose == INSPECT_FOR_SERVER || (purpose == INSPECT_ANY_PURPOSE && is_server);
	*client = purpose == INSPECT_FOR_CLIENT || (purpose == INSPECT_ANY_PURPOSE && is_client);
	if (!*server && !*client) {
		snprintf(verdict->chain_reason, sizeof verdict->chain_reason,
		         "its extended key usage has neither serverAuth nor clientAuth");
		return CHAIN_REFUSED;
	}
	if ((*server && !is_server) || (*client && !is_client)) {
		snprintf(verdict->chain_reason, sizeof verdict->chain_reason, "its extended key usage lacks %s",
		         usage_name(*server ? IDENTITY_SERVER : IDENTITY_CLIENT));
		return CHAIN_REFUSED;
	}
	return 0;
}

static int judge_chain(X509_STORE *store, STACK_OF(X509) * certificates, enum inspect_purpose purpose,
                       struct inspect_verdict *verdict)
{
	X509 *leaf = sk_X509_value(certificates, 0);
	bool server, client;
	int result = judge_usages(leaf, purpose, &server, &client, verdict);

	if (result == 0 && server)
		result = chain_verify(store, leaf, certificates, IDENTITY_SERVER, NULL, verdict->chain_reason);
	if (result == 0 && client)
		result = chain_verify(store, leaf, certificates, IDENTITY_CLIENT, NULL, verdict->chain_reason);
	verdict->chain_passed = result == 0;
	return result < 0 ? result : 0;
}

static void judge_name(X509 *leaf, const char *name, struct inspect_verdict *verdict)
{
	struct identity_text text;

	verdict->name_passed = !name || identity_has_name(leaf, name);
	if (verdict->name_passed)
		return;
	identity_describe(leaf, &text);
	if (text.names[0])
		snprintf(verdict->name_reason, sizeof verdict->name_reason, "the certificate is for %s", text.names);
	else
		snprintf(verdict->name_reason, sizeof verdict->name_reason, "the certificate has no subject alternative names");
}

static void judge_expiry(X509 *leaf, unsigned days, struct inspect_verdict *verdict)
{
	struct identity_text text;

	identity_describe(leaf, &text);
	int64_t left = text.not_after - (int64_t)time(NULL);
	verdict->expiry_passed = days == 0 || left > (int64_t)days * INSPECT_DAY_S;
	if (verdict->expiry_passed)
		return;
	if (left < 0)
		snprintf(verdict->expiry_reason, sizeof verdict->expiry_reason, "it has expired");
	else
		snprintf(verdict->expiry_reason, sizeof verdict->expiry_reason, "it has %lld days left",
		         (long long)(left / INSPECT_DAY_S));
}

_Static_assert(sizeof((struct inspect_verdict *)0)->chain_reason >= CHAIN_REASON_BYTES, "chain_verify writes into it");

int inspect_verify(const struct inspect_question *question, struct inspect_verdict *verdict,
                   char problem[INSPECT_PROBLEM_BYTES])
{
	STACK_OF(X509) *certificates = NULL;
	X509_STORE *store = NULL;
	int result = chain_load_store(question->ca_path, &store, problem);

	*verdict = (struct inspect_verdict){0};
	for (size_t i = 0; result == 0 && i < question->crl_count; i++)
		result = chain_load_lists(store, question->ca_path, question->crl_paths[i], problem);
	if (result == 0)
		result = pem_certificates(question->cert_path, "certificate", PEM_TO_LOOK_AT, &certificates, problem);
	if (result == 0)
		result = judge_chain(store, certificates, question->purpose, verdict);
	if (result == 0) {
		judge_name(sk_X509_value(certificates, 0), question->name, verdict);
		judge_expiry(sk_X509_value(certificates, 0), question->expires_in_days, verdict);
	}
	OSSL_STACK_OF_X509_free(certificates);
	X509_STORE_free(store);
	return result;
}
