#include "wire/tls_hello.h"

#include "core/outcome.h"

// cmocka.h uses these and includes none of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

static void list_of_code_points_must_fill_its_extension(void **state)
{
	(void)state;
	static const uint8_t schemes[] = {0, 4, 0x04, 0x03, 0x09, 0x05};
	struct tls_codes codes;
	assert_true(tls_hello_codes(schemes, sizeof schemes, 2, &codes));
	assert_true(tls_codes_have(&codes, 0x0403));
	assert_true(tls_codes_have(&codes, 0x0905));
	assert_false(tls_codes_have(&codes, 0x0309)); // across two of them
	for (size_t length = 0; length < sizeof schemes; length++) {
		assert_false(tls_hello_codes(schemes, length, 2, &codes));
		assert_int_equal(codes.length, 0);
	}
	static const uint8_t longer[] = {0, 4, 4, 3, 9, 5, 0}, odd[] = {0, 3, 4, 3, 9}, versions[] = {4, 3, 4, 3, 3};
	assert_false(tls_hello_codes(longer, sizeof longer, 2, &codes));
	assert_false(tls_hello_codes(odd, sizeof odd, 2, &codes));
	assert_true(tls_hello_codes(versions, sizeof versions, 1, &codes));
	assert_true(tls_codes_have(&codes, 0x0304));
}

static size_t make_sni(uint8_t *body, const char *name, size_t length)
{
	const uint8_t head[] = {(uint8_t)((length + 3) >> 8), (uint8_t)(length + 3), 0, (uint8_t)(length >> 8),
	                        (uint8_t)length};
	memcpy(body, head, sizeof head);
	memcpy(body + sizeof head, name, length);
	return sizeof head + length;
}

static void name_is_taken_in_lower_case_and_only_as_a_host_name(void **state)
{
	(void)state;
	uint8_t body[512];
	char name[TLS_SNI_BYTES], longest[300];
	size_t length = make_sni(body, "Www.B_2.example", 15);
	assert_true(tls_hello_sni(body, length, name));
	assert_string_equal(name, "www.b_2.example");
	for (size_t cut = 0; cut < length; cut++) {
		assert_false(tls_hello_sni(body, cut, name));
		assert_string_equal(name, "");
	}
	assert_false(tls_hello_sni(body, length + 1, name)); // a second name, or what is left of one
	assert_true(tls_hello_sni(body, make_sni(body, "a.example.", 10), name));
	assert_string_equal(name, "a.example");
	length = make_sni(body, "a.example", 9);
	body[2] = 1; // another kind of name
	assert_false(tls_hello_sni(body, length, name));
	memset(longest, 'a', sizeof longest);
	assert_true(tls_hello_sni(body, make_sni(body, longest, 255), name));
	assert_int_equal(strlen(name), 255);
	assert_false(tls_hello_sni(body, make_sni(body, longest, 256), name));
	assert_false(tls_hello_sni(body, make_sni(body, "", 0), name));
	assert_false(tls_hello_sni(body, make_sni(body, "a\0b", 3), name));
	assert_false(tls_hello_sni(body, make_sni(body, "a/../b", 6), name));
	assert_false(tls_hello_sni(body, make_sni(body, "a b", 3), name));
	assert_false(tls_hello_sni(body, make_sni(body, "*.a", 3), name));
	assert_false(tls_hello_sni(body, make_sni(body, "\xc3\xa4", 2), name));
	assert_string_equal(name, "");
}

static void methods_of_http_are_known_by_their_first_eight_bytes(void **state)
{
	(void)state;
	static const char *const requests[] = {"GET / HT", "POST /a ", "OPTIONS ", "CONNECT ", "PRI * HT", "DELETE /"};
	static const char *const others[] = {"", "GET", "GETTING ", "get / ht", "\x16\x03\x01", "SSH-2.0-", "CONNECTS"};
	for (size_t i = 0; i < COUNT_OF(requests); i++)
		assert_true(tls_hello_is_http((const uint8_t *)requests[i], strlen(requests[i])));
	for (size_t i = 0; i < COUNT_OF(others); i++)
		assert_false(tls_hello_is_http((const uint8_t *)others[i], strlen(others[i])));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(list_of_code_points_must_fill_its_extension),
		cmocka_unit_test(name_is_taken_in_lower_case_and_only_as_a_host_name),
		cmocka_unit_test(methods_of_http_are_known_by_their_first_eight_bytes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
