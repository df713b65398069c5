// The names of a certificate, one after the other, for rules that identity_matches does not know.

#include "crypto/identity.h"

#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <string.h>

// Hostile: a name with a NUL inside would be read as its harmless beginning, so it is none.
static bool tell(const ASN1_STRING *string, enum identity_name_kind kind, identity_name_fn visit, void *owner)
{
	unsigned char *text = NULL;
	int length = ASN1_STRING_to_UTF8(&text, string);
	bool more = true;
	if (length > 0 && memchr(text, 0, (size_t)length) == NULL)
		more = visit(owner, kind, (const char *)text);
	OPENSSL_free(text);
	return more;
}

static bool visit_alternatives(X509 *certificate, identity_name_fn visit, void *owner)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
	bool more = true;
	for (int i = 0; i < sk_GENERAL_NAME_num(names) && more; i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
		if (name->type == GEN_DNS || name->type == GEN_URI)
			more = tell(name->d.ia5, name->type == GEN_DNS ? IDENTITY_DNS : IDENTITY_URI, visit, owner);
	}
	GENERAL_NAMES_free(names);
	return more;
}

void identity_visit_names(X509 *certificate, identity_name_fn visit, void *owner)
{
	const X509_NAME *subject = X509_get_subject_name(certificate);
	bool more = visit_alternatives(certificate, visit, owner);
	for (int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1); at >= 0 && more;
	     at = X509_NAME_get_index_by_NID(subject, NID_commonName, at))
		more = tell(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)), IDENTITY_COMMON_NAME, visit, owner);
	ERR_clear_error();
}
