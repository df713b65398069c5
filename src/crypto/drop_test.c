#include "crypto/drop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64], problem[DROP_PROBLEM_BYTES];
static struct drop *drop;
static struct drop_text text;

static int start(void **state)
{
	(void)state;
	snprintf(folder, sizeof folder, "/tmp/qanat-drop-XXXXXX");
	return mkdtemp(folder) && chdir(folder) == 0 ? drop_open(folder, &drop, problem) : -1;
}

static int stop(void **state)
{
	char command[128];
	(void)state;
	drop_close(&drop);
	snprintf(command, sizeof command, "rm -rf '%s'", folder);
	return chdir("/") == 0 ? system(command) : -1; // NOLINT(concurrency-mt-unsafe,cert-env33-c)
}

static int put(const char *bytes)
{
	return drop_write(drop, "a", ".csr", (struct drop_content){bytes, strlen(bytes)}, problem);
}

static void what_is_written_is_read_and_removed(void **state)
{
	struct stat info;
	(void)state;
	assert_int_equal(drop_read(drop, "a", ".csr", &text, problem), DROP_ABSENT);
	assert_int_equal(put("one"), 0);
	assert_int_equal(put("three"), 0);
	assert_int_equal(drop_read(drop, "a", ".csr", &text, problem), 0);
	assert_int_equal(text.length, 5);
	assert_string_equal(text.bytes, "three");
	assert_int_equal(stat("a.csr", &info), 0);
	assert_int_equal(info.st_mode & 07777, 0644);
	assert_int_equal(drop_remove(drop, "a", ".csr", problem), 0);
	assert_int_equal(drop_remove(drop, "a", ".csr", problem), DROP_ABSENT);
}

static void links_pipes_folders_and_large_files_are_refused_without_waiting(void **state)
{
	static char large[LIMIT_RENEWAL_BYTES + 1];
	(void)state;
	assert_int_equal(symlink("/etc/passwd", "link.csr"), 0);
	assert_int_equal(mkfifo("pipe.csr", 0600), 0);
	assert_int_equal(mkdir("folder.csr", 0700), 0);
	memset(large, 'x', sizeof large);
	assert_int_equal(drop_write(drop, "large", ".csr", (struct drop_content){large, sizeof large}, problem), 0);
	assert_int_equal(drop_write(drop, "fits", ".csr", (struct drop_content){large, sizeof large - 1}, problem), 0);
	assert_int_equal(drop_read(drop, "link", ".csr", &text, problem), DROP_REFUSED);
	assert_int_equal(drop_read(drop, "pipe", ".csr", &text, problem), DROP_REFUSED);
	assert_int_equal(drop_read(drop, "folder", ".csr", &text, problem), DROP_REFUSED);
	assert_int_equal(drop_read(drop, "large", ".csr", &text, problem), DROP_REFUSED);
	assert_int_equal(drop_read(drop, "fits", ".csr", &text, problem), 0);
	// An empty folder only stands in the way; what somebody keeps in one is not ours to remove.
	assert_int_equal(mkdir("folder.csr/full", 0700), 0);
	assert_int_equal(drop_remove(drop, "folder", ".csr", problem), DROP_REFUSED);
	assert_int_equal(rmdir("folder.csr/full"), 0);
	assert_int_equal(drop_remove(drop, "folder", ".csr", problem), 0);
}

static void a_link_is_replaced_and_not_followed(void **state)
{
	struct stat info;
	(void)state;
	assert_int_equal(symlink("victim", "a.csr"), 0);
	assert_int_equal(put("text"), 0);
	assert_int_equal(access("victim", F_OK), -1);
	assert_int_equal(lstat("a.csr", &info), 0);
	assert_true(S_ISREG(info.st_mode));
	assert_int_equal(mkdir("b.crt", 0700), 0);
	assert_int_equal(drop_write(drop, "b", ".crt", (struct drop_content){"x", 1}, problem), DROP_REFUSED);
}

static char seen[256];

static bool visit(void *owner, const char *name)
{
	(void)owner;
	strcat(seen, name);
	strcat(seen, " ");
	return true;
}

static void only_names_of_the_form_are_visited_and_only_so_many(void **state)
{
	static const char *const names[] = {"a.csr", ".hidden.csr", "a b.csr", "-x.csr", "ok-1_2.x.csr", "a.crt", ".csr"};
	(void)state;
	seen[0] = 0;
	for (size_t i = 0; i < COUNT_OF(names); i++) {
		int file = open(names[i], O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		assert_true(file >= 0);
		close(file);
	}
	assert_int_equal(drop_visit(drop, ".csr", 10, visit, NULL), 0);
	assert_non_null(strstr(seen, "a "));
	assert_non_null(strstr(seen, "ok-1_2.x "));
	assert_int_equal(strlen(seen), strlen("a ok-1_2.x "));
	seen[0] = 0;
	assert_int_equal(drop_visit(drop, ".csr", 1, visit, NULL), DROP_MORE);
	assert_ptr_equal(strchr(seen, ' '), seen + strlen(seen) - 1);
}

static size_t visits;

static bool count_visit(void *owner, const char *name)
{
	char path[LIMIT_DROP_NAME_BYTES + 8];
	visits++;
	snprintf(path, sizeof path, "%s.csr", name);
	return owner ? unlink(path) == 0 : false;
}

static void make_requests(size_t count)
{
	char name[32];
	for (size_t i = 0; i < count; i++) {
		snprintf(name, sizeof name, "n%zu.csr", i);
		int file = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		assert_true(file >= 0);
		close(file);
	}
}

static void a_full_folder_is_visited_in_parts_and_each_name_once(void **state)
{
	enum { MANY = 2 * LIMIT_DROP_LOOKS };
	bool removes = true;
	size_t calls = 1;
	(void)state;
	visits = 0;
	make_requests(MANY);
	for (; drop_visit(drop, ".csr", 10, count_visit, &removes) == DROP_MORE; calls++)
		assert_true(visits <= calls * 10);
	assert_int_equal(visits, MANY);
	assert_true(calls >= MANY / 10);
	// What never counts, because it cannot be removed for instance, is not looked at without end either.
	make_requests(MANY);
	visits = 0;
	assert_int_equal(drop_visit(drop, ".csr", 10, count_visit, NULL), DROP_MORE);
	assert_true(visits <= LIMIT_DROP_LOOKS);
	while (drop_visit(drop, ".csr", 10, count_visit, NULL) == DROP_MORE)
		;
	assert_int_equal(visits, MANY);
	// And from the beginning.
	assert_int_equal(drop_visit(drop, ".csr", MANY, count_visit, &removes), DROP_MORE);
	assert_true(visits > MANY);
}

static void names_that_could_lead_elsewhere_are_none(void **state)
{
	char longest[LIMIT_DROP_NAME_BYTES + 2];
	(void)state;
	assert_true(drop_is_name("node-1.example.com"));
	assert_false(drop_is_name(""));
	assert_false(drop_is_name(".."));
	assert_false(drop_is_name("../x"));
	assert_false(drop_is_name("a/b"));
	assert_false(drop_is_name("\xc3\xa4"));
	memset(longest, 'a', sizeof longest);
	longest[LIMIT_DROP_NAME_BYTES] = 0;
	assert_true(drop_is_name(longest));
	longest[LIMIT_DROP_NAME_BYTES] = 'a';
	longest[LIMIT_DROP_NAME_BYTES + 1] = 0;
	assert_false(drop_is_name(longest));
}

static void a_folder_that_is_a_link_or_open_to_everybody_is_refused(void **state)
{
	struct drop *other = NULL;
	(void)state;
	assert_int_equal(mkdir("real", 0700), 0);
	assert_int_equal(symlink("real", "alias"), 0);
	assert_int_equal(drop_open("alias", &other, problem), DROP_REFUSED);
	assert_int_equal(chmod("real", 01777), 0);
	assert_int_equal(drop_open("real", &other, problem), DROP_REFUSED);
	assert_non_null(strstr(problem, "chmod o-w"));
	assert_int_equal(drop_open("absent", &other, problem), DROP_REFUSED);
	assert_null(other);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_is_written_is_read_and_removed),
		TEST(links_pipes_folders_and_large_files_are_refused_without_waiting),
		TEST(a_link_is_replaced_and_not_followed),
		TEST(only_names_of_the_form_are_visited_and_only_so_many),
		TEST(a_full_folder_is_visited_in_parts_and_each_name_once),
		TEST(names_that_could_lead_elsewhere_are_none),
		TEST(a_folder_that_is_a_link_or_open_to_everybody_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
