#include "policy/pattern.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static void a_pattern_without_stars_matches_itself_alone(void **state)
{
	(void)state;
	assert_true(pattern_matches("node.example", "node.example"));
	assert_false(pattern_matches("node.example", "node.exampl"));
	assert_false(pattern_matches("node.example", "node.examples"));
	assert_false(pattern_matches("node.example", "a.node.example"));
	assert_false(pattern_matches("node.example", "nodeXexample"));
	assert_false(pattern_matches("node.example", ""));
}

static void the_case_of_ascii_letters_does_not_matter(void **state)
{
	(void)state;
	assert_true(pattern_matches("Node.EXAMPLE", "nODE.example"));
	assert_true(pattern_matches("aZ*", "Az@"));
	// Neighbours of the letters, 32 apart from other characters.
	assert_false(pattern_matches("@[`{", "`{@["));
	assert_false(pattern_matches("\xc4", "\xe4"));
}

static void a_star_matches_any_run_also_none(void **state)
{
	(void)state;
	assert_true(pattern_matches("*", ""));
	assert_true(pattern_matches("*", "anything at all"));
	assert_true(pattern_matches("a*c", "ac"));
	assert_true(pattern_matches("a*c", "abbbc"));
	assert_true(pattern_matches("a*", "a"));
	assert_true(pattern_matches("*a", "a"));
	assert_true(pattern_matches("*.example", "x.y.example"));
	assert_true(pattern_matches("***", ""));
	assert_true(pattern_matches("a**b", "ab"));
	assert_true(pattern_matches("*", "*"));
}

static void both_ends_are_anchored(void **state)
{
	(void)state;
	assert_false(pattern_matches("a*c", "abcd"));
	assert_false(pattern_matches("a*c", "xabc"));
	assert_false(pattern_matches("*.example", "x.example.net"));
	assert_false(pattern_matches("*a", "ab"));
	assert_false(pattern_matches("", "a"));
	assert_true(pattern_matches("", ""));
}

static void a_star_takes_more_when_less_does_not_do(void **state)
{
	(void)state;
	assert_true(pattern_matches("*ab", "aab"));
	assert_true(pattern_matches("*aab", "aaaab"));
	assert_true(pattern_matches("a*b*c", "a-b-b-c"));
	assert_true(pattern_matches("*a*b", "ccabcab"));
	assert_true(pattern_matches("x*aba*y", "xabaaby"
	                                       "abay"));
	assert_false(pattern_matches("*ab*cd*", "cdab"));
	assert_false(pattern_matches("a*b*c", "acb"));
}

// Every pattern and name of up to four characters of "ab*" against the definition, written as recursion.
static int by_definition(const char *pattern, const char *name)
{
	if (*pattern == '\0')
		return *name == '\0';
	if (*pattern == '*')
		return by_definition(pattern + 1, name) || (*name && by_definition(pattern, name + 1));
	return *pattern == *name && by_definition(pattern + 1, name + 1);
}

// The texts of length 0 to 5 of "ab*", by number.
static void text_of(unsigned number, char text[8])
{
	size_t length = 0;
	for (; number > 0; number = (number - 1) / 3)
		text[length++] = "ab*"[(number - 1) % 3];
	text[length] = '\0';
}

static void every_short_pattern_does_as_the_definition_says(void **state)
{
	unsigned texts = 1 + 3 + 9 + 27 + 81 + 243, matched = 0;
	char pattern[8], name[8];
	(void)state;
	for (unsigned i = 0; i < texts; i++) {
		for (unsigned j = 0; j < texts; j++) {
			text_of(i, pattern);
			text_of(j, name);
			if (strchr(name, '*'))
				continue;
			int expected = by_definition(pattern, name);
			assert_int_equal(pattern_matches(pattern, name), expected);
			matched += expected != 0;
		}
	}
	assert_true(matched > texts);
}

// With backtracking into every star this would not end in a lifetime.
static void many_stars_against_a_long_name_end_soon(void **state)
{
	static char pattern[1001], name[5001];
	(void)state;
	for (size_t i = 0; i < sizeof pattern - 1; i++)
		pattern[i] = i % 2 ? '*' : 'a';
	pattern[sizeof pattern - 2] = 'b';
	memset(name, 'a', sizeof name - 1);
	assert_false(pattern_matches(pattern, name));
	name[sizeof name - 2] = 'b';
	assert_true(pattern_matches(pattern, name));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_pattern_without_stars_matches_itself_alone),
		cmocka_unit_test(the_case_of_ascii_letters_does_not_matter),
		cmocka_unit_test(a_star_matches_any_run_also_none),
		cmocka_unit_test(both_ends_are_anchored),
		cmocka_unit_test(a_star_takes_more_when_less_does_not_do),
		cmocka_unit_test(every_short_pattern_does_as_the_definition_says),
		cmocka_unit_test(many_stars_against_a_long_name_end_soon),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
