// A stranger's request for a certificate, in PEM or DER: what is shown of it stays printable ASCII within its room, and
// what is acceptable is self-signed and has a fault of none.

#include "crypto/pem.h"
#include "crypto/request.h"

#include <assert.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FUZZ_MAX_BYTES = 256 * 1024 };

static X509_REQ *parse(const uint8_t *data, size_t size)
{
	const uint8_t *at = data;
	BIO *input = BIO_new_mem_buf(data, (int)size);
	X509_REQ *request = input ? PEM_read_bio_X509_REQ(input, NULL, pem_refuse_to_ask, NULL) : NULL;

	BIO_free(input);
	return request ? request : d2i_X509_REQ(NULL, &at, (long)size);
}

static void check_text(const char *text, size_t room)
{
	size_t length = strnlen(text, room);

	assert(length < room);
	for (size_t i = 0; i < length; i++)
		assert(text[i] >= 0x20 && text[i] < 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct request_details details;
	X509_REQ *request = size <= FUZZ_MAX_BYTES ? parse(data, size) : NULL;

	if (!request)
		return 0;
	request_judge(request, &details);
	check_text(details.subject, sizeof details.subject);
	check_text(details.common_name, sizeof details.common_name);
	check_text(details.names, sizeof details.names);
	check_text(details.key_type, sizeof details.key_type);
	check_text(details.signature, sizeof details.signature);
	check_text(details.ignored, sizeof details.ignored);
	check_text(details.fault, sizeof details.fault);
	assert(details.is_acceptable == !details.fault[0]);
	assert(!details.is_acceptable || details.is_self_signed);
	X509_REQ_free(request);
	return 0;
}
