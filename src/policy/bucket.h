// A token bucket that many threads take from without a lock: one number, the moment when the last token taken will have
// been earned. Pure: no clock.

#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct bucket {
	_Atomic uint64_t earned_us;
	uint64_t each_us;   // a token is earned so often
	uint64_t credit_us; // how far ahead of the clock one may take: the tokens of a full bucket
};

// per_second 1 to 1 000 000; a full bucket has `at_once` tokens, which it has from the beginning.
void bucket_init(struct bucket *bucket, uint32_t per_second, uint32_t at_once);
bool bucket_take(struct bucket *bucket, uint64_t now_us);
