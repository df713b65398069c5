#include "core/outcome.h"

#include <string.h>

const char *outcome_text(int negative)
{
	static _Thread_local char buffer[128];
	// The GNU form: it may return a static text and leave the buffer alone.
	return negative >= 0 ? "no error" : strerror_r(-negative, buffer, sizeof buffer);
}
