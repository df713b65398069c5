#include "policy/rate.h"

#define SECOND_US 1000000

void rate_set(struct rate *rate, uint64_t per_second)
{
	// What is owed was reckoned by the limit before.
	if (atomic_exchange_explicit(&rate->per_second, per_second, memory_order_relaxed) != per_second)
		atomic_store_explicit(&rate->paid_us, 0, memory_order_relaxed);
}

uint64_t rate_pay(struct rate *rate, uint64_t bytes, uint64_t now_us)
{
	uint64_t per_second = atomic_load_explicit(&rate->per_second, memory_order_relaxed);
	if (per_second == 0)
		return 0;
	// 128 bits: a unit times a million does not fit 32, and nobody should have to think about 64.
	uint64_t costs_us = (uint64_t)((unsigned __int128)bytes * SECOND_US / per_second);
	uint64_t least = now_us > RATE_CREDIT_US ? now_us - RATE_CREDIT_US : 0, paid, next;
	paid = atomic_load_explicit(&rate->paid_us, memory_order_relaxed);
	do
		next = (paid > least ? paid : least) + costs_us;
	while (!atomic_compare_exchange_weak_explicit(&rate->paid_us, &paid, next, memory_order_relaxed,
	                                              memory_order_relaxed));
	return next > now_us ? next - now_us : 0;
}
