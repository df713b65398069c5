// One line of a CA's index, which people may edit: what is understood is written and read again to the same.

#include "crypto/index_line.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[LIMIT_INDEX_LINE_BYTES + 16], again[LIMIT_INDEX_LINE_BYTES];
	struct index_line line, second;

	if (size >= sizeof text)
		return 0;
	memcpy(text, data, size);
	text[size] = 0;
	if (index_line_decode(text, &line) != 0 || line.event == INDEX_LINE_REMARK)
		return 0;
	index_line_encode(&line, again);
	size_t length = strlen(again);
	assert(length > 0 && again[length - 1] == '\n');
	again[length - 1] = 0;
	assert(index_line_decode(again, &second) == 0 && second.event == line.event);
	assert(second.at == line.at && second.number == line.number && second.next_update == line.next_update);
	assert(strcmp(second.entry.serial, line.entry.serial) == 0 && second.entry.not_after == line.entry.not_after);
	assert(strcmp(second.entry.subject, line.entry.subject) == 0 && strcmp(second.entry.names, line.entry.names) == 0);
	return 0;
}
