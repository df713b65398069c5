#include "wire/tls_names.h"

#include "limits.h"

#include <openssl/err.h>
#include <openssl/x509.h>
#include <stdbool.h>

static bool has(STACK_OF(X509_NAME) * names, const X509_NAME *name)
{
	for (int i = 0; i < sk_X509_NAME_num(names); i++)
		if (X509_NAME_cmp(sk_X509_NAME_value(names, i), name) == 0)
			return true;
	return false;
}

static bool add(STACK_OF(X509_NAME) * names, const X509_NAME *name)
{
	X509_NAME *copy = X509_NAME_dup(name);
	if (copy && sk_X509_NAME_push(names, copy) > 0)
		return true;
	X509_NAME_free(copy);
	return false;
}

static void empty(STACK_OF(X509_NAME) * names)
{
	while (sk_X509_NAME_num(names) > 0)
		X509_NAME_free(sk_X509_NAME_pop(names));
}

// False without memory.
static bool collect(STACK_OF(X509) * certificates, STACK_OF(X509_NAME) * names)
{
	int bytes = 0;
	for (int i = 0; i < sk_X509_num(certificates); i++) {
		const X509_NAME *name = X509_get_subject_name(sk_X509_value(certificates, i));
		if (has(names, name))
			continue;
		if (!add(names, name))
			return false;
		bytes += 2 + i2d_X509_NAME(name, NULL);
		if (sk_X509_NAME_num(names) > LIMIT_CA_NAMES || bytes > LIMIT_CA_NAMES_BYTES) {
			empty(names);
			return true;
		}
	}
	return true;
}

STACK_OF(X509_NAME) * tls_names_of(const struct trust *trust)
{
	STACK_OF(X509) *certificates = X509_STORE_get1_all_certs(trust_store(trust));
	STACK_OF(X509_NAME) *names = sk_X509_NAME_new_null();
	if (!certificates || !names || !collect(certificates, names)) {
		sk_X509_NAME_pop_free(names, X509_NAME_free);
		names = NULL;
	}
	OSSL_STACK_OF_X509_free(certificates);
	ERR_clear_error();
	return names;
}
