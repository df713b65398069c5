#include "core/outcome.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

const char *outcome_text(int negative)
{
	static _Thread_local char text[128];
	char storage[128];
	if (negative >= 0)
		return "no error";
	// The GNU form: it may return a static text and leave the storage alone.
	snprintf(text, sizeof text, "%s", strerror_r(-negative, storage, sizeof storage));
	// It goes on in the middle of a line. A word in capitals ("RFS specific error") keeps them.
	if (islower((unsigned char)text[1]))
		text[0] = (char)tolower((unsigned char)text[0]);
	return text;
}
