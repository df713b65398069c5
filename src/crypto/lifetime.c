#include "crypto/lifetime.h"

#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <string.h>
#include <time.h>

const char *lifetime_role_name(enum lifetime_role role)
{
	static const char *const names[] = {"own", "chain", "ca", "crl"};
	_Static_assert(COUNT_OF(names) == LIFETIME_ROLE_COUNT, "one for each");
	return names[role];
}

static int64_t seconds_of(const ASN1_TIME *time)
{
	struct tm tm = {0};
	return time && ASN1_TIME_to_tm(time, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

static void describe(X509 *certificate, struct lifetime *lifetime)
{
	struct identity_text text;

	identity_describe(certificate, &text);
	memcpy(lifetime->subject, text.subject, sizeof lifetime->subject);
	lifetime->from = text.not_before;
	lifetime->until = text.not_after;
}
_Static_assert(sizeof((struct lifetime *)0)->subject == sizeof((struct identity_text *)0)->subject, "copied whole");

static bool first_certificate(STACK_OF(X509) * certificates, struct lifetime *lifetime)
{
	X509 *first = NULL;

	for (int i = 0; i < sk_X509_num(certificates); i++) {
		X509 *certificate = sk_X509_value(certificates, i);
		if (!first || ASN1_TIME_compare(X509_get0_notAfter(certificate), X509_get0_notAfter(first)) < 0)
			first = certificate;
	}
	if (first)
		describe(first, lifetime);
	return first;
}

// The issuer's name as a subject is shown, by way of a certificate that is never signed.
static void describe_list(const X509_CRL *list, struct lifetime *lifetime)
{
	X509 *likeness = X509_new();

	if (likeness && X509_set_subject_name(likeness, X509_CRL_get_issuer(list)) == 1)
		describe(likeness, lifetime);
	X509_free(likeness);
	lifetime->from = seconds_of(X509_CRL_get0_lastUpdate(list));
	lifetime->until = seconds_of(X509_CRL_get0_nextUpdate(list));
}

static bool first_list(X509_STORE *store, struct lifetime *lifetime)
{
	STACK_OF(X509_OBJECT) *objects = X509_STORE_get1_objects(store);
	X509_CRL *first = NULL;

	for (int i = 0; i < sk_X509_OBJECT_num(objects); i++) {
		X509_CRL *list = X509_OBJECT_get0_X509_CRL(sk_X509_OBJECT_value(objects, i));
		if (list && (!first || ASN1_TIME_compare(X509_CRL_get0_nextUpdate(list), X509_CRL_get0_nextUpdate(first)) < 0))
			first = list;
	}
	if (first)
		describe_list(first, lifetime);
	sk_X509_OBJECT_pop_free(objects, X509_OBJECT_free);
	return first;
}

size_t lifetime_read_store(X509_STORE *store, unsigned number, struct lifetime out[LIFETIME_PER_STORE])
{
	STACK_OF(X509) *believed = X509_STORE_get1_all_certs(store);
	size_t count = 0;

	if (first_certificate(believed, &out[count]))
		out[count++].role = LIFETIME_CA;
	if (first_list(store, &out[count]))
		out[count++].role = LIFETIME_LIST;
	for (size_t i = 0; i < count; i++)
		out[i].number = number;
	OSSL_STACK_OF_X509_free(believed);
	return count;
}

size_t lifetime_read(const struct identity *identity, unsigned number, struct lifetime out[LIFETIME_PER_IDENTITY])
{
	X509_STORE *store = identity_store(identity);
	size_t count = 0;

	describe(identity_certificate(identity), &out[count]);
	out[count].number = number;
	out[count++].role = LIFETIME_OWN;
	if (first_certificate(identity_chain(identity), &out[count])) {
		out[count].number = number;
		out[count++].role = LIFETIME_CHAIN;
	}
	// A certificate that another's CA issued comes without whom to believe.
	return store ? count + lifetime_read_store(store, number, &out[count]) : count;
}
