// What some port answers to a probe: texts stay within their bounds and printable, and nothing but 200 passes.

#include "cmd/health_answer.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void assert_printable(const char *text)
{
	assert(strlen(text) < HEALTH_TEXT_BYTES);
	for (; *text; text++)
		assert(*text >= 0x20 && *text <= 0x7e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct health_answer answer;
	if (size > 16384 || health_answer_read((const char *)data, size, &answer) != 0)
		return 0;
	assert_printable(answer.status);
	assert_printable(answer.message);
	assert(answer.code <= 999 && (!answer.passed || answer.code == 200));
	return 0;
}
