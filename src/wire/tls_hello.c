#include "wire/tls_hello.h"

#include "core/outcome.h"

#include <string.h>

bool tls_codes_have(const struct tls_codes *codes, uint16_t code)
{
	for (size_t i = 0; i + 1 < codes->length; i += 2)
		if (codes->bytes[i] == code >> 8 && codes->bytes[i + 1] == (code & 0xff))
			return true;
	return false;
}

static size_t number(const uint8_t *bytes, size_t count)
{
	size_t value = 0;
	for (size_t i = 0; i < count; i++)
		value = value << 8 | bytes[i];
	return value;
}

bool tls_hello_codes(const uint8_t *body, size_t length, size_t prefix, struct tls_codes *codes)
{
	*codes = (struct tls_codes){0};
	// Hostile: the inner length must be that of the extension, and whole code points.
	if (length < prefix || number(body, prefix) != length - prefix || (length - prefix) % 2 != 0)
		return false;
	*codes = (struct tls_codes){.bytes = body + prefix, .length = length - prefix};
	return true;
}

static bool is_host_character(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
}

bool tls_hello_sni(const uint8_t *body, size_t length, char name[TLS_SNI_BYTES])
{
	enum { HEAD_BYTES = 5, HOST_NAME = 0 };
	name[0] = '\0';
	if (length <= HEAD_BYTES || number(body, 2) != length - 2 || body[2] != HOST_NAME ||
	    number(body + 3, 2) != length - HEAD_BYTES || length - HEAD_BYTES >= TLS_SNI_BYTES)
		return false;
	for (size_t i = HEAD_BYTES; i < length; i++) {
		uint8_t c = body[i];
		c = c >= 'A' && c <= 'Z' ? (uint8_t)(c - 'A' + 'a') : c;
		// Hostile: the name is logged, routed by and compared with certificates.
		if (!is_host_character(c)) {
			name[0] = '\0';
			return false;
		}
		name[i - HEAD_BYTES] = (char)c;
	}
	size_t end = length - HEAD_BYTES;
	// An absolute name is the same name.
	if (end > 1 && name[end - 1] == '.')
		end--;
	name[end] = '\0';
	return true;
}

bool tls_hello_is_http(const uint8_t *bytes, size_t length)
{
	static const char *const begins[] = {"GET ",     "HEAD ",  "POST ",  "PUT ", "DELETE ",
	                                     "OPTIONS ", "PATCH ", "TRACE ", "PRI ", "CONNECT "};
	for (size_t i = 0; i < COUNT_OF(begins); i++)
		if (length >= strlen(begins[i]) && memcmp(bytes, begins[i], strlen(begins[i])) == 0)
			return true;
	return false;
}
