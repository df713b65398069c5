#include "policy/bucket.h"

// cmocka.h uses these and includes none of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>

#define NOW 1000000000ull

static unsigned take_all(struct bucket *bucket, uint64_t now_us)
{
	unsigned n = 0;
	while (bucket_take(bucket, now_us))
		n++;
	return n;
}

static void a_full_bucket_gives_what_it_holds_at_once(void **state)
{
	(void)state;
	struct bucket bucket;
	bucket_init(&bucket, 10, 5);
	assert_int_equal(take_all(&bucket, NOW), 5);
}

static void tokens_are_earned_at_the_rate_and_no_faster(void **state)
{
	(void)state;
	struct bucket bucket;
	bucket_init(&bucket, 10, 5);
	take_all(&bucket, NOW);
	assert_false(bucket_take(&bucket, NOW + 99999));
	assert_true(bucket_take(&bucket, NOW + 100000));
	assert_false(bucket_take(&bucket, NOW + 100000));
	assert_int_equal(take_all(&bucket, NOW + 400000), 3);
}

static void a_long_rest_fills_the_bucket_and_no_more(void **state)
{
	(void)state;
	struct bucket bucket;
	bucket_init(&bucket, 10, 5);
	take_all(&bucket, NOW);
	assert_int_equal(take_all(&bucket, NOW + 3600000000ull), 5);
}

static void refusals_take_nothing(void **state)
{
	(void)state;
	struct bucket bucket;
	bucket_init(&bucket, 10, 1);
	assert_true(bucket_take(&bucket, NOW));
	for (int i = 0; i < 1000; i++)
		assert_false(bucket_take(&bucket, NOW + 99999));
	assert_true(bucket_take(&bucket, NOW + 100000));
}

static void *take_in_a_thread(void *owner)
{
	return (void *)(uintptr_t)take_all(owner, NOW); // NOLINT(performance-no-int-to-ptr)
}

static void threads_together_take_what_there_is(void **state)
{
	(void)state;
	struct bucket bucket;
	pthread_t thread[4];
	uintptr_t sum = 0;
	bucket_init(&bucket, 1000, 10000);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, take_in_a_thread, &bucket), 0);
	for (int i = 0; i < 4; i++) {
		void *taken;
		assert_int_equal(pthread_join(thread[i], &taken), 0);
		sum += (uintptr_t)taken;
	}
	assert_int_equal(sum, 10000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_full_bucket_gives_what_it_holds_at_once),
		cmocka_unit_test(tokens_are_earned_at_the_rate_and_no_faster),
		cmocka_unit_test(a_long_rest_fills_the_bucket_and_no_more),
		cmocka_unit_test(refusals_take_nothing),
		cmocka_unit_test(threads_together_take_what_there_is),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
