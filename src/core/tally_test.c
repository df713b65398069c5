#include "core/tally.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static uint64_t word(const struct tally_sums *sums, enum tally_family family, const char *name)
{
	for (size_t i = 0; i < tally_words(family); i++)
		if (strcmp(tally_word(family, i), name) == 0)
			return sums->word[family][i];
	fail_msg("no word \"%s\"", name);
	return 0;
}

static void a_handshake_is_found_under_what_was_negotiated(void **state)
{
	(void)state;
	struct tally tally = {0};
	struct tally_sums sums;
	struct tally_handshake handshake = {
		.version = "TLSv1.3", .group = "x25519mlkem768", .signature = "mldsa65", .signature_peer = "", .took_us = 600};
	tally_negotiated(&tally, &handshake);
	handshake.group = "secp256r1";
	handshake.signature = "something_new";
	handshake.took_us = 20000000;
	tally_negotiated(&tally, &handshake);
	tally_read(&tally, &sums);
	assert_int_equal(word(&sums, TALLY_OUTCOME, "ok"), 2);
	assert_int_equal(word(&sums, TALLY_VERSION, "TLSv1.3"), 2);
	assert_int_equal(word(&sums, TALLY_GROUP, "X25519MLKEM768"), 1);
	assert_int_equal(word(&sums, TALLY_GROUP, "P-256"), 1);
	assert_int_equal(word(&sums, TALLY_SIGNATURE, "mldsa65"), 1);
	assert_int_equal(word(&sums, TALLY_SIGNATURE, "other"), 1);
	assert_int_equal(word(&sums, TALLY_SIGNATURE_PEER, "none"), 2);
	assert_int_equal(sums.took[1], 1);
	assert_int_equal(sums.took[TALLY_BOUNDS], 1);
	assert_int_equal(sums.took_us, 20000600);
}

static void bounds_belong_to_the_bucket_below_them(void **state)
{
	(void)state;
	for (size_t i = 0; i < TALLY_BOUNDS; i++) {
		struct tally tally = {0};
		tally_negotiated(&tally, &(struct tally_handshake){.took_us = tally_bounds_us[i]});
		tally_negotiated(&tally, &(struct tally_handshake){.took_us = tally_bounds_us[i] + 1});
		assert_int_equal(tally.took[i], 1);
		assert_int_equal(tally.took[i + 1], 1);
	}
}

static void every_word_of_a_family_stands_there_once(void **state)
{
	(void)state;
	for (unsigned family = 0; family < TALLY_FAMILY_COUNT; family++) {
		assert_true(tally_words(family) <= TALLY_WORDS_MAX);
		for (size_t i = 0; i < tally_words(family); i++)
			for (size_t j = 0; j < i; j++)
				assert_string_not_equal(tally_word(family, i), tally_word(family, j));
	}
}

static void numbers_go_up_and_down(void **state)
{
	(void)state;
	struct tally tally = {0};
	struct tally_sums sums;
	tally_add(&tally, TALLY_OPEN, 3);
	tally_take_off(&tally, TALLY_OPEN, 1);
	tally_add(&tally, TALLY_SENT, 65536);
	tally_outcome(&tally, TALLY_REVOKED);
	tally_read(&tally, &sums);
	assert_int_equal(sums.number[TALLY_OPEN], 2);
	assert_int_equal(sums.number[TALLY_SENT], 65536);
	assert_int_equal(word(&sums, TALLY_OUTCOME, "revoked"), 1);
	assert_string_equal(tally_label(TALLY_GROUP), "group");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_handshake_is_found_under_what_was_negotiated),
		cmocka_unit_test(bounds_belong_to_the_bucket_below_them),
		cmocka_unit_test(every_word_of_a_family_stands_there_once),
		cmocka_unit_test(numbers_go_up_and_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
