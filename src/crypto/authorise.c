#include "crypto/authorise.h"

#include "crypto/authorise_internal.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct authorise {
	atomic_uint references;
	bool asks_names, asks_key; // whether there is a pattern for them
	size_t count;
	struct authorise_pattern patterns[];
};

int authorise_new(const char *const *patterns, size_t count, struct authorise **authorise,
                  char problem[AUTHORISE_PROBLEM_BYTES])
{
	struct authorise *fresh = calloc(1, sizeof *fresh + count * sizeof fresh->patterns[0]);
	int r = fresh ? 0 : -ENOMEM;
	if (fresh)
		atomic_init(&fresh->references, 1);
	for (size_t i = 0; r == 0 && i < count; i++) {
		struct authorise_pattern *pattern = &fresh->patterns[i];
		r = authorise_pattern_parse(patterns[i], pattern, problem);
		fresh->count++; // also of a refused one there is text to free
		fresh->asks_key = fresh->asks_key || pattern->kind == AUTHORISE_SPKI;
		fresh->asks_names = fresh->asks_names || (pattern->kind != AUTHORISE_SPKI && pattern->kind != AUTHORISE_CN);
	}
	if (r == 0)
		*authorise = fresh;
	else
		authorise_unref(&fresh);
	return r;
}

int authorise_check(const char *pattern, char problem[AUTHORISE_PROBLEM_BYTES])
{
	struct authorise_pattern parsed = {0};
	int r = authorise_pattern_parse(pattern, &parsed, problem);
	free(parsed.text);
	return r < 0 ? AUTHORISE_REFUSED : r;
}

struct authorise *authorise_ref(struct authorise *authorise)
{
	atomic_fetch_add_explicit(&authorise->references, 1, memory_order_relaxed);
	return authorise;
}

void authorise_unref(struct authorise **authorise)
{
	struct authorise *last = *authorise;
	*authorise = NULL;
	if (!last || atomic_fetch_sub_explicit(&last->references, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; i < last->count; i++)
		free(last->patterns[i].text);
	free(last);
}

// ---- a certificate

static bool one_matches(const struct authorise *authorise, enum authorise_name kind, const char *name)
{
	for (size_t i = 0; i < authorise->count; i++)
		if (authorise_pattern_matches(&authorise->patterns[i], kind, name))
			return true;
	return false;
}

// Hostile: a name with a NUL inside would be read as its harmless beginning.
static bool string_matches(const struct authorise *authorise, enum authorise_name kind, const ASN1_STRING *string)
{
	unsigned char *text = NULL;
	int length = ASN1_STRING_to_UTF8(&text, string);
	bool found = length > 0 && memchr(text, 0, (size_t)length) == NULL &&
	             one_matches(authorise, kind, (const char *)text);
	OPENSSL_free(text);
	return found;
}

static bool common_name_matches(const struct authorise *authorise, X509 *certificate)
{
	const X509_NAME *subject = X509_get_subject_name(certificate);
	bool found = false;
	for (int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1); at >= 0 && !found;
	     at = X509_NAME_get_index_by_NID(subject, NID_commonName, at))
		found = string_matches(authorise, AUTHORISE_NAME_CN,
		                       X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
	return found;
}

static bool alternative_name_matches(const struct authorise *authorise, X509 *certificate)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
	bool found = false;
	for (int i = 0; i < sk_GENERAL_NAME_num(names) && !found; i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
		if (name->type == GEN_DNS)
			found = string_matches(authorise, AUTHORISE_NAME_DNS, name->d.dNSName);
		else if (name->type == GEN_URI)
			found = string_matches(authorise, AUTHORISE_NAME_URI, name->d.uniformResourceIdentifier);
	}
	GENERAL_NAMES_free(names);
	return found;
}

static bool key_matches(const struct authorise *authorise, X509 *certificate)
{
	uint8_t pin[PIN_BYTES];
	if (pin_of(certificate, pin) != 0)
		return false;
	for (size_t i = 0; i < authorise->count; i++)
		if (authorise->patterns[i].kind == AUTHORISE_SPKI && memcmp(authorise->patterns[i].pin, pin, PIN_BYTES) == 0)
			return true;
	return false;
}

bool authorise_allows(const struct authorise *authorise, X509 *certificate)
{
	if (!authorise || authorise->count == 0)
		return true;
	bool allowed = common_name_matches(authorise, certificate) ||
	               (authorise->asks_names && alternative_name_matches(authorise, certificate)) ||
	               (authorise->asks_key && key_matches(authorise, certificate));
	ERR_clear_error();
	return allowed;
}
