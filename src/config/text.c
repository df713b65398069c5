#include "config/text.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NEAREST_MAX_BYTES 64

static void *checked(void *memory)
{
	if (memory)
		return memory;
	fputs("config: no memory to read the configuration\n", stderr);
	abort();
}

void *text_calloc(size_t count, size_t size)
{
	return checked(calloc(count > 0 ? count : 1, size));
}

void *text_grow(void *array, size_t count, size_t size)
{
	return checked(reallocarray(array, count + 1, size));
}

char *text_copy(const char *text)
{
	return checked(strdup(text));
}

char *text_copy_part(const char *text, size_t length)
{
	return checked(strndup(text, length));
}

char *text_format(const char *format, ...)
{
	char *text = NULL;
	va_list arguments;
	va_start(arguments, format);
	int length = vasprintf(&text, format, arguments);
	va_end(arguments);
	return checked(length < 0 ? NULL : text);
}

void text_clean(char *text)
{
	for (char *at = text; *at; at++)
		if ((unsigned char)*at < 0x20 || *at == 0x7f)
			*at = '?';
}

void text_cut(char *text, size_t most)
{
	if (strlen(text) <= most)
		return;
	size_t end = most - 3;
	while (end > 0 && (text[end] & 0xc0) == 0x80)
		end--;
	memcpy(text + end, "...", 4);
}

static size_t least(size_t a, size_t b, size_t c)
{
	size_t smaller = a < b ? a : b;
	return smaller < c ? smaller : c;
}

// Levenshtein distance without regard to case, '-' and '_' being one character.
static size_t distance(const char *a, const char *b)
{
	size_t row[NEAREST_MAX_BYTES + 1];
	size_t width = strlen(b);
	if (width > NEAREST_MAX_BYTES || strlen(a) > NEAREST_MAX_BYTES)
		return SIZE_MAX;
	for (size_t j = 0; j <= width; j++)
		row[j] = j;
	for (size_t i = 0; a[i]; i++) {
		size_t diagonal = row[0];
		row[0] = i + 1;
		for (size_t j = 0; j < width; j++) {
			int left = a[i] == '-' ? '_' : tolower((unsigned char)a[i]);
			int right = b[j] == '-' ? '_' : tolower((unsigned char)b[j]);
			size_t changed = diagonal + (left != right);
			diagonal = row[j + 1];
			row[j + 1] = least(row[j] + 1, row[j + 1] + 1, changed);
		}
	}
	return row[width];
}

void text_nearest_init(struct text_nearest *nearest, const char *wrong)
{
	size_t length = strlen(wrong);
	*nearest = (struct text_nearest){.wrong = wrong, .distance = length < 4 ? 2 : length / 3 + 2};
}

void text_nearest_try(struct text_nearest *nearest, const char *candidate)
{
	size_t found = distance(nearest->wrong, candidate);
	if (found < nearest->distance) {
		nearest->distance = found;
		nearest->best = candidate;
	}
}
