#include "link/header.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

static const struct header FULL = {.kind = HEADER_TCP, .service = "ssh", .port = 22, .origin = "192.0.2.7:40000"};

// Decodes an exact copy, so that a sanitizer sees the first byte read beyond it.
static int decode(const uint8_t *bytes, size_t length, struct header *header, size_t *used)
{
	uint8_t *copy = malloc(length > 0 ? length : 1);
	assert_non_null(copy);
	memcpy(copy, bytes, length);
	int outcome = header_decode(copy, length, header, used);
	free(copy);
	return outcome;
}

static int decode_answer(const uint8_t *bytes, size_t length, struct header_answer *answer, size_t *used)
{
	uint8_t *copy = malloc(length > 0 ? length : 1);
	assert_non_null(copy);
	memcpy(copy, bytes, length);
	int outcome = header_answer_decode(copy, length, answer, used);
	free(copy);
	return outcome;
}

static void expect_bad(const void *bytes, size_t length)
{
	struct header header;
	size_t used;
	assert_int_equal(decode(bytes, length, &header, &used), HEADER_BAD);
}

// ---- header

static void header_survives_the_way_there_and_back(void **state)
{
	(void)state;
	uint8_t bytes[LIMIT_STREAM_HEADER_BYTES];
	struct header header;
	size_t used = 0, length = header_encode(&FULL, bytes);
	assert_int_equal(decode(bytes, length, &header, &used), 0);
	assert_int_equal(used, length);
	assert_int_equal(header.kind, HEADER_TCP);
	assert_string_equal(header.service, FULL.service);
	assert_int_equal(header.port, FULL.port);
	assert_string_equal(header.origin, FULL.origin);
}

static void header_is_the_bytes_the_protocol_says(void **state)
{
	(void)state;
	static const uint8_t expected[] = {1, 0, 11, 1, 0, 3, 's', 's', 'h', 2, 0, 2, 0, 22};
	const struct header header = {.kind = HEADER_TCP, .service = "ssh", .port = 22};
	uint8_t bytes[LIMIT_STREAM_HEADER_BYTES];
	assert_int_equal(header_encode(&header, bytes), sizeof expected);
	assert_memory_equal(bytes, expected, sizeof expected);
}

static void bytes_after_the_header_are_left_for_the_stream(void **state)
{
	(void)state;
	uint8_t bytes[LIMIT_STREAM_HEADER_BYTES + 100];
	struct header header;
	size_t used = 0, length = header_encode(&FULL, bytes);
	memset(bytes + length, 0xff, 100);
	assert_int_equal(decode(bytes, length + 100, &header, &used), 0);
	assert_int_equal(used, length);
}

static void header_cut_at_any_byte_is_not_complete(void **state)
{
	(void)state;
	uint8_t bytes[LIMIT_STREAM_HEADER_BYTES];
	struct header header;
	size_t used, length = header_encode(&FULL, bytes);
	for (size_t cut = 0; cut < length; cut++)
		assert_int_equal(decode(bytes, cut, &header, &used), HEADER_MORE);
}

// The length field says where the header ends: a TLV that does not is bad, not incomplete.
static void header_whose_length_cuts_a_field_is_refused(void **state)
{
	(void)state;
	uint8_t bytes[LIMIT_STREAM_HEADER_BYTES];
	size_t length = header_encode(&FULL, bytes);
	struct header header;
	size_t used;
	// Behind a whole TLV it is a shorter header; the first one ends after 3 + 3 + 3 bytes, the second 5 later.
	for (size_t cut = 3; cut < length; cut++) {
		bytes[1] = 0;
		bytes[2] = (uint8_t)(cut - 3);
		int expected = cut == 9 || cut == 14 ? 0 : HEADER_BAD;
		assert_int_equal(decode(bytes, cut, &header, &used), expected);
	}
}

static void longest_names_are_accepted_and_longer_ones_refused(void **state)
{
	(void)state;
	struct header longest = {.kind = HEADER_TCP};
	memset(longest.service, 's', LIMIT_SERVICE_NAME_BYTES);
	memset(longest.origin, 'o', sizeof longest.origin - 1);
	uint8_t bytes[LIMIT_STREAM_HEADER_BYTES];
	struct header header;
	size_t used, length = header_encode(&longest, bytes);
	assert_int_equal(decode(bytes, length, &header, &used), 0);
	assert_string_equal(header.service, longest.service);
	assert_string_equal(header.origin, longest.origin);

	uint8_t service[3 + 3 + LIMIT_SERVICE_NAME_BYTES + 1] = {1, 0, 3 + LIMIT_SERVICE_NAME_BYTES + 1,
	                                                         1, 0, LIMIT_SERVICE_NAME_BYTES + 1};
	memset(service + 6, 's', LIMIT_SERVICE_NAME_BYTES + 1);
	expect_bad(service, sizeof service);
	uint8_t origin[3 + 5 + 3 + 64] = {1, 0, 5 + 3 + 64, 2, 0, 2, 0, 22, 3, 0, 64};
	memset(origin + 11, 'o', 64);
	expect_bad(origin, sizeof origin);
}

static void length_beyond_the_limit_is_refused_before_the_body_arrives(void **state)
{
	(void)state;
	struct header header;
	size_t used;
	uint16_t most = LIMIT_STREAM_HEADER_BYTES - 3;
	const uint8_t at[] = {1, (uint8_t)(most >> 8), (uint8_t)most};
	assert_int_equal(decode(at, sizeof at, &header, &used), HEADER_MORE);
	most++;
	const uint8_t beyond[] = {1, (uint8_t)(most >> 8), (uint8_t)most};
	expect_bad(beyond, sizeof beyond);
	expect_bad("\x01\xff\xff", 3);
}

static void optional_field_is_skipped_and_unknown_field_refused(void **state)
{
	(void)state;
	static const uint8_t optional[] = {1, 0, 10, 0x80, 0, 2, 9, 9, 2, 0, 2, 0, 22};
	static const uint8_t optional_cut[] = {1, 0, 10, 2, 0, 2, 0, 22, 0x80, 0, 3, 9, 9};
	static const uint8_t unknown[] = {1, 0, 8, 6, 0, 0, 2, 0, 2, 0, 22};
	static const uint8_t zero[] = {1, 0, 8, 0, 0, 0, 2, 0, 2, 0, 22};
	struct header header;
	size_t used;
	assert_int_equal(decode(optional, sizeof optional, &header, &used), 0);
	assert_int_equal(header.port, 22);
	expect_bad(optional_cut, sizeof optional_cut);
	expect_bad(unknown, sizeof unknown);
	expect_bad(zero, sizeof zero);
}

static void repeated_field_is_refused(void **state)
{
	(void)state;
	static const uint8_t ports[] = {1, 0, 10, 2, 0, 2, 0, 22, 2, 0, 2, 0, 22};
	static const uint8_t services[] = {1, 0, 8, 1, 0, 1, 'a', 1, 0, 1, 'a'};
	static const uint8_t origins[] = {1, 0, 13, 2, 0, 2, 0, 22, 3, 0, 1, 'a', 3, 0, 1, 'a'};
	expect_bad(ports, sizeof ports);
	expect_bad(services, sizeof services);
	expect_bad(origins, sizeof origins);
}

static void field_of_a_wrong_length_or_value_is_refused(void **state)
{
	(void)state;
	static const uint8_t port_short[] = {1, 0, 4, 2, 0, 1, 22};
	static const uint8_t port_long[] = {1, 0, 6, 2, 0, 3, 0, 22, 0};
	static const uint8_t port_zero[] = {1, 0, 5, 2, 0, 2, 0, 0};
	static const uint8_t service_empty[] = {1, 0, 3, 1, 0, 0};
	static const uint8_t service_nul[] = {1, 0, 5, 1, 0, 2, 'a', 0};
	static const uint8_t service_blank[] = {1, 0, 6, 1, 0, 3, 'a', ' ', 'b'};
	static const uint8_t service_escape[] = {1, 0, 6, 1, 0, 3, 'a', 0x1b, 'b'};
	static const uint8_t service_latin[] = {1, 0, 5, 1, 0, 2, 'a', 0xe4};
	expect_bad(port_short, sizeof port_short);
	expect_bad(port_long, sizeof port_long);
	expect_bad(port_zero, sizeof port_zero);
	expect_bad(service_empty, sizeof service_empty);
	expect_bad(service_nul, sizeof service_nul);
	expect_bad(service_blank, sizeof service_blank);
	expect_bad(service_escape, sizeof service_escape);
	expect_bad(service_latin, sizeof service_latin);
}

static void header_without_a_target_is_refused(void **state)
{
	(void)state;
	static const uint8_t origin_only[] = {1, 0, 4, 3, 0, 1, 'a'};
	expect_bad("\x01\x00\x00", 3);
	expect_bad(origin_only, sizeof origin_only);
}

static void udp_header_survives_the_way_there_and_back(void **state)
{
	(void)state;
	const struct header header = {.kind = HEADER_UDP, .service = "dns", .port = 53, .origin = "192.0.2.7:40000"};
	uint8_t bytes[LIMIT_STREAM_HEADER_BYTES];
	struct header decoded;
	size_t used, length = header_encode(&header, bytes);
	assert_int_equal(bytes[0], 2);
	assert_int_equal(header_decode(bytes, length, &decoded, &used), 0);
	assert_int_equal(used, length);
	assert_int_equal(decoded.kind, HEADER_UDP);
	assert_string_equal(decoded.service, "dns");
	assert_int_equal(decoded.port, 53);
	assert_string_equal(decoded.origin, "192.0.2.7:40000");
}

static void fields_of_other_kinds_are_refused_on_tcp(void **state)
{
	(void)state;
	uint8_t token[3 + 5 + 3 + 16] = {1, 0, 5 + 3 + 16, 2, 0, 2, 0, 22, 4, 0, 16};
	static const uint8_t offload[] = {1, 0, 12, 2, 0, 2, 0, 22, 5, 0, 4, 0, 0, 0, 0};
	expect_bad(token, sizeof token);
	expect_bad(offload, sizeof offload);
}

static void kinds_that_are_not_built_are_refused_at_their_first_byte(void **state)
{
	(void)state;
	for (unsigned kind = 0; kind < 256; kind++) {
		uint8_t byte = (uint8_t)kind;
		if (kind < HEADER_TCP || kind > HEADER_PARK)
			expect_bad(&byte, 1);
	}
}

static void offers_survive_and_have_nothing_but_their_token(void **state)
{
	(void)state;
	uint8_t bytes[LIMIT_STREAM_HEADER_BYTES];
	struct header decoded, claim = {.kind = HEADER_CLAIM};
	const struct header park = {.kind = HEADER_PARK};
	size_t used;
	memset(claim.token, 0xa5, sizeof claim.token);
	assert_int_equal(header_encode(&park, bytes), 3);
	assert_int_equal(header_decode(bytes, 3, &decoded, &used), 0);
	assert_int_equal(decoded.kind, HEADER_PARK);
	size_t length = header_encode(&claim, bytes);
	assert_int_equal(length, 3 + 3 + STREAM_TOKEN_BYTES);
	for (size_t i = 0; i < length; i++)
		assert_int_equal(header_decode(bytes, i, &decoded, &used), HEADER_MORE);
	assert_int_equal(header_decode(bytes, length, &decoded, &used), 0);
	assert_memory_equal(decoded.token, claim.token, sizeof claim.token);
	static const uint8_t no_token[] = {4, 0, 0}, park_with_service[] = {5, 0, 4, 1, 0, 1, 'a'};
	static const uint8_t claim_with_port[] = {4, 0, 5, 2, 0, 2, 0, 22}, short_token[] = {4, 0, 4, 4, 0, 1, 9};
	expect_bad(no_token, sizeof no_token);
	expect_bad(park_with_service, sizeof park_with_service);
	expect_bad(claim_with_port, sizeof claim_with_port);
	expect_bad(short_token, sizeof short_token);
}

static void garbage_never_decodes_beyond_its_end(void **state)
{
	(void)state;
	uint8_t bytes[64];
	unsigned seed = 1;
	struct header header;
	struct header_answer answer;
	size_t used;
	for (unsigned round = 0; round < 200000; round++) {
		size_t length = (size_t)rand_r(&seed) % sizeof bytes;
		for (size_t i = 0; i < length; i++)
			bytes[i] = (uint8_t)(rand_r(&seed) >> (i < 3 ? 8 : 3) & (rand_r(&seed) & 64 ? 0xff : 0x07));
		if (length > 1) {
			bytes[0] &= 1;
			bytes[1] = 0;
		}
		if (decode(bytes, length, &header, &used) == 0)
			assert_true(used <= length);
		if (decode_answer(bytes, length, &answer, &used) == 0)
			assert_true(used <= length);
	}
}

// ---- answer

static void answer_survives_the_way_there_and_back(void **state)
{
	(void)state;
	for (int status = HEADER_OK; status <= HEADER_INTERNAL; status++) {
		struct header_answer answer = {.status = (enum header_status)status, .reason = "no such service"}, decoded;
		uint8_t bytes[LIMIT_STREAM_HEADER_BYTES];
		size_t used, length = header_answer_encode(&answer, bytes);
		assert_int_equal(decode_answer(bytes, length, &decoded, &used), 0);
		assert_int_equal(used, length);
		assert_int_equal(decoded.status, answer.status);
		assert_string_equal(decoded.reason, answer.reason);
		for (size_t cut = 0; cut < length; cut++)
			assert_int_equal(decode_answer(bytes, cut, &decoded, &used), HEADER_MORE);
	}
}

static void answer_that_says_ok_is_three_bytes(void **state)
{
	(void)state;
	struct header_answer answer = {.status = HEADER_OK};
	uint8_t bytes[LIMIT_STREAM_HEADER_BYTES];
	assert_int_equal(header_answer_encode(&answer, bytes), 3);
	assert_memory_equal(bytes, "\0\0\0", 3);
}

static void answer_with_an_unknown_status_or_a_long_reason_is_refused(void **state)
{
	(void)state;
	struct header_answer answer;
	uint8_t bytes[3 + LIMIT_REASON_BYTES + 1] = {HEADER_LIMIT, 0, LIMIT_REASON_BYTES};
	size_t used;
	memset(bytes + 3, 'r', LIMIT_REASON_BYTES + 1);
	assert_int_equal(decode_answer(bytes, 3 + LIMIT_REASON_BYTES, &answer, &used), 0);
	assert_int_equal(strlen(answer.reason), LIMIT_REASON_BYTES);
	bytes[1] = 1;
	bytes[2] = 0;
	assert_int_equal(decode_answer(bytes, 3, &answer, &used), HEADER_BAD);
	bytes[0] = HEADER_INTERNAL + 1;
	assert_int_equal(decode_answer(bytes, 1, &answer, &used), HEADER_BAD);
	assert_int_equal(decode_answer((const uint8_t *)"\x01\x00\x02z", 5, &answer, &used), HEADER_BAD);
}

static void every_status_has_a_name(void **state)
{
	(void)state;
	for (int status = HEADER_OK; status <= HEADER_INTERNAL; status++)
		assert_non_null(header_status_name((enum header_status)status));
	assert_string_equal(header_status_name((enum header_status)99), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(header_survives_the_way_there_and_back),
		cmocka_unit_test(header_is_the_bytes_the_protocol_says),
		cmocka_unit_test(bytes_after_the_header_are_left_for_the_stream),
		cmocka_unit_test(header_cut_at_any_byte_is_not_complete),
		cmocka_unit_test(header_whose_length_cuts_a_field_is_refused),
		cmocka_unit_test(longest_names_are_accepted_and_longer_ones_refused),
		cmocka_unit_test(length_beyond_the_limit_is_refused_before_the_body_arrives),
		cmocka_unit_test(optional_field_is_skipped_and_unknown_field_refused),
		cmocka_unit_test(repeated_field_is_refused),
		cmocka_unit_test(field_of_a_wrong_length_or_value_is_refused),
		cmocka_unit_test(header_without_a_target_is_refused),
		cmocka_unit_test(udp_header_survives_the_way_there_and_back),
		cmocka_unit_test(fields_of_other_kinds_are_refused_on_tcp),
		cmocka_unit_test(kinds_that_are_not_built_are_refused_at_their_first_byte),
		cmocka_unit_test(offers_survive_and_have_nothing_but_their_token),
		cmocka_unit_test(garbage_never_decodes_beyond_its_end),
		cmocka_unit_test(answer_survives_the_way_there_and_back),
		cmocka_unit_test(answer_that_says_ok_is_three_bytes),
		cmocka_unit_test(answer_with_an_unknown_status_or_a_long_reason_is_refused),
		cmocka_unit_test(every_status_has_a_name),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
