// Bytes per second that several threads share without a lock: one number, the moment until which what was moved so far
// pays. Bytes are moved first and paid afterwards: whoever is told to wait rests so long. Pure: no clock.

#pragma once

#include <stdatomic.h>
#include <stdint.h>

struct rate {
	_Atomic uint64_t per_second; // 0: no limit
	_Atomic uint64_t paid_us;
};

// May be called again at any time from any thread. With another limit nothing is owed any more.
void rate_set(struct rate *rate, uint64_t per_second);
// How long to rest before more is moved, in microseconds; 0: go on. What was not used for up to RATE_CREDIT_US is still
// there. Without bytes it only says what is owed.
#define RATE_CREDIT_US 100000
uint64_t rate_pay(struct rate *rate, uint64_t bytes, uint64_t now_us);
