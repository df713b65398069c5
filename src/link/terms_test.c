#include "link/terms.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static const struct terms plain = {.is_given = true, .streams = 5, .mtu = 1500, .takes_super = true};

static void what_was_encoded_is_decoded(void **state)
{
	uint8_t bytes[64];
	struct writer writer;
	struct terms again;
	(void)state;
	writer_init(&writer, bytes, sizeof bytes);
	terms_encode(&plain, &writer);
	assert_int_equal(writer_length(&writer), 4 + TERMS_VALUE_BYTES);
	assert_int_equal(bytes[1], TERMS_TYPE);
	assert_true(terms_decode(bytes + 4, TERMS_VALUE_BYTES, &again));
	assert_true(again.is_given && again.streams == 5 && again.mtu == 1500 && again.takes_super);
	writer_init(&writer, bytes, sizeof bytes);
	terms_encode(&(struct terms){0}, &writer);
	assert_int_equal(writer_length(&writer), 0);
}

static void a_value_that_is_cut_off_is_refused_and_a_longer_one_is_read(void **state)
{
	static const uint8_t bytes[] = {0, 5, 0, 0, 5, 0xdc, 0xfe, 1, 2, 3};
	struct terms terms;
	(void)state;
	for (size_t length = 0; length < TERMS_VALUE_BYTES; length++)
		assert_false(terms_decode(bytes, length, &terms));
	assert_true(terms_decode(bytes, sizeof bytes, &terms));
	assert_true(terms.streams == 5 && terms.mtu == 1500 && !terms.takes_super);
}

static bool agree(struct terms ours, const char *build_id, struct terms theirs, const char *other_id, char *text)
{
	struct terms_side a = {"initiator", &ours, build_id}, b = {"responder", &theirs, other_id};
	return terms_agree(&a, &b, text);
}

static void whatever_differs_is_named_with_both_values(void **state)
{
	char text[LIMIT_REASON_BYTES + 1];
	struct terms other = plain, none = {0};
	(void)state;
	assert_true(agree(plain, "x", other, "x", text));
	assert_true(agree(none, "x", none, "y", text));
	assert_false(agree(plain, "x", other, "y", text));
	assert_string_equal(text, "build_id: the initiator has \"x\", the responder has \"y\"; set the same on both");
	other.streams = 3;
	assert_false(agree(plain, "x", other, "x", text));
	assert_string_equal(text, "stream_count: the initiator has 5, the responder has 3; set the same on both");
	other = plain;
	other.mtu = 1400;
	assert_false(agree(plain, "x", other, "x", text));
	assert_string_equal(text, "mtu: the initiator has 1500, the responder has 1400; set the same on both");
	assert_false(agree(plain, "x", none, "x", text));
	assert_string_equal(text, "the initiator is an end of a vpn, the responder is not");
	assert_false(agree(none, "x", plain, "x", text));
	other = plain;
	other.takes_super = false;
	assert_true(agree(plain, "x", other, "x", text));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_encoded_is_decoded),
		cmocka_unit_test(a_value_that_is_cut_off_is_refused_and_a_longer_one_is_read),
		cmocka_unit_test(whatever_differs_is_named_with_both_values),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
