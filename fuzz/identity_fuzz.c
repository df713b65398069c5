// A peer's certificate, in PEM or DER: what is shown of it stays printable ASCII within its room, and the questions
// that decide whether it is let in have an answer.

#include "crypto/authorise.h"
#include "crypto/identity.h"
#include "crypto/pem.h"
#include "crypto/pin.h"

#include <assert.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FUZZ_MAX_BYTES = 256 * 1024 };

static X509 *parse(const uint8_t *data, size_t size)
{
	const uint8_t *at = data;
	BIO *input = BIO_new_mem_buf(data, (int)size);
	X509 *certificate = input ? PEM_read_bio_X509(input, NULL, pem_refuse_to_ask, NULL) : NULL;

	BIO_free(input);
	return certificate ? certificate : d2i_X509(NULL, &at, (long)size);
}

static void check_text(const char *text, size_t room)
{
	size_t length = strnlen(text, room);

	assert(length < room);
	for (size_t i = 0; i < length; i++)
		assert(text[i] >= 0x20 && text[i] < 0x7f);
}

static void check_texts(X509 *certificate)
{
	struct identity_text text;
	char small[8], large[4096];

	identity_describe(certificate, &text);
	check_text(text.subject, sizeof text.subject);
	check_text(text.common_name, sizeof text.common_name);
	check_text(text.names, sizeof text.names);
	check_text(text.fingerprint, sizeof text.fingerprint);
	check_text(text.key_type, sizeof text.key_type);
	check_text(text.signature, sizeof text.signature);
	check_text(text.serial, sizeof text.serial);
	identity_describe_names(certificate, small, sizeof small);
	check_text(small, sizeof small);
	identity_describe_names(certificate, large, sizeof large);
	check_text(large, sizeof large);
	identity_describe_issuer(certificate, large, sizeof large);
	check_text(large, sizeof large);
}

// The proxy's allow-list: whatever the certificate holds, there is an answer, and a longer list lets in no less.
static void check_allow_list(X509 *certificate)
{
	static const char *const patterns[] = {"cn:*a*b", "dns:*.example.org", "uri:spiffe://corp/ns/*/sa/*b*",
	                                       "*.example.org",
	                                       "spki:0000000000000000000000000000000000000000000000000000000000000000"};
	static struct authorise *all, *first;
	char problem[AUTHORISE_PROBLEM_BYTES];
	uint8_t pin[PIN_BYTES];

	if (!all) {
		assert(authorise_new(patterns, COUNT_OF(patterns), &all, problem) == 0);
		assert(authorise_new(patterns, 1, &first, problem) == 0);
	}
	assert(!authorise_allows(first, certificate) || authorise_allows(all, certificate));
	assert(pin_of(certificate, pin) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const names[] = {"a.example.org", "127.0.0.1", "[::1]", "x", "a.example.org.", ""};
	static const char *const patterns[] = {"*", "a*", "*.example.org", "spiffe://*", ""};
	uint8_t digest[48];
	X509 *certificate = size <= FUZZ_MAX_BYTES ? parse(data, size) : NULL;

	if (!certificate)
		return 0;
	check_texts(certificate);
	for (size_t i = 0; i < COUNT_OF(names); i++)
		(void)identity_has_name(certificate, names[i]);
	for (size_t i = 0; i < COUNT_OF(patterns); i++)
		(void)identity_matches(certificate, patterns[i]);
	(void)identity_has_usage(certificate, IDENTITY_SERVER);
	(void)identity_has_usage(certificate, IDENTITY_CLIENT);
	assert(identity_digest(certificate, digest) == 0);
	check_allow_list(certificate);
	X509_free(certificate);
	return 0;
}
