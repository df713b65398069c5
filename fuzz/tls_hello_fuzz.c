// What a ClientHello's extensions decide before the library has judged them: the name asked for, the lists of code
// points, and whether the first bytes are HTTP. The first byte says which.

#include "wire/tls_hello.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_codes(const uint8_t *data, size_t size, size_t prefix)
{
	struct tls_codes codes;
	bool is_formed = tls_hello_codes(data, size, prefix, &codes);

	assert(is_formed || codes.length == 0);
	assert(codes.length % 2 == 0 && codes.length <= size);
	for (size_t i = 0; i + 1 < codes.length; i += 2)
		assert(tls_codes_have(&codes, (uint16_t)(codes.bytes[i] << 8 | codes.bytes[i + 1])));
}

static void check_name(const uint8_t *data, size_t size)
{
	char name[TLS_SNI_BYTES];
	bool is_formed = tls_hello_sni(data, size, name);
	size_t length = strnlen(name, sizeof name);

	assert(length < sizeof name && is_formed == (length > 0));
	for (size_t i = 0; i < length; i++)
		assert(strchr("abcdefghijklmnopqrstuvwxyz0123456789-._", name[i]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	switch (data[0]) {
	case 'n':
		check_name(data + 1, size - 1);
		break;
	case '1':
	case '2':
		check_codes(data + 1, size - 1, (size_t)(data[0] - '0'));
		break;
	default:
		(void)tls_hello_is_http(data + 1, size - 1);
	}
	return 0;
}
