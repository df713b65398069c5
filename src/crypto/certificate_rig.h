// For tests: a certificate that nobody has signed, with nothing but names. To be included after <cmocka.h>.

#pragma once

#include <openssl/x509v3.h>

// `alternatives` as OpenSSL writes them, "DNS:a,URI:b"; NULL: none.
static inline X509 *certificate_rig_make(const char *common_name, const char *alternatives)
{
	X509 *certificate = X509_new();
	X509_NAME *name = X509_NAME_new();
	const unsigned char *text = (const unsigned char *)common_name;
	assert_int_equal(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, text, -1, -1, 0), 1);
	assert_int_equal(X509_set_subject_name(certificate, name), 1);
	X509_NAME_free(name);
	if (!alternatives)
		return certificate;
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, alternatives);
	assert_non_null(extension);
	assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
	X509_EXTENSION_free(extension);
	return certificate;
}

static inline void certificate_rig_free(X509 *certificate)
{
	X509_free(certificate);
}
