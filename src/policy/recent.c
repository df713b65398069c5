#include "policy/recent.h"

#include <string.h>

bool recent_add(struct recent *recent, const uint8_t value[RECENT_BYTES])
{
	unsigned set = (unsigned)(value[0] << 8 | value[1]) % RECENT_SETS;
	for (unsigned i = 0; i < RECENT_PER_SET; i++)
		if (recent->is_used[set][i] && memcmp(recent->values[set][i], value, RECENT_BYTES) == 0)
			return false;
	unsigned place = recent->next[set];
	recent->next[set] = (uint8_t)((place + 1) % RECENT_PER_SET);
	recent->is_used[set][place] = 1;
	memcpy(recent->values[set][place], value, RECENT_BYTES);
	return true;
}
