// Strings and arrays while a configuration is read. Lack of memory here ends the process with a message: a file is at
// most LIMIT_CONFIG_BYTES long (config/load.h), so running out means that nothing else would work either.

#pragma once

#include "core/outcome.h"

#include <stddef.h>

void *text_calloc(size_t count, size_t size);
// Room for one more element in an array that holds `count`.
void *text_grow(void *array, size_t count, size_t size);
char *text_copy(const char *text);
char *text_copy_part(const char *text, size_t length);
char *text_format(const char *format, ...) PRINTF_LIKE(1, 2);
// Replaces everything that is not printable ASCII (UTF-8 is left alone) by '?', in place.
void text_clean(char *text);

// Cuts at `most` bytes, not inside a UTF-8 character, so that it ends in "...". most is at least 4.
void text_cut(char *text, size_t most);

// The word of the list nearest to `wrong` by edit distance, NULL when none is near. Feed every candidate, then ask.
struct text_nearest {
	const char *wrong;
	const char *best;
	size_t distance;
};
void text_nearest_init(struct text_nearest *nearest, const char *wrong);
void text_nearest_try(struct text_nearest *nearest, const char *candidate);
