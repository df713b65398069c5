#include "core/brake.h"

#define SECOND_MS 1000

bool brake_passes(struct brake *brake, uint64_t now_ms)
{
	if (brake->passed == 0 || now_ms - brake->since_ms >= SECOND_MS) {
		brake->since_ms = now_ms;
		brake->passed = 0;
	}
	if (brake->passed < brake->per_second) {
		brake->passed++;
		return true;
	}
	brake->held++;
	return false;
}

uint64_t brake_sum(struct brake *brake, uint64_t now_ms)
{
	if (brake->held == 0 || now_ms - brake->since_ms < SECOND_MS)
		return 0;
	uint64_t held = brake->held;
	brake->held = 0;
	return held;
}
