#include "link/keycache.h"

#include "crypto/kem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

// Digests and keys by number: the cache does not look into them.
static const uint8_t *digest(uint8_t number)
{
	static uint8_t bytes[DIGEST_BYTES];
	memset(bytes, number, sizeof bytes);
	return bytes;
}

static const uint8_t *key(uint8_t number)
{
	static uint8_t bytes[MCELIECE_KEY_BYTES];
	memset(bytes, number, sizeof bytes);
	return bytes;
}

static void expect_cached(struct keycache *cache, uint8_t number)
{
	const uint8_t *cached = keycache_lookup(cache, digest(number));
	assert_non_null(cached);
	assert_memory_equal(cached, key(number), MCELIECE_KEY_BYTES);
}

static void expect_last(const struct keycache *cache, uint8_t number)
{
	uint8_t last[DIGEST_BYTES];
	assert_true(keycache_last(cache, last));
	assert_memory_equal(last, digest(number), DIGEST_BYTES);
}

static void empty_cache_knows_nothing(void **state)
{
	(void)state;
	struct keycache *cache = NULL;
	uint8_t last[DIGEST_BYTES];
	assert_true(keycache_new(0, &cache) < 0);
	keycache_free(&cache);
	assert_int_equal(keycache_new(2, &cache), 0);
	assert_null(keycache_lookup(cache, digest(0)));
	assert_false(keycache_last(cache, last));
	keycache_free(&cache);
	assert_null(cache);
}

static void stored_keys_are_found(void **state)
{
	(void)state;
	struct keycache *cache = NULL;
	assert_int_equal(keycache_new(3, &cache), 0);
	for (uint8_t i = 0; i < 3; i++)
		keycache_store(cache, digest(i), key(i));
	for (uint8_t i = 0; i < 3; i++)
		expect_cached(cache, i);
	assert_null(keycache_lookup(cache, digest(3)));
	keycache_free(&cache);
}

static void key_used_longest_ago_goes_first(void **state)
{
	(void)state;
	struct keycache *cache = NULL;
	assert_int_equal(keycache_new(2, &cache), 0);
	keycache_store(cache, digest(1), key(1));
	keycache_store(cache, digest(2), key(2));
	expect_cached(cache, 1);
	keycache_store(cache, digest(3), key(3));
	assert_null(keycache_lookup(cache, digest(2)));
	expect_cached(cache, 1);
	expect_cached(cache, 3);
	keycache_free(&cache);
}

static void storing_twice_keeps_one(void **state)
{
	(void)state;
	struct keycache *cache = NULL;
	assert_int_equal(keycache_new(2, &cache), 0);
	keycache_store(cache, digest(1), key(1));
	keycache_store(cache, digest(2), key(2));
	keycache_store(cache, digest(1), key(1));
	expect_cached(cache, 2);
	expect_cached(cache, 1);
	keycache_free(&cache);
}

static void last_is_what_was_stored_or_found_last(void **state)
{
	(void)state;
	struct keycache *cache = NULL;
	assert_int_equal(keycache_new(2, &cache), 0);
	keycache_store(cache, digest(1), key(1));
	expect_last(cache, 1);
	keycache_store(cache, digest(2), key(2));
	expect_last(cache, 2);
	expect_cached(cache, 1);
	expect_last(cache, 1);
	assert_null(keycache_lookup(cache, digest(9)));
	expect_last(cache, 1);
	keycache_free(&cache);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty_cache_knows_nothing),
		cmocka_unit_test(stored_keys_are_found),
		cmocka_unit_test(key_used_longest_ago_goes_first),
		cmocka_unit_test(storing_twice_keeps_one),
		cmocka_unit_test(last_is_what_was_stored_or_found_last),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
