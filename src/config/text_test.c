#include "config/text.h"
#include "config/problem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const char *nearest(const char *wrong)
{
	static const char *const words[] = {"listen_port", "listen_ip", "mode", "pool_size"};
	struct text_nearest nearest;
	text_nearest_init(&nearest, wrong);
	for (size_t i = 0; i < COUNT_OF(words); i++)
		text_nearest_try(&nearest, words[i]);
	return nearest.best ? nearest.best : "";
}

static void near_words_are_suggested_and_far_ones_are_not(void **state)
{
	(void)state;
	assert_string_equal(nearest("listen_prot"), "listen_port");
	assert_string_equal(nearest("listen-ip"), "listen_ip");
	assert_string_equal(nearest("Mode"), "mode");
	assert_string_equal(nearest("mod"), "mode");
	assert_string_equal(nearest("poolsize"), "pool_size");
	assert_string_equal(nearest("banana"), "");
	assert_string_equal(nearest(""), "");
	char word[200];
	memset(word, 'x', sizeof word);
	word[sizeof word - 1] = '\0';
	assert_string_equal(nearest(word), "");
}

static void control_characters_do_not_reach_the_terminal(void **state)
{
	(void)state;
	struct problem_list list = {0};
	problem_add(&list, (struct tree_place){.name = "f\x1b", .line = 1, .column = 2}, "a\nb", "x\x7f%s", "\r");
	char *text = problem_text(&list.problems[0]);
	assert_string_equal(text, "f?:1:2: a?b: x??");
	free(text);
	problem_list_fini(&list);
	problem_list_fini(&list);
}

static void long_messages_are_cut_between_characters(void **state)
{
	(void)state;
	char text[] = "abcdef\xc3\xbcgh";
	text_cut(text, 10);
	assert_string_equal(text, "abcdef\xc3\xbcgh");
	text_cut(text, 9);
	assert_string_equal(text, "abcdef...");
	char other[] = "abcde\xc3\xbcghi";
	text_cut(other, 9);
	assert_string_equal(other, "abcde...");
	struct problem_list list = {0};
	char longest[2000];
	memset(longest, 'x', sizeof longest);
	longest[sizeof longest - 1] = '\0';
	problem_add(&list, (struct tree_place){0}, longest, "%s", longest);
	assert_int_equal(strlen(list.problems[0].message), 600);
	assert_int_equal(strlen(list.problems[0].path), 200);
	problem_list_fini(&list);
}

static void problems_are_sorted_by_place_and_bounded(void **state)
{
	(void)state;
	struct problem_list list = {0};
	problem_add(&list, (struct tree_place){.name = "f"}, "", "no line");
	problem_add(&list, (struct tree_place){.name = "f", .line = 2, .column = 5}, "", "third");
	problem_add(&list, (struct tree_place){.name = "f", .line = 2, .column = 1}, "", "second");
	problem_add(&list, (struct tree_place){.name = "f", .line = 1, .column = 9}, "", "first");
	problem_sort(&list);
	assert_string_equal(list.problems[0].message, "first");
	assert_string_equal(list.problems[1].message, "second");
	assert_string_equal(list.problems[2].message, "third");
	assert_string_equal(list.problems[3].message, "no line");
	for (int i = 0; i < 1000; i++)
		problem_add(&list, (struct tree_place){0}, "", "again");
	assert_int_equal(list.count, 200);
	problem_list_fini(&list);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(near_words_are_suggested_and_far_ones_are_not),
		cmocka_unit_test(control_characters_do_not_reach_the_terminal),
		cmocka_unit_test(long_messages_are_cut_between_characters),
		cmocka_unit_test(problems_are_sorted_by_place_and_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
