#include "policy/bucket.h"

void bucket_init(struct bucket *bucket, uint32_t per_second, uint32_t at_once)
{
	atomic_init(&bucket->earned_us, 0);
	bucket->each_us = 1000000 / per_second;
	bucket->credit_us = bucket->each_us * at_once;
}

bool bucket_take(struct bucket *bucket, uint64_t now_us)
{
	uint64_t earned = atomic_load_explicit(&bucket->earned_us, memory_order_relaxed), next;
	do {
		next = (earned > now_us ? earned : now_us) + bucket->each_us;
		if (next > now_us + bucket->credit_us)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(&bucket->earned_us, &earned, next, memory_order_relaxed,
	                                                memory_order_relaxed));
	return true;
}
