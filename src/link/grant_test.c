#include "link/grant.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static const struct grant full = {
	.is_given = true,
	.ipv4 = {4, 24, {192, 168, 3, 2}},
	.ipv6 = {6, 64, {0xfd, 3, [15] = 2}},
	.route_count = 2,
	.routes = {{4, 8, {10}}, {6, 0, {0}}},
};

static size_t encode(const struct grant *grant, uint8_t *bytes, size_t size)
{
	struct writer writer;
	writer_init(&writer, bytes, size);
	grant_encode(grant, &writer);
	assert_false(writer.bad);
	return writer_length(&writer);
}

static void what_was_encoded_is_decoded(void **state)
{
	uint8_t bytes[4 + GRANT_VALUE_BYTES];
	struct grant again;
	(void)state;
	size_t length = encode(&full, bytes, sizeof bytes);
	assert_int_equal(bytes[1], GRANT_TYPE);
	assert_int_equal((size_t)bytes[2] << 8 | bytes[3], length - 4);
	assert_true(grant_decode(bytes + 4, length - 4, &again));
	assert_true(grant_is_same(&full, &again));
	assert_int_equal(encode(&(struct grant){0}, bytes, sizeof bytes), 0);
	const struct grant asks = {.is_given = true, .asks4 = true, .asks6 = true};
	length = encode(&asks, bytes, sizeof bytes);
	assert_int_equal(length, 4 + 2);
	assert_true(grant_decode(bytes + 4, length - 4, &again));
	assert_true(again.asks4 && again.asks6 && grant_is_same(&asks, &again));
}

static void the_largest_one_fits(void **state)
{
	uint8_t bytes[4 + GRANT_VALUE_BYTES];
	struct grant grant = full, again;
	(void)state;
	grant.route_count = LIMIT_GRANT_ROUTES;
	for (unsigned i = 0; i < LIMIT_GRANT_ROUTES; i++)
		grant.routes[i] = (struct grant_network){6, 128, {0xfd, [15] = (uint8_t)i}};
	assert_int_equal(encode(&grant, bytes, sizeof bytes), sizeof bytes);
	assert_true(grant_decode(bytes + 4, GRANT_VALUE_BYTES, &again));
	assert_true(grant_is_same(&grant, &again));
}

static void each_field_cut_off_is_refused_and_more_behind_is_skipped(void **state)
{
	uint8_t bytes[4 + GRANT_VALUE_BYTES] = {0};
	struct grant grant;
	(void)state;
	size_t length = encode(&full, bytes, sizeof bytes) - 4;
	for (size_t less = 0; less < length; less++)
		assert_false(grant_decode(bytes + 4, less, &grant));
	assert_true(grant_decode(bytes + 4, length + 7, &grant));
	assert_true(grant_is_same(&full, &grant));
}

static bool decodes(const uint8_t *value, size_t length)
{
	struct grant grant;
	return grant_decode(value, length, &grant);
}

// Hostile: what a client would set on its device.
static void addresses_that_no_host_has_are_refused(void **state)
{
	static const uint8_t bad4[][5] = {{0, 0, 0, 0, 24},         {127, 0, 0, 1, 8},    {224, 0, 0, 1, 24},
	                                  {255, 255, 255, 255, 32}, {169, 254, 1, 1, 16}, {10, 0, 0, 1, 0},
	                                  {10, 0, 0, 1, 33}};
	static const uint8_t bad6[][17] = {{[16] = 64},
	                                   {[15] = 1, [16] = 128},
	                                   {0xff, 2, [16] = 64},
	                                   {0xfe, 0x80, [16] = 64},
	                                   {[10] = 0xff, 0xff, 10, [16] = 96},
	                                   {0xfd, [16] = 0},
	                                   {0xfd, [16] = 129}};
	uint8_t value[20] = {1};
	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad4); i++) {
		memcpy(value + 1, bad4[i], 5);
		assert_false(decodes(value, sizeof value));
	}
	value[0] = 2;
	for (size_t i = 0; i < COUNT_OF(bad6); i++) {
		memcpy(value + 1, bad6[i], 17);
		assert_false(decodes(value, sizeof value));
	}
	static const uint8_t good[] = {1, 10, 0, 0, 1, 32, 0};
	assert_true(decodes(good, sizeof good));
}

static void routes_with_host_bits_or_of_no_version_are_refused(void **state)
{
	static const uint8_t host_bits[] = {0, 1, 4, 8, 10, 0, 0, 1}, version[] = {0, 1, 5, 8, 10, 0, 0, 0};
	static const uint8_t too_long[] = {0, 1, 4, 33, 10, 0, 0, 0}, good[] = {0, 1, 4, 0, 0, 0, 0, 0};
	static const uint8_t many[2 + 18 * (LIMIT_GRANT_ROUTES + 1)] = {0, LIMIT_GRANT_ROUTES + 1};
	(void)state;
	assert_false(decodes(host_bits, sizeof host_bits));
	assert_false(decodes(version, sizeof version));
	assert_false(decodes(too_long, sizeof too_long));
	assert_false(decodes(many, sizeof many));
	assert_true(decodes(good, sizeof good));
}

static void a_difference_is_named_with_both_values(void **state)
{
	char text[LIMIT_REASON_BYTES + 1] = "";
	const struct grant has = {.is_given = true, .ipv4 = {4, 24, {192, 168, 3, 9}}};
	const struct grant same = {.is_given = true, .ipv4 = {4, 32, {192, 168, 3, 2}}};
	const struct grant asks = {.is_given = true, .asks6 = true}, nothing = {0};
	const struct grant only4 = {.is_given = true, .ipv4 = {4, 24, {192, 168, 3, 2}}};
	(void)state;
	assert_false(grant_agree(&has, &full, text));
	assert_non_null(strstr(text, "assigns 192.168.3.2/24, the initiator has 192.168.3.9/24"));
	assert_true(grant_agree(&same, &full, text)); // the length of the prefix is its own
	assert_true(grant_agree(&asks, &full, text));
	assert_false(grant_agree(&asks, &only4, text));
	assert_non_null(strstr(text, "ipv6: the initiator asks for an address, the responder assigns none"));
	assert_false(grant_agree(&asks, &nothing, text));
	assert_true(grant_agree(&has, &nothing, text)); // one that assigns nothing leaves it what it has
	assert_true(grant_agree(&nothing, &full, text));
	const struct grant only6 = {.is_given = true, .ipv6 = {6, 64, {0xfd, [15] = 2}}};
	assert_false(grant_agree(&has, &only6, text));
	assert_non_null(strstr(text, "assigns none, the initiator has 192.168.3.9/24"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_encoded_is_decoded),
		cmocka_unit_test(the_largest_one_fits),
		cmocka_unit_test(each_field_cut_off_is_refused_and_more_behind_is_skipped),
		cmocka_unit_test(addresses_that_no_host_has_are_refused),
		cmocka_unit_test(routes_with_host_bits_or_of_no_version_are_refused),
		cmocka_unit_test(a_difference_is_named_with_both_values),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
