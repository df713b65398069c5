#include "config/toml.h"
#include "config/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static char problem[TOML_PROBLEM_BYTES];
static struct tree_place place;

static struct tree_node *read_good(const char *text)
{
	struct tree_node *root = NULL;
	assert_int_equal(toml_read(text, strlen(text), "f", &root, &place, problem), 0);
	assert_non_null(root);
	return root;
}

static void assert_bad(const char *text, size_t length, unsigned line)
{
	struct tree_node *root = NULL;
	memset(problem, 0, sizeof problem);
	assert_int_equal(toml_read(text, length, "f", &root, &place, problem), TOML_BAD);
	assert_null(root);
	assert_int_equal(place.line, line);
	assert_string_equal(place.name, "f");
	assert_true(strlen(problem) > 0);
}

static void keys_carry_their_place(void **state)
{
	(void)state;
	struct tree_node *root = read_good("# c\n[a]\n  b = 1\nc.d = 'x'\n[[e]]\nf = true\n[[e]]\n");
	const struct tree_node *a = tree_child(root, "a");
	const struct tree_node *b = tree_child(a, "b");
	assert_int_equal(b->kind, TREE_NUMBER);
	assert_int_equal(b->place.line, 3);
	assert_int_equal(b->place.column, 3);
	const struct tree_node *d = tree_child(tree_child(a, "c"), "d");
	assert_string_equal(d->text, "x");
	assert_int_equal(d->place.line, 4);
	const struct tree_node *e = tree_child(root, "e");
	assert_int_equal(e->kind, TREE_LIST);
	assert_true(tree_child(e->first, "f")->truth);
	assert_int_equal(e->first->next->place.line, 7);
	tree_free(&root);
}

static void letters_beyond_ascii_are_for_strings_and_comments(void **state)
{
	(void)state;
	struct tree_node *root = read_good(
		"\xef\xbb\xbf# \xc3\xbc\n\"\xc3\xbc\" = '\xe2\x82\xac ~ ~E2'\nb = \"\\u00fc\\u007E41\"\n");
	assert_string_equal(tree_child(root, "\xc3\xbc")->text, "\xe2\x82\xac ~ ~E2");
	assert_string_equal(tree_child(root, "b")->text, "\xc3\xbc~41");
	assert_int_equal(root->first->place.line, 2);
	tree_free(&root);
}

static void bad_text_has_a_line_and_a_reason(void **state)
{
	(void)state;
	assert_bad("a = 1\nb\n", 8, 2);
	assert_bad("a = 1\na = 2\n", 12, 2);
	assert_bad("[a]\n[a]\n", 8, 2);
	assert_bad("a = \"x\n", 7, 1);
	assert_bad("a = 99999999999999999999\n", 25, 1);
	assert_bad("\n\na = \"\xff\"\n", 9, 3);
	assert_bad("a = 1\n\xc3\xbc = 2\n", 13, 2);
	assert_int_equal(place.column, 1);
	assert_bad("a = 1\nb = \xc3\xbc\n", 13, 2);
	assert_int_equal(place.column, 5);
	assert_bad("a = \"\0\"\n", 8, 1);
	assert_bad("a = 1\n\x1b = 2\n", 12, 2);
}

static void text_that_is_not_utf8_is_refused(void **state)
{
	(void)state;
	const char *bad[] = {
		"\x80", "\xc3",    "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80",
		"\xf5", "\xe2\x82"};
	const char *good[] = {"\xc2\x80",     "\xdf\xbf",         "\xe0\xa0\x80",    "\xed\x9f\xbf",
	                      "\xee\x80\x80", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"};
	char text[32];
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		snprintf(text, sizeof text, "#\na='%s'", bad[i]);
		assert_bad(text, strlen(text), 2);
		assert_int_equal(place.column, 4);
	}
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		snprintf(text, sizeof text, "a='%s'", good[i]);
		struct tree_node *root = read_good(text);
		assert_string_equal(root->first->text, good[i]);
		tree_free(&root);
	}
}

static void what_toml_asserts_instead_of_refusing_is_refused_with_its_line(void **state)
{
	(void)state;
	assert_bad("[=]\n", 4, 1);
	assert_bad("a = 1\n[b]\n[.c]\nd = 1\n", 21, 3);
	assert_bad("a = 1\n[b]\n[[$]]", 15, 3);
}

static void every_prefix_of_a_file_is_read_or_refused(void **state)
{
	(void)state;
	const char *text = "[a.b]\nc = [1, 'x', {d = true}]\n\"e\" = \"\"\"\ny\"\"\"\n[[f]]\ng = 1.5\nh = 1979-05-27\n";
	for (size_t length = 0; length <= strlen(text); length++) {
		struct tree_node *root = NULL;
		// The copy ends where the text does, so that a sanitizer sees the first byte read beyond it.
		char *copy = malloc(length > 0 ? length : 1);
		memcpy(copy, text, length);
		int result = toml_read(copy, length, "f", &root, &place, problem);
		assert_int_equal(result == 0, root != NULL);
		tree_free(&root);
		free(copy);
	}
}

static void nesting_is_bounded(void **state)
{
	(void)state;
	size_t length = 2 * (TOML_MAX_DOTS + 2);
	char *text = malloc(length + 8);
	for (size_t i = 0; i < length; i += 2)
		memcpy(text + i, "a.", 2);
	memcpy(text + length, "a=1\n", 4);
	assert_bad(text, length + 4, 1);
	// As many as are allowed, read and freed again.
	struct tree_node *root = NULL;
	assert_int_equal(toml_read(text + 4, length, "f", &root, &place, problem), 0);
	tree_free(&root);
	memset(text, '[', length);
	memcpy(text, "a=", 2);
	assert_bad(text, length, 1);
	free(text);
}

static void dots_inside_strings_and_comments_are_not_counted(void **state)
{
	(void)state;
	size_t length = TOML_MAX_DOTS * 4;
	char *text = malloc(length + 64);
	const char *opening[] = {"a = \"", "a = '", "a = \"\"\"\n\"", "a = '''\n'", "a = \"\\\"", "# "};
	const char *closing[] = {"\"", "'", "\"\"\"", "'''", "\"", ""};
	for (size_t i = 0; i < sizeof opening / sizeof *opening; i++) {
		struct tree_node *root = NULL;
		size_t start = strlen(opening[i]), end = strlen(closing[i]);
		memcpy(text, opening[i], start);
		memset(text + start, '.', length);
		memcpy(text + start + length, closing[i], end);
		assert_int_equal(toml_read(text, start + length + end, "f", &root, &place, problem), 0);
		tree_free(&root);
	}
	free(text);
}

static void json_is_read_into_the_same_tree(void **state)
{
	(void)state;
	struct tree_node *root = NULL;
	const char *text = "{\"a\":{\"b\":-1,\"c\":[true,\"x\",1.5,null]}}";
	assert_int_equal(json_read(text, strlen(text), "f", &root, &place, problem), 0);
	const struct tree_node *a = tree_child(root, "a");
	assert_int_equal(tree_child(a, "b")->number, -1);
	const struct tree_node *item = tree_child(a, "c")->first;
	assert_true(item->kind == TREE_BOOL && item->truth);
	assert_string_equal(item->next->text, "x");
	assert_string_equal(tree_kind_name(item->next->next), "a number with a fraction");
	assert_string_equal(tree_kind_name(item->next->next->next), "null");
	assert_int_equal(a->place.line, 0);
	tree_free(&root);
}

static void bad_json_has_a_line_and_a_reason(void **state)
{
	(void)state;
	struct tree_node *root = NULL;
	const char *bad[] = {"", "{", "[]", "{\"a\":1,\n\"a\":2}", "{\"a\":\"\\u0000\"}", "{}x", "1"};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		assert_int_equal(json_read(bad[i], strlen(bad[i]), "f", &root, &place, problem), JSON_BAD);
		assert_null(root);
	}
	assert_int_equal(json_read("{\n1", 3, "f", &root, &place, problem), JSON_BAD);
	assert_int_equal(place.line, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_carry_their_place),
		cmocka_unit_test(letters_beyond_ascii_are_for_strings_and_comments),
		cmocka_unit_test(text_that_is_not_utf8_is_refused),
		cmocka_unit_test(bad_text_has_a_line_and_a_reason),
		cmocka_unit_test(what_toml_asserts_instead_of_refusing_is_refused_with_its_line),
		cmocka_unit_test(every_prefix_of_a_file_is_read_or_refused),
		cmocka_unit_test(nesting_is_bounded),
		cmocka_unit_test(dots_inside_strings_and_comments_are_not_counted),
		cmocka_unit_test(json_is_read_into_the_same_tree),
		cmocka_unit_test(bad_json_has_a_line_and_a_reason),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
