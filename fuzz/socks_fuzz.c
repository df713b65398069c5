// SOCKS: greeting, request, and the header of a relayed datagram. What decodes is encoded again and decodes to the
// same; what is cut is never judged differently than "more" or "bad".

#include "edge/socks.h"

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_host(const struct request *request)
{
	size_t length = strnlen(request->host, sizeof request->host);
	assert(length > 0 && length <= REQUEST_HOST_BYTES);
	for (size_t i = 0; i < length; i++)
		assert(request->host[i] > ' ' && request->host[i] <= '~');
}

static void try_greeting(const uint8_t *data, size_t size)
{
	size_t used = 0, again = 0;
	int outcome = socks_greeting_decode(data, size, &used);
	if (outcome != 0 && outcome != SOCKS_NO_METHOD)
		return;
	assert(used >= 2 && used <= size);
	assert(socks_greeting_decode(data, used, &again) == outcome && again == used);
	for (size_t cut = 0; cut < used; cut++)
		assert(socks_greeting_decode(data, cut, &again) == SOCKS_MORE);
}

static void try_request(const uint8_t *data, size_t size)
{
	struct request request, other;
	enum socks_command command;
	size_t used = 0, again = 0;
	if (socks_request_decode(data, size, &command, &request, &used) != 0)
		return;
	assert(used <= size && (command == SOCKS_CONNECT || command == SOCKS_ASSOCIATE));
	check_host(&request);
	for (size_t cut = 0; cut < used; cut++)
		assert(socks_request_decode(data, cut, &command, &other, &again) == SOCKS_MORE);
}

static void try_datagram(const uint8_t *data, size_t size)
{
	uint8_t bytes[SOCKS_DATAGRAM_BYTES];
	struct request request, again;
	size_t used = 0, used_again = 0;
	if (socks_datagram_decode(data, size, &request, &used) != 0)
		return;
	assert(used <= size);
	check_host(&request);
	size_t length = socks_datagram_encode(&request, bytes);
	assert(length <= sizeof bytes);
	assert(socks_datagram_decode(bytes, length, &again, &used_again) == 0 && used_again == length);
	assert(strcmp(request.host, again.host) == 0 && request.port == again.port);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	try_greeting(data, size);
	try_request(data, size);
	try_datagram(data, size);
	return 0;
}
