// The folder of answers: what counts as the same request, and what is taken out of it.

#include "crypto/repeat.h"

#include "crypto/forge.h"

// cmocka.h uses these and includes none of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char folder[64], index_at[96], problem[REPEAT_PROBLEM_BYTES];
static X509 *short_lived, *long_lived;

static int start(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/qanat-repeat-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(index_at, sizeof index_at, "%s/ca.crt.index", folder);
	forge_start();
	short_lived = forge(&(struct forgery){.common_name = "one", .from_s = -60, .to_s = 60});
	long_lived = forge(&(struct forgery){.common_name = "two", .from_s = -60, .to_s = 6000});
	return 0;
}

static int stop(void **state)
{
	char command[96];
	(void)state;
	X509_free(short_lived);
	X509_free(long_lived);
	forge_stop();
	snprintf(command, sizeof command, "rm -rf '%s'", folder);
	return system(command);
}

static void a_request_is_its_certificate_and_its_key(void **state)
{
	char first[REPEAT_NAME_BYTES], second[REPEAT_NAME_BYTES];
	(void)state;
	assert_int_equal(repeat_name(short_lived, forge_leaf_key, first), 0);
	assert_int_equal(strlen(first), REPEAT_NAME_BYTES - 1);
	assert_int_equal(repeat_name(short_lived, forge_leaf_key, second), 0);
	assert_string_equal(first, second);
	assert_int_equal(repeat_name(short_lived, forge_ca_key, second), 0);
	assert_string_not_equal(first, second);
	assert_int_equal(repeat_name(long_lived, forge_leaf_key, second), 0);
	assert_string_not_equal(first, second);
}

static void what_is_kept_is_found_and_is_nobody_elses_to_read(void **state)
{
	X509 *found = NULL;
	struct stat info;
	char path[192];
	(void)state;
	assert_int_equal(repeat_find(index_at, "aa", &found), REPEAT_NONE);
	assert_int_equal(repeat_keep(index_at, "aa", short_lived, problem), 0);
	assert_int_equal(repeat_keep(index_at, "aa", long_lived, problem), 0);
	assert_int_equal(repeat_find(index_at, "aa", &found), 0);
	assert_int_equal(X509_cmp(found, long_lived), 0);
	X509_free(found);
	snprintf(path, sizeof path, "%s.answers", index_at);
	assert_int_equal(stat(path, &info), 0);
	assert_int_equal(info.st_mode & 07777, 0700);
	snprintf(path, sizeof path, "%s/absent/ca.crt.index", folder);
	assert_int_equal(repeat_keep(path, "aa", long_lived, problem), REPEAT_REFUSED);
	assert_non_null(strstr(problem, "nothing is issued"));
}

static void what_has_ended_and_what_is_none_is_taken_out(void **state)
{
	X509 *found = NULL;
	int64_t now = (int64_t)time(NULL);
	char path[192];
	(void)state;
	assert_int_equal(repeat_prune(index_at, now), 0);
	assert_int_equal(repeat_keep(index_at, "aa", short_lived, problem), 0);
	assert_int_equal(repeat_keep(index_at, "bb", long_lived, problem), 0);
	snprintf(path, sizeof path, "%s.answers/cc.crt", index_at);
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	fclose(file);
	assert_int_equal(repeat_prune(index_at, now), 1);
	assert_int_equal(repeat_prune(index_at, now + 600), 1);
	assert_int_equal(repeat_find(index_at, "aa", &found), REPEAT_NONE);
	assert_int_equal(repeat_find(index_at, "bb", &found), 0);
	X509_free(found);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_request_is_its_certificate_and_its_key),
		TEST(what_is_kept_is_found_and_is_nobody_elses_to_read),
		TEST(what_has_ended_and_what_is_none_is_taken_out),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
