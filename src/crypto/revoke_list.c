// Making revocation lists. Reading them where they count is crypto/chain's.

#include "crypto/issue_file.h"
#include "crypto/pair.h"
#include "crypto/pem.h"
#include "crypto/refusal.h"
#include "crypto/revoke.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LIST_DAY_S = 86400 };

// Spec: RFC 5280 5.3.1, the CRLReason numbers; an unspecified one is left out.
static const int numbers[] = {
	[INDEX_UNSPECIFIED] = -1, [INDEX_KEY_COMPROMISE] = 1,         [INDEX_AFFILIATION_CHANGED] = 3,
	[INDEX_SUPERSEDED] = 4,   [INDEX_CESSATION_OF_OPERATION] = 5, [INDEX_PRIVILEGE_WITHDRAWN] = 9,
};
_Static_assert(COUNT_OF(numbers) == INDEX_PRIVILEGE_WITHDRAWN + 1, "a number for every reason");

// ---- entries

static bool set_serial(X509_REVOKED *item, const char *serial)
{
	BIGNUM *number = NULL;
	ASN1_INTEGER *integer = BN_hex2bn(&number, serial) > 0 ? BN_to_ASN1_INTEGER(number, NULL) : NULL;
	bool done = integer && X509_REVOKED_set_serialNumber(item, integer) == 1;

	ASN1_INTEGER_free(integer);
	BN_free(number);
	return done;
}

static bool set_date_and_reason(X509_REVOKED *item, const struct index_entry *entry)
{
	ASN1_TIME *date = ASN1_TIME_set(NULL, (time_t)entry->revoked_at);
	ASN1_ENUMERATED *reason = ASN1_ENUMERATED_new();
	int number = numbers[entry->reason];
	bool done = date && reason && X509_REVOKED_set_revocationDate(item, date) == 1;

	if (done && number >= 0)
		done = ASN1_ENUMERATED_set(reason, number) == 1 &&
		       X509_REVOKED_add1_ext_i2d(item, NID_crl_reason, reason, 0, 0) == 1;
	ASN1_ENUMERATED_free(reason);
	ASN1_TIME_free(date);
	return done;
}

static bool add_entry(X509_CRL *list, const struct index_entry *entry)
{
	X509_REVOKED *item = X509_REVOKED_new();

	if (item && set_serial(item, entry->serial) && set_date_and_reason(item, entry) &&
	    X509_CRL_add0_revoked(list, item) == 1)
		return true;
	X509_REVOKED_free(item);
	return false;
}

// All of them for ever: an entry that goes when its certificate expires helps a peer whose clock is behind to trust it.
static bool add_entries(X509_CRL *list, const struct index *index, size_t *revoked)
{
	size_t count;
	const struct index_entry *entries = index_entries(index, &count);

	*revoked = 0;
	for (size_t i = 0; i < count; i++) {
		if (!entries[i].revoked_at)
			continue;
		if (!add_entry(list, &entries[i]))
			return false;
		++*revoked;
	}
	return X509_CRL_sort(list) == 1;
}

// ---- the list

static bool set_times(X509_CRL *list, int64_t now, int64_t next)
{
	ASN1_TIME *from = ASN1_TIME_set(NULL, (time_t)now), *to = ASN1_TIME_set(NULL, (time_t)next);
	bool done = from && to && X509_CRL_set1_lastUpdate(list, from) == 1 && X509_CRL_set1_nextUpdate(list, to) == 1;

	ASN1_TIME_free(from);
	ASN1_TIME_free(to);
	return done;
}

static bool add_number(X509_CRL *list, uint64_t value)
{
	ASN1_INTEGER *number = ASN1_INTEGER_new();
	bool done = number && ASN1_INTEGER_set_uint64(number, value) == 1 &&
	            X509_CRL_add1_ext_i2d(list, NID_crl_number, number, 0, 0) == 1;

	ASN1_INTEGER_free(number);
	return done;
}

static bool add_authority_key(X509_CRL *list, X509 *issuer)
{
	X509V3_CTX context;

	X509V3_set_ctx_nodb(&context);
	X509V3_set_ctx(&context, issuer, NULL, NULL, list, 0);
	X509_EXTENSION *extension = X509V3_EXT_nconf_nid(NULL, &context, NID_authority_key_identifier, "keyid,issuer");
	bool done = extension && X509_CRL_add_ext(list, extension, -1) == 1;
	X509_EXTENSION_free(extension);
	return done;
}

static int make(const struct authority *authority, struct index_list *written, X509_CRL *list,
                char problem[REVOKE_PROBLEM_BYTES])
{
	X509 *issuer = authority_certificate(authority);

	if (X509_CRL_set_version(list, X509_CRL_VERSION_2) != 1 ||
	    X509_CRL_set_issuer_name(list, X509_get_subject_name(issuer)) != 1 ||
	    !set_times(list, (int64_t)time(NULL), written->next_update) ||
	    !add_entries(list, authority->index, &written->count) || !add_authority_key(list, issuer) ||
	    !add_number(list, written->number))
		return refusal_by_library("filling the revocation list", problem);
	if (X509_CRL_sign(list, authority->key, authority_digest(authority->key)) <= 0 ||
	    X509_CRL_verify(list, authority->key) != 1)
		return refusal_by_library("signing the revocation list", problem);
	return 0;
}

// ---- the list before it

static uint64_t number_of(X509_CRL *list)
{
	ASN1_INTEGER *number = X509_CRL_get_ext_d2i(list, NID_crl_number, NULL, NULL);
	uint64_t value = 0;

	if (number && ASN1_INTEGER_get_uint64(&value, number) != 1)
		value = 0;
	ASN1_INTEGER_free(number);
	return value;
}

static size_t count_forgotten(X509_CRL *old, const struct index *index)
{
	STACK_OF(X509_REVOKED) *items = X509_CRL_get_REVOKED(old);
	size_t forgotten = 0;

	for (int i = 0; i < sk_X509_REVOKED_num(items); i++) {
		const ASN1_INTEGER *serial = X509_REVOKED_get0_serialNumber(sk_X509_REVOKED_value(items, i));
		char text[INDEX_SERIAL_BYTES] = "";
		for (int at = 0; at < ASN1_STRING_length(serial) && 2 * at + 3 <= INDEX_SERIAL_BYTES; at++)
			snprintf(text + 2 * at, 3, "%02x", ASN1_STRING_get0_data(serial)[at]);
		const struct index_entry *entry = index_find(index, text);
		forgotten += !entry || !entry->revoked_at;
	}
	return forgotten;
}

// What stands where the new one goes: it must not know more than the index does.
static int judge_old(const struct revoke_list *request, const struct authority *authority, uint64_t *last,
                     char problem[REVOKE_PROBLEM_BYTES])
{
	STACK_OF(X509_CRL) *lists = NULL;
	X509 *issuer = authority_certificate(authority);
	int result = 0;

	if (access(request->out_path, F_OK) != 0)
		return 0;
	result = pem_revocation_lists(request->out_path, &lists, problem);
	if (result != 0)
		return result;
	for (int i = 0; result == 0 && i < sk_X509_CRL_num(lists); i++) {
		X509_CRL *old = sk_X509_CRL_value(lists, i);
		if (X509_CRL_verify(old, X509_get0_pubkey(issuer)) != 1)
			continue;
		size_t forgotten = count_forgotten(old, authority->index);
		if (forgotten > 0)
			result =
				refusal(problem,
			            "revocation list %s has %zu certificates that the index of CA %s does not have as revoked: "
			            "the new list would forget them. Is it the right index (--index)? Revoke them again by their "
			            "certificate files, or write the list to another place",
			            request->out_path, forgotten, request->ca.cert_path);
		*last = number_of(old) > *last ? number_of(old) : *last;
	}
	ERR_clear_error();
	pem_lists_free(lists);
	return result;
}

// ---- its file

static int write_file(const struct revoke_list *request, X509_CRL *list, char problem[REVOKE_PROBLEM_BYTES])
{
	const struct pair_single single = {"revocation list", request->out_path, 0644, request->force};
	BIO *output = BIO_new(BIO_s_mem());
	char *bytes = NULL;
	int result;

	if (!output || PEM_write_bio_X509_CRL(output, list) != 1) {
		result = refusal_by_library("writing PEM", problem);
	} else {
		size_t length = (size_t)BIO_get_mem_data(output, &bytes);
		result = pair_write_single(&single, (struct pair_content){bytes, length}, problem);
	}
	BIO_free(output);
	return result;
}

static int make_and_write(const struct revoke_list *request, struct authority *authority, struct index_list *written,
                          char problem[REVOKE_PROBLEM_BYTES])
{
	X509_CRL *list = X509_CRL_new();
	uint64_t last = index_last_list(authority->index);
	int result = list ? judge_old(request, authority, &last, problem) : -ENOMEM;

	*written = (struct index_list){.number = last + 1,
	                               .next_update = (int64_t)time(NULL) + (int64_t)request->days * LIST_DAY_S};
	if (result == 0)
		result = make(authority, written, list, problem);
	if (result == 0)
		result = index_add_list(authority->index, written, problem);
	if (result == 0)
		result = write_file(request, list, problem);
	X509_CRL_free(list);
	return result;
}

int revoke_write_list(const struct revoke_list *request, struct index_list *written, char problem[REVOKE_PROBLEM_BYTES])
{
	const struct pair_single single = {"revocation list", request->out_path, 0644, request->force};
	struct authority authority = {0};
	int result = 0;

	if (request->days < 1 || request->days > REVOKE_MAX_LIST_DAYS)
		result = refusal(problem, "%u days are not between 1 and %d", request->days, REVOKE_MAX_LIST_DAYS);
	if (result == 0)
		result = issue_file_spare_ca(&request->ca, request->out_path, problem);
	if (result == 0)
		result = pair_check_single(&single, problem);
	if (result == 0)
		result = authority_open(&request->ca, INDEX_TO_WRITE, &authority, problem);
	if (result == 0)
		result = make_and_write(request, &authority, written, problem);
	authority_close(&authority);
	ERR_clear_error();
	return result;
}
