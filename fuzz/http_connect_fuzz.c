// HTTP CONNECT requests. A request that is accepted has one reading: cut anywhere it is "more", and bytes behind it
// change nothing.

#include "edge/http_connect.h"
#include "limits.h"

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct request request, other;
	size_t used = 0, again = 0;
	int outcome = http_connect_decode(data, size, &request, &used);
	if (outcome == HTTP_CONNECT_MORE)
		assert(size < LIMIT_ENTRY_REQUEST_BYTES);
	if (outcome != 0)
		return 0;
	assert(used >= 4 && used <= size && used <= LIMIT_ENTRY_REQUEST_BYTES);
	assert(memcmp(data, "CONNECT ", 8) == 0 && memcmp(data + used - 4, "\r\n\r\n", 4) == 0);
	size_t length = strnlen(request.host, sizeof request.host);
	assert(length > 0 && length <= REQUEST_HOST_BYTES && strcspn(request.host, " \"'/@[]\\\r\n") == length);
	assert(http_connect_decode(data, used, &other, &again) == 0 && again == used);
	assert(strcmp(request.host, other.host) == 0 && request.port == other.port);
	for (size_t cut = 0; cut < used; cut++)
		assert(http_connect_decode(data, cut, &other, &again) == HTTP_CONNECT_MORE);
	return 0;
}
