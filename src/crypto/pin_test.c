#include "crypto/pin.h"

#include "crypto/forge.h"

// cmocka.h uses these and includes none of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <openssl/evp.h>

static void hexadecimal_and_base64_say_the_same(void **state)
{
	(void)state;
	uint8_t a[PIN_BYTES], b[PIN_BYTES], c[PIN_BYTES];
	char problem[PIN_PROBLEM_BYTES];
	assert_int_equal(pin_parse("000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F", a, problem), 0);
	assert_int_equal(pin_parse("sha256//AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", b, problem), 0);
	assert_int_equal(pin_parse("00:01:02:03:04:05:06:07:08:09:0a:0b:0c:0d:0e:0f:10:11:12:13:14:15:16:17:18:19:1a:1b:1c:"
	                           "1d:1e:1f",
	                           c, problem),
	                 0);
	for (int i = 0; i < PIN_BYTES; i++)
		assert_int_equal(a[i], i);
	assert_memory_equal(a, b, PIN_BYTES);
	assert_memory_equal(a, c, PIN_BYTES);
}

static void what_is_no_pin_is_refused_and_leaves_the_output(void **state)
{
	(void)state;
	static const char *const texts[] = {
		"",
		"00",
		"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e",
		"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20",
		"g00102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
		"sha256//",
		"sha256//AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
		"sha256//AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg==",
		"sha256//AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh!=",
		"sha1//AAECAwQFBgcICQoLDA0ODxAREhM=",
	};
	uint8_t pin[PIN_BYTES] = {7};
	char problem[PIN_PROBLEM_BYTES];
	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		assert_int_equal(pin_parse(texts[i], pin, problem), PIN_REFUSED);
		assert_non_null(strstr(problem, "64 hexadecimal digits"));
		assert_int_equal(pin[0], 7);
	}
}

static void pin_belongs_to_the_key_and_not_to_the_certificate(void **state)
{
	(void)state;
	uint8_t a[PIN_BYTES], b[PIN_BYTES], c[PIN_BYTES], digest[32];
	forge_start();
	X509 *one = forge(&(struct forgery){.common_name = "one"});
	X509 *again = forge(&(struct forgery){.common_name = "again"});
	X509 *other = forge(&(struct forgery){.common_name = "other", .key = forge_ca_key});
	assert_int_equal(pin_of(one, a), 0);
	assert_int_equal(pin_of(again, b), 0);
	assert_int_equal(pin_of(other, c), 0);
	assert_memory_equal(a, b, PIN_BYTES);
	assert_memory_not_equal(a, c, PIN_BYTES);
	uint8_t *der = NULL;
	int length = i2d_PUBKEY(forge_leaf_key, &der);
	assert_int_equal(EVP_Digest(der, (size_t)length, digest, NULL, EVP_sha256(), NULL), 1);
	assert_memory_equal(a, digest, PIN_BYTES);
	OPENSSL_free(der);
	X509_free(one);
	X509_free(again);
	X509_free(other);
	forge_stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hexadecimal_and_base64_say_the_same),
		cmocka_unit_test(what_is_no_pin_is_refused_and_leaves_the_output),
		cmocka_unit_test(pin_belongs_to_the_key_and_not_to_the_certificate),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
