#include "cmd/psk_words.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MOST_WORDS 16

// Words apart by blanks; what they become, likewise, into `out`.
static void translate(bool is_server, const char *line, struct psk_words *words, char out[512])
{
	char *argv[MOST_WORDS + 1] = {0}, *text = strdup(line), *save = NULL;
	int argc = 0;
	assert_non_null(text);
	for (char *word = strtok_r(text, " ", &save); word && argc < MOST_WORDS; word = strtok_r(NULL, " ", &save))
		argv[argc++] = word;
	assert_int_equal(psk_words_take(is_server, argc, argv, words), 0);
	out[0] = '\0';
	for (int i = 0; i < words->argc; i++)
		snprintf(out + strlen(out), 512 - strlen(out), "%s%s", i > 0 ? " " : "", words->argv[i]);
	assert_null(words->argv[words->argc]);
	free(text);
}

static void expect(bool is_server, const char *line, const char *wanted)
{
	struct psk_words words;
	char out[512];
	translate(is_server, line, &words, out);
	assert_string_equal(out, wanted);
	psk_words_fini(&words);
}

static void every_spelling_of_go(void **state)
{
	(void)state;
	static const char *const lines[] = {"-k a -mtu 1400", "-k=a -mtu=1400", "--k a --mtu 1400", "--k=a --mtu=1400"};
	for (size_t i = 0; i < COUNT_OF(lines); i++)
		expect(true, lines[i], "--key=a --mtu=1400");
	expect(false, "-s h:1 -m aes-256-gcm", "--server=h:1 --method=aes-256-gcm");
	expect(true, "-l :20203", "--listen=:20203");
}

static void a_switch_takes_no_word_of_its_own(void **state)
{
	(void)state;
	expect(true, "-mptcp -k a", "--mptcp=on --key=a");
	expect(true, "-mptcp=false", "--mptcp=off");
	expect(true, "--mptcp=1 -mptcp=F", "--mptcp=on --mptcp=off");
	expect(true, "-mptcp=perhaps", "--mptcp=perhaps"); // refused later, by its name
	expect(true, "--mptcp off -mtu 1", "--mptcp=off --mtu=1");
}

static void our_own_flags_pass(void **state)
{
	(void)state;
	expect(true, "--key-file f -c file --route 10.0.0.0/8 --log-level=debug",
	       "--key-file f -c file --route 10.0.0.0/8 "
	       "--log-level=debug");
	expect(true, "-x - --", "-x - --");
}

static void a_value_may_begin_with_a_dash(void **state)
{
	(void)state;
	expect(true, "-k -secret-", "--key=-secret-");
	expect(true, "-k -m", "--key=-m");
}

static void a_value_that_is_missing_is_found_out_later(void **state)
{
	(void)state;
	expect(true, "-k", "--key");
	expect(true, "", "");
}

static void flags_of_the_other_side_do_nothing_and_are_named(void **state)
{
	(void)state;
	struct psk_words words;
	char out[512];
	translate(true, "-s h:1 -k a", &words, out);
	assert_string_equal(out, "--key=a");
	assert_string_equal(words.ignored, "--server");
	psk_words_fini(&words);
	translate(false, "-l :1 -s h:1", &words, out);
	assert_string_equal(out, "--server=h:1");
	assert_string_equal(words.ignored, "--listen");
	psk_words_fini(&words);
}

static void the_key_is_wiped_where_it_stood(void **state)
{
	(void)state;
	struct psk_words words;
	char apart[] = "geheim", joined[] = "-k=geheim", flag[] = "-k", other[] = "-mtu=9";
	char *argv[] = {flag, apart, other, NULL}, *again[] = {joined, NULL};
	assert_int_equal(psk_words_take(true, 3, argv, &words), 0);
	assert_true(words.has_key);
	assert_string_equal(apart, "");
	assert_string_equal(other, "-mtu=9");
	psk_words_fini(&words);
	assert_int_equal(psk_words_take(true, 1, again, &words), 0);
	assert_string_equal(joined, "-k=");
	assert_string_equal(words.argv[0], "--key=geheim");
	psk_words_fini(&words);
	assert_int_equal(psk_words_take(true, 1, (char *[]){other, NULL}, &words), 0);
	assert_false(words.has_key);
	psk_words_fini(&words);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_spelling_of_go),
		cmocka_unit_test(a_switch_takes_no_word_of_its_own),
		cmocka_unit_test(our_own_flags_pass),
		cmocka_unit_test(a_value_may_begin_with_a_dash),
		cmocka_unit_test(a_value_that_is_missing_is_found_out_later),
		cmocka_unit_test(flags_of_the_other_side_do_nothing_and_are_named),
		cmocka_unit_test(the_key_is_wiped_where_it_stood),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
