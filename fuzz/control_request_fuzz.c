// A line on the control socket: refused with a printable reason, or one of the commands.

#include "ops/control_request.h"

#include "limits.h"

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum control_request request = CONTROL_REQUEST_COUNT;
	char problem[CONTROL_REQUEST_PROBLEM_BYTES] = "", device[CONTROL_REQUEST_DEVICE_BYTES];
	if (size > LIMIT_CONTROL_REQUEST_BYTES)
		return 0;
	if (control_request_parse((const char *)data, size, &request, device, problem) == 0) {
		assert(request < CONTROL_REQUEST_COUNT && *control_request_name(request));
		return 0;
	}
	assert(*problem && strlen(problem) < sizeof problem && request == CONTROL_REQUEST_COUNT);
	return 0;
}
