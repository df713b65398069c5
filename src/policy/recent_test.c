#include "policy/recent.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct recent recent;

static void fill(uint8_t value[RECENT_BYTES], uint32_t number)
{
	memset(value, 0, RECENT_BYTES);
	// As random ones are spread: the sets come in turn.
	value[0] = (uint8_t)(number >> 8);
	value[1] = (uint8_t)number;
	memcpy(value + 8, &number, sizeof number);
}

static void what_was_seen_is_known_and_the_latest_longest(void **state)
{
	(void)state;
	uint8_t value[RECENT_BYTES];
	const uint32_t most = RECENT_SETS * RECENT_PER_SET;
	memset(&recent, 0, sizeof recent);
	for (uint32_t i = 0; i < most; i++) {
		fill(value, i);
		assert_true(recent_add(&recent, value));
	}
	for (uint32_t i = 0; i < most; i++) {
		fill(value, i);
		assert_false(recent_add(&recent, value));
	}
	fill(value, most);
	assert_true(recent_add(&recent, value));
	fill(value, 0); // the oldest of its set
	assert_true(recent_add(&recent, value));
	fill(value, most);
	assert_false(recent_add(&recent, value));
}

static void the_null_value_has_seen_nothing(void **state)
{
	(void)state;
	uint8_t zero[RECENT_BYTES] = {0};
	memset(&recent, 0, sizeof recent);
	assert_true(recent_add(&recent, zero));
	assert_false(recent_add(&recent, zero));
	zero[RECENT_BYTES - 1] = 1;
	assert_true(recent_add(&recent, zero));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_seen_is_known_and_the_latest_longest),
		cmocka_unit_test(the_null_value_has_seen_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
