#include "policy/weakness.h"

#include "core/outcome.h"

#include <stdbool.h>
#include <string.h>

#define SHORT_BYTES 16
// Of one class of characters only: a word, a date, a number.
#define PLAIN_BYTES 24
#define LEAST_VARIETY 8

static bool is_made_of(const uint8_t *key, size_t length, uint8_t first, uint8_t last)
{
	for (size_t i = 0; i < length; i++)
		if (key[i] < first || key[i] > last)
			return false;
	return true;
}

static unsigned variety(const uint8_t *key, size_t length)
{
	bool seen[256] = {0};
	unsigned count = 0;
	for (size_t i = 0; i < length; i++) {
		count += !seen[key[i]];
		seen[key[i]] = true;
	}
	return count;
}

static bool is_popular(const uint8_t *key, size_t length)
{
	static const char *const words[] = {"password", "secret", "sekret", "changeme", "letmein", "qwerty",
	                                    "admin",    "test",   "ttun",   "qanat",    "12345",   "presharedkey"};
	char lower[64];
	if (length >= sizeof lower)
		return false;
	for (size_t i = 0; i < length; i++)
		lower[i] = (char)(key[i] >= 'A' && key[i] <= 'Z' ? key[i] + 32 : key[i]);
	lower[length] = '\0';
	for (size_t i = 0; i < COUNT_OF(words); i++)
		if (strstr(lower, words[i]))
			return true;
	return false;
}

const char *weakness_of(const uint8_t *key, size_t length)
{
	if (length < SHORT_BYTES)
		return "it is shorter than 16 bytes";
	if (variety(key, length) < LEAST_VARIETY)
		return "it is made of fewer than 8 different characters";
	if (is_popular(key, length))
		return "it contains a word that is tried first";
	if (length < PLAIN_BYTES && is_made_of(key, length, '0', '9'))
		return "it is a number";
	if (length < PLAIN_BYTES && (is_made_of(key, length, 'a', 'z') || is_made_of(key, length, 'A', 'Z')))
		return "it is made of letters of one case only";
	return NULL;
}
