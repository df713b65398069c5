#include "crypto/trust_lists.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdlib.h>

void trust_lists_fini(struct trust_lists *lists)
{
	for (size_t i = 0; lists->items && i < lists->count; i++) {
		X509_CRL_free(lists->items[i].list);
		X509_free(lists->items[i].signer);
	}
	free(lists->items);
	*lists = (struct trust_lists){0};
}

static bool has_critical(const STACK_OF(X509_EXTENSION) * extensions)
{
	for (int i = 0; i < sk_X509_EXTENSION_num(extensions); i++)
		if (X509_EXTENSION_get_critical(sk_X509_EXTENSION_value(extensions, i)))
			return true;
	return false;
}

// Spec: RFC 5280 5.2.4, 5.2.5, 5.3.3: what makes a list mean less, or something else, than "these of this issuer are
// revoked" is marked critical.
static bool is_plain(X509_CRL *list)
{
	STACK_OF(X509_REVOKED) *entries = X509_CRL_get_REVOKED(list);
	if (has_critical(X509_CRL_get0_extensions(list)))
		return false;
	for (int i = 0; i < sk_X509_REVOKED_num(entries); i++)
		if (has_critical(X509_REVOKED_get0_extensions(sk_X509_REVOKED_value(entries, i))))
			return false;
	return true;
}

static bool may_sign_lists(X509 *ca)
{
	return (X509_get_key_usage(ca) & KU_CRL_SIGN) != 0; // without the extension every bit is set
}

static X509 *find_signer(STACK_OF(X509) * believed, X509_CRL *list)
{
	for (int i = 0; i < sk_X509_num(believed); i++) {
		X509 *ca = sk_X509_value(believed, i);
		if (X509_NAME_cmp(X509_get_subject_name(ca), X509_CRL_get_issuer(list)) == 0 && may_sign_lists(ca) &&
		    X509_CRL_verify(list, X509_get0_pubkey(ca)) == 1)
			return ca;
	}
	return NULL;
}

// False: one of them is not for us, or there is no memory.
static bool take_all(struct trust_lists *lists, STACK_OF(X509_OBJECT) * objects, STACK_OF(X509) * believed)
{
	for (int i = 0; i < sk_X509_OBJECT_num(objects); i++) {
		X509_CRL *list = X509_OBJECT_get0_X509_CRL(sk_X509_OBJECT_value(objects, i));
		X509 *signer = list && is_plain(list) ? find_signer(believed, list) : NULL;
		if (!list)
			continue;
		if (!signer)
			return false;
		X509_CRL_up_ref(list);
		X509_up_ref(signer);
		lists->items[lists->count++] = (struct trust_list){list, signer};
	}
	return true;
}

int trust_lists_take(struct trust_lists *lists, X509_STORE *store)
{
	STACK_OF(X509_OBJECT) *objects = X509_STORE_get1_objects(store);
	STACK_OF(X509) *believed = X509_STORE_get1_all_certs(store);
	int count = sk_X509_OBJECT_num(objects);
	lists->items = count > 0 ? calloc((size_t)count, sizeof *lists->items) : NULL;
	int r = objects && believed && lists->items ? 0 : -ENOMEM;
	if (r == 0 && take_all(lists, objects, believed))
		X509_VERIFY_PARAM_clear_flags(X509_STORE_get0_param(store), X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
	else
		trust_lists_fini(lists);
	sk_X509_OBJECT_pop_free(objects, X509_OBJECT_free);
	OSSL_STACK_OF_X509_free(believed);
	ERR_clear_error();
	return r;
}

// Hostile: a peer may bring an intermediate with the name of another CA, so the key counts as well.
static bool is_of(const struct trust_list *item, const X509 *certificate, X509 *issuer)
{
	return X509_NAME_cmp(X509_CRL_get_issuer(item->list), X509_get_issuer_name(certificate)) == 0 &&
	       EVP_PKEY_eq(X509_get0_pubkey(item->signer), X509_get0_pubkey(issuer)) == 1;
}

static int check_one(const struct trust_lists *lists, X509 *certificate, X509 *issuer)
{
	int verdict = X509_V_ERR_UNABLE_TO_GET_CRL;
	for (size_t i = 0; i < lists->count; i++) {
		X509_REVOKED *entry = NULL;
		X509_CRL *list = lists->items[i].list;
		if (!is_of(&lists->items[i], certificate, issuer))
			continue;
		if (X509_CRL_get0_by_cert(list, &entry, certificate) == 1)
			return X509_V_ERR_CERT_REVOKED;
		if (X509_cmp_current_time(X509_CRL_get0_nextUpdate(list)) > 0)
			verdict = X509_V_OK;
		else if (verdict != X509_V_OK)
			verdict = X509_V_ERR_CRL_HAS_EXPIRED;
	}
	return verdict;
}

int trust_lists_check(const struct trust_lists *lists, STACK_OF(X509) * chain)
{
	int length = sk_X509_num(chain), verdict = X509_V_OK;
	for (int i = 0; lists->count > 0 && verdict == X509_V_OK && i < length; i++) {
		// The last one is a root, which is its own issuer.
		X509 *issuer = sk_X509_value(chain, i + 1 < length ? i + 1 : i);
		verdict = check_one(lists, sk_X509_value(chain, i), issuer);
	}
	return verdict;
}
