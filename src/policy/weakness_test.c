#include "policy/weakness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const char *of(const char *text)
{
	return weakness_of((const uint8_t *)text, strlen(text));
}

static void keys_that_are_guessed_are_named(void **state)
{
	(void)state;
	assert_string_equal(of(""), "it is shorter than 16 bytes");
	assert_string_equal(of("abcdefghij12345"), "it is shorter than 16 bytes");
	assert_string_equal(of("abababababababababababababababab"), "it is made of fewer than 8 different characters");
	assert_string_equal(of("MyPassWordIsLong2026"), "it contains a word that is tried first");
	assert_string_equal(of("8301749256638401"), "it is a number");
	assert_string_equal(of("correcthorsebattery"), "it is made of letters of one case only");
	assert_string_equal(of("CORRECTHORSEBATTERY"), "it is made of letters of one case only");
}

static void random_keys_are_not(void **state)
{
	(void)state;
	static const uint8_t binary[] = {0x8f, 1,    0xd2, 0x44, 7,    0xee, 0x91, 0x3c,
	                                 0,    0xb0, 0x55, 0x6a, 0xf3, 0x28, 0x9d, 0x17};
	assert_null(of("q7Zp+R2mX9c/LwB1vTtYh5sKdN0aGfUe3oJ8iMEyCkA="));
	assert_null(of("correcthorsebatterystaple")); // 25 letters of one case
	assert_null(weakness_of(binary, sizeof binary));
	static uint8_t long_key[200];
	for (unsigned i = 0; i < sizeof long_key; i++)
		long_key[i] = (uint8_t)(i * 37);
	assert_null(weakness_of(long_key, sizeof long_key));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_that_are_guessed_are_named),
		cmocka_unit_test(random_keys_are_not),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
