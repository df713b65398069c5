// Questions about a peer's certificate that decide whether it is let in.

#include "crypto/identity.h"

#include "policy/pattern.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <string.h>

enum { NAME_MAX_BYTES = 255 };

bool identity_has_usage(X509 *certificate, enum identity_usage usage)
{
	uint32_t bit = usage == IDENTITY_SERVER ? XKU_SSL_SERVER : XKU_SSL_CLIENT;
	uint32_t flags = X509_get_extension_flags(certificate);

	// Without the extension the library would answer "everything".
	if ((flags & EXFLAG_INVALID) || !(flags & EXFLAG_XKUSAGE))
		return false;
	return (X509_get_extended_key_usage(certificate) & bit) != 0;
}

// The address in `name` without brackets and without the zone of an IPv6 address: 4, 16, or 0 when it is none.
static size_t parse_address(const char *name, size_t length, uint8_t bytes[16])
{
	char literal[INET6_ADDRSTRLEN];

	if (length >= 2 && name[0] == '[' && name[length - 1] == ']') {
		name++;
		length -= 2;
	}
	const char *zone = memchr(name, '%', length);
	size_t end = zone ? (size_t)(zone - name) : length;
	if (end == 0 || end >= sizeof literal)
		return 0;
	memcpy(literal, name, end);
	literal[end] = 0;
	if (inet_pton(AF_INET6, literal, bytes) == 1)
		return 16;
	return !zone && inet_pton(AF_INET, literal, bytes) == 1 ? 4 : 0;
}

bool identity_has_name(X509 *certificate, const char *name)
{
	const unsigned flags = X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS;
	size_t length = strlen(name);
	uint8_t address[16];
	bool found = false;

	// The library would take a leading dot for "any name below", and a wildcard for a name that equals itself.
	if (length == 0 || length > NAME_MAX_BYTES || name[0] == '.' || strchr(name, '*'))
		return false;
	size_t address_length = parse_address(name, length, address);
	if (address_length > 0) {
		found = X509_check_ip(certificate, address, address_length, 0) == 1;
	} else {
		// "example.org." is the same name, written absolutely.
		if (name[length - 1] == '.')
			length--;
		found = X509_check_host(certificate, name, length, flags, NULL) == 1;
	}
	ERR_clear_error();
	return found;
}

// Hostile: a name with a NUL inside would be read as its harmless beginning, so it matches nothing.
static bool string_matches(const ASN1_STRING *string, const char *pattern)
{
	unsigned char *text = NULL;
	int length = ASN1_STRING_to_UTF8(&text, string);
	bool found = length > 0 && memchr(text, 0, (size_t)length) == NULL && pattern_matches(pattern, (const char *)text);

	OPENSSL_free(text);
	return found;
}

static bool common_name_matches(X509 *certificate, const char *pattern)
{
	const X509_NAME *subject = X509_get_subject_name(certificate);
	bool found = false;

	for (int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1); at >= 0 && !found;
	     at = X509_NAME_get_index_by_NID(subject, NID_commonName, at))
		found = string_matches(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)), pattern);
	return found;
}

// `types`: a bit for each type of name that counts.
static bool alternative_name_matches(X509 *certificate, unsigned types, const char *pattern)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
	bool found = false;

	for (int i = 0; i < sk_GENERAL_NAME_num(names) && !found; i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
		if (name->type >= 0 && types & (1u << name->type))
			found = string_matches(name->d.ia5, pattern);
	}
	GENERAL_NAMES_free(names);
	ERR_clear_error();
	return found;
}

bool identity_matches(X509 *certificate, const char *pattern)
{
	if (strncmp(pattern, "CN=", 3) == 0)
		return common_name_matches(certificate, pattern + 3);
	if (strncmp(pattern, "DNS:", 4) == 0)
		return alternative_name_matches(certificate, 1u << GEN_DNS, pattern + 4);
	if (strncmp(pattern, "URI:", 4) == 0)
		return alternative_name_matches(certificate, 1u << GEN_URI, pattern + 4);
	return common_name_matches(certificate, pattern) ||
	       alternative_name_matches(certificate, 1u << GEN_DNS | 1u << GEN_URI, pattern);
}

X509 *identity_keep(X509 *certificate)
{
	X509_up_ref(certificate);
	return certificate;
}

void identity_drop(X509 **certificate)
{
	X509_free(*certificate);
	*certificate = NULL;
}

STACK_OF(X509) * identity_keep_chain(STACK_OF(X509) * chain)
{
	return chain ? X509_chain_up_ref(chain) : NULL;
}

void identity_drop_chain(STACK_OF(X509) * *chain)
{
	OSSL_STACK_OF_X509_free(*chain);
	*chain = NULL;
}
