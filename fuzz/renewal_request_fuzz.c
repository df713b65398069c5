// A request for a renewal, as a CA finds it in its drop folder or is sent it: decoded and proved without harm, or
// refused with a printable reason.

#include "crypto/renewal_request.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_problem(const char *problem)
{
	size_t length = strnlen(problem, RENEWAL_REQUEST_PROBLEM_BYTES);

	assert(length > 0 && length < RENEWAL_REQUEST_PROBLEM_BYTES);
	for (size_t i = 0; i < length; i++)
		assert(problem[i] >= 0x20 && problem[i] < 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct renewal_request request = {0};
	char problem[RENEWAL_REQUEST_PROBLEM_BYTES] = "";

	if (renewal_request_decode(data, size, &request, problem) != 0) {
		check_problem(problem);
		assert(!request.request && !request.certificate && !request.proof);
		return 0;
	}
	assert(request.request && request.certificate && request.proof && request.proof_bytes > 0);
	if (renewal_request_prove(&request, problem) != 0)
		check_problem(problem);
	renewal_request_fini(&request);
	renewal_request_fini(&request);
	return 0;
}
