#include "crypto/pin.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const char curl_prefix[] = "sha256//";

static int refuse(const char *text, char problem[PIN_PROBLEM_BYTES])
{
	snprintf(problem, PIN_PROBLEM_BYTES,
	         "\"%.40s\" is no pin: 64 hexadecimal digits, the SHA-256 of the public key, or sha256// and its base64",
	         text);
	return PIN_REFUSED;
}

static int parse_base64(const char *text, const char *digits, uint8_t pin[PIN_BYTES], char problem[PIN_PROBLEM_BYTES])
{
	enum { BASE64_CHARACTERS = 44, DECODED_BYTES = 33 }; // with one '='
	uint8_t decoded[DECODED_BYTES + 1];
	bool fits = strlen(digits) == BASE64_CHARACTERS && digits[BASE64_CHARACTERS - 1] == '=' &&
	            digits[BASE64_CHARACTERS - 2] != '=';
	if (!fits || EVP_DecodeBlock(decoded, (const uint8_t *)digits, BASE64_CHARACTERS) != DECODED_BYTES) {
		ERR_clear_error();
		return refuse(text, problem);
	}
	memcpy(pin, decoded, PIN_BYTES);
	return 0;
}

int pin_parse(const char *text, uint8_t pin[PIN_BYTES], char problem[PIN_PROBLEM_BYTES])
{
	uint8_t bytes[PIN_BYTES];
	size_t length = 0;
	if (strncmp(text, curl_prefix, sizeof curl_prefix - 1) == 0)
		return parse_base64(text, text + sizeof curl_prefix - 1, pin, problem);
	if (OPENSSL_hexstr2buf_ex(bytes, sizeof bytes, &length, text, ':') != 1 || length != PIN_BYTES) {
		ERR_clear_error();
		return refuse(text, problem);
	}
	memcpy(pin, bytes, PIN_BYTES);
	return 0;
}

int pin_of(X509 *certificate, uint8_t pin[PIN_BYTES])
{
	uint8_t *der = NULL;
	int length = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
	if (length <= 0) {
		ERR_clear_error();
		return -EINVAL;
	}
	SHA256(der, (size_t)length, pin);
	OPENSSL_free(der);
	return 0;
}
