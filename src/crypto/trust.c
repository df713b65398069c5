#include "crypto/trust.h"

#include "crypto/chain.h"
#include "crypto/trust_lists.h"

#include <errno.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

_Static_assert((int)TRUST_REFUSED == (int)CHAIN_REFUSED, "refusals are passed up");

struct trust {
	atomic_uint references;
	X509_STORE *store;
	struct trust_lists lists; // empty: the library asks for lists, or there are none
	int64_t ca_until, lists_until;
};

static void note_end(int64_t *first, const ASN1_TIME *when)
{
	struct tm tm = {0};
	int64_t end = when && ASN1_TIME_to_tm(when, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
	if (end != 0 && (*first == 0 || end < *first))
		*first = end;
}

static void note_ends(struct trust *trust)
{
	STACK_OF(X509_OBJECT) *objects = X509_STORE_get1_objects(trust->store);
	for (int i = 0; i < sk_X509_OBJECT_num(objects); i++) {
		const X509_OBJECT *object = sk_X509_OBJECT_value(objects, i);
		if (X509_OBJECT_get0_X509(object))
			note_end(&trust->ca_until, X509_get0_notAfter(X509_OBJECT_get0_X509(object)));
		else if (X509_OBJECT_get0_X509_CRL(object))
			note_end(&trust->lists_until, X509_CRL_get0_nextUpdate(X509_OBJECT_get0_X509_CRL(object)));
	}
	sk_X509_OBJECT_pop_free(objects, X509_OBJECT_free);
}

int trust_load(const struct trust_files *files, struct trust **trust, char problem[IDENTITY_PROBLEM_BYTES])
{
	struct trust *fresh = calloc(1, sizeof *fresh);
	if (!fresh)
		return -ENOMEM;
	atomic_init(&fresh->references, 1);
	int r = chain_load_store(files->ca_path, &fresh->store, problem);
	for (size_t i = 0; r == 0 && i < files->crl_count; i++)
		r = chain_load_lists(fresh->store, files->ca_path, files->crl_paths[i], problem);
	if (r == 0 && files->crl_count > 0)
		r = trust_lists_take(&fresh->lists, fresh->store);
	if (r != 0) {
		trust_unref(&fresh);
		return r;
	}
	note_ends(fresh);
	*trust = fresh;
	return 0;
}

struct trust *trust_ref(struct trust *trust)
{
	atomic_fetch_add_explicit(&trust->references, 1, memory_order_relaxed);
	return trust;
}

void trust_unref(struct trust **trust)
{
	struct trust *last = *trust;
	*trust = NULL;
	if (!last || atomic_fetch_sub_explicit(&last->references, 1, memory_order_acq_rel) != 1)
		return;
	trust_lists_fini(&last->lists);
	X509_STORE_free(last->store);
	free(last);
}

X509_STORE *trust_store(const struct trust *trust)
{
	return trust->store;
}

int trust_check_lists(const struct trust *trust, STACK_OF(X509) * chain)
{
	return trust_lists_check(&trust->lists, chain);
}

void trust_expiry(const struct trust *trust, int64_t *ca, int64_t *lists)
{
	*ca = trust->ca_until;
	*lists = trust->lists_until;
}
