#include "policy/span.h"

#include <stdlib.h>
#include <string.h>

#define SPAN_DAY_S 86400ULL
#define SPAN_MOST_S (36500 * SPAN_DAY_S)
// Digits of the longest one in seconds.
enum { SPAN_DIGITS = 10 };

// The number in front, and where it ends; 0: there is none.
static uint64_t number_of(const char *text, const char **end)
{
	size_t digits = strspn(text, "0123456789");

	*end = text + digits;
	return digits >= 1 && digits <= SPAN_DIGITS ? strtoull(text, NULL, 10) : 0;
}

static uint64_t unit_of(const char *word)
{
	static const struct {
		const char *word;
		uint64_t seconds;
	} units[] = {{"s", 1}, {"m", 60}, {"h", 3600}, {"d", SPAN_DAY_S}};

	for (size_t i = 0; i < COUNT_OF(units); i++)
		if (strcmp(units[i].word, word) == 0)
			return units[i].seconds;
	return 0;
}

int span_parse(const char *text, uint64_t *seconds)
{
	const char *end;
	uint64_t number = number_of(text, &end), unit = unit_of(end);

	if (number == 0 || unit == 0 || number > SPAN_MOST_S / unit)
		return SPAN_BAD;
	*seconds = number * unit;
	return 0;
}

int span_parse_any(const char *text, struct span *span)
{
	const char *end;
	uint64_t number = number_of(text, &end), seconds;

	if (strcmp(end, "%") == 0 && number >= 1 && number <= 99) {
		*span = (struct span){.percent = (unsigned)number};
		return 0;
	}
	if (span_parse(text, &seconds) != 0)
		return SPAN_BAD;
	*span = (struct span){.seconds = seconds};
	return 0;
}

uint64_t span_of(const struct span *span, uint64_t whole_seconds)
{
	return span->seconds ? span->seconds
	                     : whole_seconds / 100 * span->percent + whole_seconds % 100 * span->percent / 100;
}
