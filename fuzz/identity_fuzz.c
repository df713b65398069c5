// A peer's certificate, in PEM or DER: what is shown of it stays printable ASCII within its room, and the questions
// that decide whether it is let in have an answer.

#include "crypto/identity.h"

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
	X509 *certificate = input ? PEM_read_bio_X509(input, NULL, NULL, NULL) : NULL;

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
	X509_free(certificate);
	return 0;
}
