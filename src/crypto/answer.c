#include "crypto/answer.h"

#include "crypto/build.h"
#include "crypto/identity.h"
#include "crypto/refusal.h"
#include "crypto/renew.h"
#include "crypto/renewal_request.h"
#include "crypto/repeat.h"
#include "limits.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

_Static_assert((int)ANSWER_REFUSED == (int)REFUSAL && ANSWER_PROBLEM_BYTES == REFUSAL_BYTES, "refusals are passed up");

// ---- what needs no index

static bool is_same_extension(const STACK_OF(X509_EXTENSION) * asked, const STACK_OF(X509_EXTENSION) * had, int nid)
{
	int at_asked = X509v3_get_ext_by_NID(asked, nid, -1), at_had = X509v3_get_ext_by_NID(had, nid, -1);

	if (at_asked < 0 || at_had < 0)
		return at_asked < 0 && at_had < 0;
	return X509v3_get_ext_by_NID(asked, nid, at_asked) < 0 &&
	       ASN1_OCTET_STRING_cmp(X509_EXTENSION_get_data(X509v3_get_ext(asked, at_asked)),
	                             X509_EXTENSION_get_data(X509v3_get_ext(had, at_had))) == 0;
}

// The same names and usages are given in any case; who asks for others is told, instead of getting what it does not
// expect.
static int judge_names(const struct renewal_request *request, char problem[ANSWER_PROBLEM_BYTES])
{
	STACK_OF(X509_EXTENSION) *asked = X509_REQ_get_extensions(request->request);
	const STACK_OF(X509_EXTENSION) *had = X509_get0_extensions(request->certificate);
	const char *other = NULL;

	if (X509_NAME_cmp(X509_REQ_get_subject_name(request->request), X509_get_subject_name(request->certificate)) != 0)
		other = "another subject";
	else if (!is_same_extension(asked, had, NID_subject_alt_name))
		other = "other names";
	else if (!is_same_extension(asked, had, NID_ext_key_usage))
		other = "another usage";
	sk_X509_EXTENSION_pop_free(asked, X509_EXTENSION_free);
	return other ? refusal(problem, "it asks for %s than its certificate has: a renewal changes neither", other) : 0;
}

static int judge_key(const struct answer_policy *policy, const struct renewal_request *request,
                     char problem[ANSWER_PROBLEM_BYTES])
{
	EVP_PKEY *key = X509_REQ_get0_pubkey(request->request);
	enum issue_key kind = ISSUE_KEY_P256;

	if (EVP_PKEY_eq(key, X509_get0_pubkey(request->certificate)) == 1)
		return 0;
	if (issue_key_of(key, &kind) != 0)
		return refusal(problem, "its new key is of a kind that is not made here");
	if (!(policy->keys & 1u << kind))
		return refusal(problem, "this CA does not sign new keys of kind %s (--keys)", issue_key_name(kind));
	return 0;
}

static int judge_requester(const struct answer_question *question, X509 *certificate,
                           char problem[ANSWER_PROBLEM_BYTES])
{
	struct identity_text text;

	if (!question->requester)
		return 0;
	identity_describe(certificate, &text);
	if (text.common_name[0] && strcmp(text.common_name, question->requester) == 0)
		return 0;
	return refusal(problem, "it came from a peer with another name than the certificate's");
}

// ---- what the index knows

static bool is_twin(const struct index_entry *a, const struct index_entry *b)
{
	return strcmp(a->subject, b->subject) == 0 && strcmp(a->names, b->names) == 0 && strcmp(a->usage, b->usage) == 0;
}

// A stolen key may have been used to renew before anybody knew: whoever revokes one certificate of a name means all
// that were issued until then, however many there are.
static int judge_twins(const struct authority *authority, const struct index_entry *own, int64_t now, size_t *alive,
                       char problem[ANSWER_PROBLEM_BYTES])
{
	size_t count = 0;
	const struct index_entry *entries = index_entries(authority->index, &count);

	for (size_t i = 0; i < count; i++) {
		const struct index_entry *entry = &entries[i];
		if (!is_twin(entry, own))
			continue;
		if (entry->revoked_at >= own->issued_at && entry->revoked_at > 0 && entry->reason != INDEX_SUPERSEDED)
			return refusal(problem,
			               "a certificate of the same names was revoked after this one was issued (%s): a person must "
			               "issue the next one",
			               index_reason_name(entry->reason));
		*alive += !entry->revoked_at && !entry->is_withdrawn && entry->not_after > now;
	}
	return 0;
}

struct history {
	struct index_entry own; // of the certificate that is renewed
	size_t alive;           // certificates of the same names that are valid
};

static int judge_history(const struct authority *authority, X509 *certificate, struct history *history,
                         char problem[ANSWER_PROBLEM_BYTES])
{
	int64_t now = (int64_t)time(NULL);
	struct index_entry shown;

	authority_describe(certificate, &shown);
	const struct index_entry *own = index_find(authority->index, shown.serial);
	if (!own || own->issued_at == 0 || strcmp(own->fingerprint, shown.fingerprint) != 0)
		return refusal(problem, "its certificate is not in this CA's index: renew it with `qanat cert renew` once");
	if (own->is_withdrawn)
		return refusal(problem, "its certificate was withdrawn");
	if (now >= own->not_after)
		return refusal(problem, "its certificate has expired: a person must issue the next one");
	history->own = *own;
	return judge_twins(authority, own, now, &history->alive, problem);
}

// Hostile: whoever can write in the drop folder lays down a node's request again and again. A node that has lost its
// answer is served as well. One that ends no later than what is renewed would be of no use to the node.
static X509 *answer_of_before(const struct authority *authority, const struct index_entry *own, EVP_PKEY *fresh,
                              const char *name)
{
	X509 *answer = NULL;
	struct index_entry shown;

	if (repeat_find(index_path(authority->index), name, &answer) != 0)
		return NULL;
	authority_describe(answer, &shown);
	const struct index_entry *entry = index_find(authority->index, shown.serial);
	if (entry && strcmp(entry->fingerprint, shown.fingerprint) == 0 && !entry->is_withdrawn && !entry->revoked_at &&
	    entry->not_after > own->not_after && EVP_PKEY_eq(X509_get0_pubkey(answer), fresh) == 1)
		return answer;
	X509_free(answer);
	return NULL;
}

// ---- the new one

struct parcel {
	struct authority *authority;
	X509 *certificate;
	const struct answer_delivery *delivery;
	char name[REPEAT_NAME_BYTES]; // what it is kept under
};

static int hand_over(void *owner, char problem[AUTHORITY_PROBLEM_BYTES])
{
	const struct parcel *parcel = owner;
	BIO *output = BIO_new(BIO_s_mem());
	char *pem = NULL;
	int result = 0;

	if (!output || !build_print(parcel->certificate, parcel->authority->issuers, output)) {
		result = refusal_by_library("writing PEM", problem);
	} else {
		long length = BIO_get_mem_data(output, &pem);
		if (length > LIMIT_RENEWAL_BYTES)
			result = refusal(problem, "the certificate and its issuers are larger than %d bytes", LIMIT_RENEWAL_BYTES);
		else
			result = parcel->delivery->deliver(parcel->delivery->owner, pem, (size_t)length, problem);
	}
	BIO_free(output);
	return result;
}

// It is kept before anybody has it: whoever has it can ask again.
static int keep_and_hand_over(void *owner, char problem[AUTHORITY_PROBLEM_BYTES])
{
	const struct parcel *parcel = owner;
	int result = repeat_keep(index_path(parcel->authority->index), parcel->name, parcel->certificate, problem);

	return result == 0 ? hand_over(owner, problem) : result;
}

static int sign(const struct answer_policy *policy, const struct renewal_request *request,
                const struct index_entry *own, struct parcel *parcel, char problem[ANSWER_PROBLEM_BYTES])
{
	struct build_plan plan = {.model = request->certificate,
	                          .validity_s = policy->validity_s ? policy->validity_s
	                                                           : (uint64_t)(own->not_after - own->issued_at),
	                          .key = X509_REQ_get0_pubkey(request->request),
	                          .issuer = authority_certificate(parcel->authority),
	                          .issuer_key = parcel->authority->key};
	int result = build_certificate(&plan, &parcel->certificate, problem);

	if (result == 0)
		result = authority_release(parcel->authority, parcel->certificate, keep_and_hand_over, parcel, problem);
	return result;
}

static int answer_anew_or_again(const struct answer_policy *policy, const struct renewal_request *request,
                                struct parcel *parcel, bool *is_repeat, char problem[ANSWER_PROBLEM_BYTES])
{
	EVP_PKEY *fresh = X509_REQ_get0_pubkey(request->request);
	struct history history = {0};
	int result = judge_history(parcel->authority, request->certificate, &history, problem);

	if (result == 0)
		result = repeat_name(request->certificate, fresh, parcel->name);
	if (result != 0)
		return result;
	parcel->certificate = answer_of_before(parcel->authority, &history.own, fresh, parcel->name);
	*is_repeat = parcel->certificate;
	if (*is_repeat)
		return hand_over(parcel, problem);
	if (history.alive >= LIMIT_LIVE_TWINS)
		return refusal(problem, "%zu certificates of the same names are valid already: does the node lose them?",
		               history.alive);
	return sign(policy, request, &history.own, parcel, problem);
}

// Hostile: only who holds a certificate of this CA has its index opened, which is locked meanwhile.
static int judge_and_answer(const struct answer_policy *policy, const struct renewal_request *request,
                            struct parcel *parcel, struct answer_news *news, char problem[ANSWER_PROBLEM_BYTES])
{
	struct index_entry entry;
	int result = authority_load(&policy->ca, parcel->authority, problem);

	if (result == 0)
		result = renew_judge_origin(parcel->authority, request->certificate, "of the request", policy->ca.cert_path,
		                            problem);
	if (result == 0)
		result = authority_open_index(&policy->ca, INDEX_TO_WRITE, parcel->authority, problem);
	if (result == 0)
		result = renew_judge(parcel->authority, request->certificate, "of the request", policy->ca.cert_path, problem);
	if (result == 0)
		result = answer_anew_or_again(policy, request, parcel, &news->is_repeat, problem);
	if (result == 0) {
		authority_describe(parcel->certificate, &entry);
		snprintf(news->subject, sizeof news->subject, "%s", entry.subject);
		snprintf(news->serial, sizeof news->serial, "%s", entry.serial);
		news->not_after = entry.not_after;
	}
	return result;
}

int answer_renewal(const struct answer_policy *policy, const struct answer_question *question,
                   const struct answer_delivery *delivery, struct answer_news *news, char problem[ANSWER_PROBLEM_BYTES])
{
	struct renewal_request request = {0};
	struct authority authority = {0};
	struct parcel parcel = {.authority = &authority, .delivery = delivery};
	int result = renewal_request_decode(question->bytes, question->length, &request, problem);

	if (result == 0)
		result = renewal_request_prove(&request, problem);
	if (result == 0)
		result = judge_names(&request, problem);
	if (result == 0)
		result = judge_key(policy, &request, problem);
	if (result == 0)
		result = judge_requester(question, request.certificate, problem);
	if (result == 0)
		result = judge_and_answer(policy, &request, &parcel, news, problem);
	X509_free(parcel.certificate);
	authority_close(&authority);
	renewal_request_fini(&request);
	ERR_clear_error();
	return result;
}
