// The addresses that the other end of a packet tunnel assigns, from a peer that has shown a certificate: what decodes
// is encoded again to something that decodes to the same, holds nothing that no host has, and is compared with a text
// that fits.

#include "link/grant.h"
#include "link/message.h"

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct grant ours = {.is_given = true, .asks6 = true, .ipv4 = {4, 24, {192, 168, 3, 2}}};
	uint8_t bytes[4 + GRANT_VALUE_BYTES];
	struct grant grant, again;
	struct writer writer;
	char text[LIMIT_REASON_BYTES + 1] = "", address[GRANT_TEXT_BYTES];
	if (!grant_decode(data, size, &grant))
		return 0;
	assert(grant.is_given && grant.route_count <= LIMIT_GRANT_ROUTES);
	assert(grant.ipv4.version == 0 || (grant.ipv4.version == 4 && grant.ipv4.bits >= 1 && grant.ipv4.bits <= 32));
	assert(grant.ipv6.version == 0 || (grant.ipv6.version == 6 && grant.ipv6.bits >= 1 && grant.ipv6.bits <= 128));
	assert(grant.ipv4.version == 0 || (grant.ipv4.bytes[0] != 127 && grant.ipv4.bytes[0] < 224));
	grant_format(&grant.ipv6, address);
	writer_init(&writer, bytes, sizeof bytes);
	grant_encode(&grant, &writer);
	assert(!writer.bad);
	assert(grant_decode(bytes + 4, writer_length(&writer) - 4, &again));
	assert(grant_is_same(&grant, &again));
	bool agrees = grant_agree(&ours, &grant, text);
	assert(agrees == (text[0] == '\0'));
	assert(message_text_is_printable(text) && strlen(text) <= LIMIT_REASON_BYTES);
	(void)grant_agree(&grant, &ours, text);
	return 0;
}
