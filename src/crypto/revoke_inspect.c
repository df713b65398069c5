// Revocation lists for people.

#include "crypto/identity.h"
#include "crypto/pem.h"
#include "crypto/revoke.h"

#include <errno.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int64_t unix_seconds(const ASN1_TIME *when)
{
	struct tm parts;

	return when && ASN1_TIME_to_tm(when, &parts) == 1 ? (int64_t)timegm(&parts) : 0;
}

static void describe_bytes(const ASN1_STRING *string, const char *separator, char *text, size_t room)
{
	size_t length = string ? (size_t)ASN1_STRING_length(string) : 0, at = 0;

	text[0] = 0;
	for (size_t i = 0; i < length && at + 4 <= room; i++)
		at += (size_t)snprintf(text + at, room - at, *separator ? "%s%02X" : "%s%02x", i ? separator : "",
		                       ASN1_STRING_get0_data(string)[i]);
}

// By way of a certificate that is never signed: names are described in one place.
static void describe_issuer(X509_CRL *list, struct revoke_details *details)
{
	X509 *likeness = X509_new();

	if (likeness && X509_set_issuer_name(likeness, X509_CRL_get_issuer(list)) == 1)
		identity_describe_issuer(likeness, details->issuer, sizeof details->issuer);
	X509_free(likeness);
}

static void describe_number(X509_CRL *list, char *text, size_t room)
{
	ASN1_INTEGER *number = X509_CRL_get_ext_d2i(list, NID_crl_number, NULL, NULL);
	BIGNUM *value = number ? ASN1_INTEGER_to_BN(number, NULL) : NULL;
	char *digits = value ? BN_bn2dec(value) : NULL;

	snprintf(text, room, "%s", digits ? digits : "");
	OPENSSL_free(digits);
	BN_free(value);
	ASN1_INTEGER_free(number);
}

static void describe_item(X509_REVOKED *revoked, struct revoke_item *item)
{
	static const char *const reasons[] = {"unspecified",         "key-compromise", "ca-compromise",
	                                      "affiliation-changed", "superseded",     "cessation-of-operation",
	                                      "certificate-hold",    "unknown",        "remove-from-crl",
	                                      "privilege-withdrawn", "aa-compromise"};
	ASN1_ENUMERATED *reason = X509_REVOKED_get_ext_d2i(revoked, NID_crl_reason, NULL, NULL);
	long number = reason ? ASN1_ENUMERATED_get(reason) : 0;

	describe_bytes(X509_REVOKED_get0_serialNumber(revoked), "", item->serial, sizeof item->serial);
	item->at = unix_seconds(X509_REVOKED_get0_revocationDate(revoked));
	snprintf(item->reason, sizeof item->reason, "%s",
	         number >= 0 && number < (long)COUNT_OF(reasons) ? reasons[number] : "unknown");
	ASN1_ENUMERATED_free(reason);
}

static int describe(X509_CRL *list, struct revoke_details *details)
{
	STACK_OF(X509_REVOKED) *items = X509_CRL_get_REVOKED(list);
	int count = items ? sk_X509_REVOKED_num(items) : 0;
	AUTHORITY_KEYID *keyid = X509_CRL_get_ext_d2i(list, NID_authority_key_identifier, NULL, NULL);
	const X509_ALGOR *algorithm = NULL;
	const ASN1_OBJECT *object = NULL;

	describe_issuer(list, details);
	describe_number(list, details->number, sizeof details->number);
	describe_bytes(keyid ? keyid->keyid : NULL, ":", details->authority_key_identifier,
	               sizeof details->authority_key_identifier);
	AUTHORITY_KEYID_free(keyid);
	X509_CRL_get0_signature(list, NULL, &algorithm);
	X509_ALGOR_get0(&object, NULL, NULL, algorithm);
	OBJ_obj2txt(details->signature, sizeof details->signature, object, 0);
	details->this_update = unix_seconds(X509_CRL_get0_lastUpdate(list));
	details->next_update = unix_seconds(X509_CRL_get0_nextUpdate(list));
	details->items = calloc((size_t)count + 1, sizeof *details->items);
	if (!details->items)
		return -ENOMEM;
	details->count = (size_t)count;
	for (int i = 0; i < count; i++)
		describe_item(sk_X509_REVOKED_value(items, i), &details->items[i]);
	return 0;
}

int revoke_inspect(const char *path, struct revoke_details **out, size_t *count, char problem[REVOKE_PROBLEM_BYTES])
{
	STACK_OF(X509_CRL) *found = NULL;
	int result = pem_revocation_lists(path, &found, problem);

	if (result != 0)
		return result;
	size_t number = (size_t)sk_X509_CRL_num(found);
	struct revoke_details *lists = calloc(number, sizeof *lists);
	result = lists ? 0 : -ENOMEM;
	for (size_t i = 0; result == 0 && i < number; i++)
		result = describe(sk_X509_CRL_value(found, (int)i), &lists[i]);
	pem_lists_free(found);
	ERR_clear_error();
	if (result != 0) {
		revoke_free(lists, number);
		return result;
	}
	*out = lists;
	*count = number;
	return 0;
}

void revoke_free(struct revoke_details *lists, size_t count)
{
	for (size_t i = 0; lists && i < count; i++)
		free(lists[i].items);
	free(lists);
}
