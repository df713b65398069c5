// When what a node proves itself with, and what it believes, ends.

#include "crypto/identity.h"

#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <time.h>

static int64_t not_after(const X509 *certificate)
{
	struct tm tm = {0};
	return ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

void identity_expiry(const struct identity *identity, int64_t *own, int64_t *ca)
{
	X509_STORE *store = identity_store(identity);
	STACK_OF(X509) *believed = store ? X509_STORE_get1_all_certs(store) : NULL;
	*own = not_after(identity_certificate(identity));
	*ca = 0;
	for (int i = 0; i < sk_X509_num(believed); i++) {
		int64_t end = not_after(sk_X509_value(believed, i));
		if (*ca == 0 || end < *ca)
			*ca = end;
	}
	sk_X509_pop_free(believed, X509_free);
}
