// How many lines of one kind are written to the log: so many in a second, the rest is counted and summed up, because
// whoever can cause a line must not be able to fill a disk. For one thread.

#pragma once

#include <stdbool.h>
#include <stdint.h>

struct brake {
	uint32_t per_second;
	uint32_t passed;         // in the second that began at since_ms
	uint64_t since_ms, held; // held: not written, and not summed up yet
};

// True: write the line.
bool brake_passes(struct brake *brake, uint64_t now_ms);
// How many lines were held back, once their second is over; 0: none, or not yet. To be asked from time to time.
uint64_t brake_sum(struct brake *brake, uint64_t now_ms);
