#include "crypto/index.h"

#include "crypto/index_line.h"

// cmocka.h uses these and includes none of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char folder[64], path[96];
static const char us[] = "00112233445566778899aabbccddeeff", them[] = "ffeeddccbbaa99887766554433221100";

static int start(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/qanat-index-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof path, "%s/ca.crt.index", folder);
	return 0;
}

static int stop(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof command, "rm -rf '%s'", folder);
	return system(command);
}

static struct index *open_as(const char *authority, enum index_access access)
{
	struct index *index = NULL;
	char problem[INDEX_PROBLEM_BYTES] = "";

	if (index_open(path, authority, access, &index, problem) != 0)
		fail_msg("refused: %s", problem);
	return index;
}

static void expect_refused(const char *word)
{
	struct index *index = NULL;
	char problem[INDEX_PROBLEM_BYTES] = "";

	assert_int_equal(index_open(path, us, INDEX_TO_WRITE, &index, problem), INDEX_REFUSED);
	assert_null(index);
	if (!strstr(problem, word))
		fail_msg("'%s' is not in: %s", word, problem);
}

static void write_text(const char *text)
{
	FILE *file = fopen(path, "wb");
	assert_non_null(file);
	fputs(text, file);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, 0600), 0);
}

static struct index_entry entry(const char *serial)
{
	struct index_entry made = {.not_before = 1000,
	                           .not_after = 2000000000,
	                           .usage = "server",
	                           .key_type = "P-256",
	                           .fingerprint = "abcd",
	                           .subject = "CN=a b, O=qanat",
	                           .names = "DNS:a.example.org,IP:::1"};

	snprintf(made.serial, sizeof made.serial, "%s", serial);
	return made;
}

static void add_issued(struct index *index, const char *serial)
{
	struct index_entry made = entry(serial);
	char problem[INDEX_PROBLEM_BYTES];

	assert_int_equal(index_add_issued(index, &made, problem), 0);
}

static void what_was_written_is_read(void **state)
{
	char problem[INDEX_PROBLEM_BYTES];
	struct index_list list = {.number = 7, .next_update = 1900000000, .count = 1};
	struct stat info;
	size_t count;

	(void)state;
	unlink(path);
	struct index *index = open_as(us, INDEX_TO_WRITE);
	add_issued(index, "0a");
	add_issued(index, "0b");
	assert_int_equal(index_add_withdrawn(index, "0b", problem), 0);
	struct index_entry old = entry("0c");
	assert_int_equal(index_add_revoked(index, &old, INDEX_SUPERSEDED, problem), 0);
	assert_int_equal(index_add_list(index, &list, problem), 0);
	index_close(&index);
	assert_null(index);
	assert_int_equal(stat(path, &info), 0);
	assert_int_equal(info.st_mode & 07777, 0600);

	index = open_as(us, INDEX_TO_READ);
	const struct index_entry *entries = index_entries(index, &count);
	assert_int_equal(count, 3);
	assert_string_equal(entries[0].names, "DNS:a.example.org,IP:::1");
	assert_string_equal(entries[0].subject, "CN=a b, O=qanat");
	assert_int_equal(entries[0].not_before, 1000);
	assert_int_equal(entries[0].not_after, 2000000000);
	assert_true(entries[0].issued_at >= (int64_t)time(NULL) - 60);
	assert_false(entries[0].is_withdrawn || entries[0].revoked_at);
	assert_true(entries[1].is_withdrawn);
	assert_true(entries[2].revoked_at > 0 && entries[2].issued_at == 0);
	assert_int_equal(entries[2].reason, INDEX_SUPERSEDED);
	assert_int_equal(index_last_list(index), 7);
	assert_ptr_equal(index_find(index, "0c"), &entries[2]);
	assert_null(index_find(index, "0d"));
	index_close(&index);

	index = open_as(them, INDEX_TO_READ);
	assert_true(index_entries(index, &count) == NULL && count == 0 && index_last_list(index) == 0);
	index_close(&index);
}

static void a_missing_index_is_empty_to_readers_and_not_made(void **state)
{
	size_t count;

	(void)state;
	unlink(path);
	struct index *index = open_as(us, INDEX_TO_READ);
	index_entries(index, &count);
	assert_int_equal(count, 0);
	index_close(&index);
	assert_int_equal(access(path, F_OK), -1);
}

static void a_line_cut_anywhere_is_ended_and_the_rest_counts(void **state)
{
	char whole[LIMIT_INDEX_LINE_BYTES], text[2 * LIMIT_INDEX_LINE_BYTES];
	struct index_line line = {.event = INDEX_LINE_ISSUED, .at = 5, .entry = entry("0b")};
	size_t count;

	(void)state;
	strcpy(line.authority, us);
	index_line_encode(&line, whole);
	for (size_t cut = 0; cut < strlen(whole); cut++) {
		snprintf(text, sizeof text, "# a remark\n\n%.*s", (int)cut, whole);
		write_text(text);
		struct index *index = open_as(us, INDEX_TO_WRITE);
		add_issued(index, "0a");
		index_close(&index);
		index = open_as(us, INDEX_TO_READ);
		index_entries(index, &count);
		assert_non_null(index_find(index, "0a"));
		assert_true(count == 1 || (count == 2 && index_find(index, "0b")));
		index_close(&index);
	}
}

static void what_is_not_understood_is_refused_with_its_line(void **state)
{
	static const char *const bad[] = {
		"nonsense",
		"issued",
		"withdrawn\t2026-01-01T00:00:00Z\tabc\t0g\t-",
		"withdrawn\t0026-01-01T00:00:00Z\tabc\t0a\t-",
		"withdrawn\t2026-01-01T00:00:00\tabc\t0a\t-",
		"withdrawn\t2026-01-01T00:00:00Z\tabc\t\t-",
		"withdrawn\t2026-01-01T00:00:00Z\tabc\t0a\t-\tmore",
		"revoked\t2026-01-01T00:00:00Z\tabc\t0a\tanger\t2026-01-01T00:00:00Z\tCN=x",
		"list\t2026-01-01T00:00:00Z\tabc\t-1\t2026-01-01T00:00:00Z\t0",
		"revoked\t2026-01-01T00:00:00Z\tabc\t0a\tsuperseded\t2026-01-01T00:00:00Z\tCN=\x1b[2J",
		"a\tb\tc\td\te\tf\tg\th\ti\tj\tk\tl",
	};
	char text[512];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		snprintf(text, sizeof text, "# one\n%s\n# three\n", bad[i]);
		write_text(text);
		expect_refused("line 2");
	}
	char *long_line = calloc(1, LIMIT_INDEX_LINE_BYTES + 100);
	memset(long_line, 'x', LIMIT_INDEX_LINE_BYTES + 50);
	strcat(long_line, "\n");
	write_text(long_line);
	free(long_line);
	expect_refused("line 1");
	write_text("withdrawn\t2026-01-01T00:00:00Z\tabc\t0a\t-\nsomething\ttorn\n");
	struct index *index = open_as(us, INDEX_TO_WRITE);
	index_close(&index);
}

static void a_file_that_others_may_change_is_refused(void **state)
{
	(void)state;
	write_text("");
	assert_int_equal(chmod(path, 0660), 0);
	expect_refused("chmod go-w");
	unlink(path);
	assert_int_equal(symlink("/dev/null", path), 0);
	expect_refused("cannot be opened");
	unlink(path);
	assert_int_equal(mkdir(path, 0700), 0);
	expect_refused("cannot be opened");
	assert_int_equal(rmdir(path), 0);
}

static void read_text(char text[4096])
{
	FILE *file = fopen(path, "rb");
	assert_non_null(file);
	text[fread(text, 1, 4095, file)] = 0;
	fclose(file);
}

#define ISSUED(by, serial, end)                                                    \
	"issued\t2020-01-01T00:00:00Z\t" by "\t" serial "\t2020-01-01T00:00:00Z\t" end \
	"\tserver\tP-256\tabcd\tCN=x\tDNS:x\n"
#define US "00112233445566778899aabbccddeeff"
#define THEM "ffeeddccbbaa99887766554433221100"

static void what_is_over_for_long_is_pruned_and_all_else_stays(void **state)
{
	static const char over[] = "2021-01-01T00:00:00Z", lasting[] = "2999-01-01T00:00:00Z";
	char text[4096], expected[4096], problem[INDEX_PROBLEM_BYTES];
	struct stat info;
	size_t pruned, count;
	(void)state;
	snprintf(text, sizeof text,
	         "# a remark\n" ISSUED(US, "0a", "%s") ISSUED(US, "0b", "%s") ISSUED(US, "0c", "%s")
	             ISSUED(THEM, "0a", "%s") "withdrawn\t2020-01-01T00:00:00Z\t" US "\t0a\t-\n"
	                                      "revoked\t2020-01-01T00:00:00Z\t" US "\t0b\tsuperseded\t%s\tCN=x\n"
	                                      "list\t2020-01-01T00:00:00Z\t" US "\t1\t2020-01-01T00:00:00Z\t0\nsome\ttorn\n"
	                                      "list\t2020-01-01T00:00:00Z\t" US "\t2\t2020-01-01T00:00:00Z\t1\n",
	         over, over, lasting, over, over);
	snprintf(expected, sizeof expected,
	         "# a remark\n" ISSUED(US, "0b", "%s") ISSUED(US, "0c", "%s")
	             ISSUED(THEM, "0a", "%s") "revoked\t2020-01-01T00:00:00Z\t" US
	                                      "\t0b\tsuperseded\t%s\tCN=x\nsome\ttorn\n"
	                                      "list\t2020-01-01T00:00:00Z\t" US "\t2\t2020-01-01T00:00:00Z\t1\n",
	         over, lasting, over, over);
	write_text(text);
	struct index *index = open_as(us, INDEX_TO_WRITE);
	// Not before its time.
	assert_int_equal(index_prune(index, 1600000000, &pruned, problem), 0);
	assert_int_equal(pruned, 0);
	assert_int_equal(index_prune(index, 1700000000, &pruned, problem), 0);
	assert_int_equal(pruned, 1);
	read_text(text);
	assert_string_equal(text, expected);
	assert_int_equal(stat(path, &info), 0);
	assert_int_equal(info.st_mode & 07777, 0600);
	index_entries(index, &count);
	assert_true(count == 2 && index_last_list(index) == 2 && !index_find(index, "0a") && index_find(index, "0c"));
	// It goes on in the new file.
	add_issued(index, "0d");
	index_close(&index);
	index = open_as(us, INDEX_TO_WRITE);
	assert_non_null(index_find(index, "0d"));
	index_close(&index);
}

static void a_few_are_not_worth_a_new_file(void **state)
{
	char problem[INDEX_PROBLEM_BYTES], serial[8];
	struct stat before, after;
	size_t pruned;
	(void)state;
	write_text(ISSUED(US, "0a", "2021-01-01T00:00:00Z"));
	struct index *index = open_as(us, INDEX_TO_WRITE);
	for (int i = 16; i < 40; i++) {
		snprintf(serial, sizeof serial, "%02x", (unsigned)i);
		add_issued(index, serial);
	}
	assert_int_equal(stat(path, &before), 0);
	assert_int_equal(index_prune(index, 1700000000, &pruned, problem), 0);
	assert_int_equal(stat(path, &after), 0);
	assert_true(pruned == 0 && before.st_ino == after.st_ino);
	index_close(&index);
}

static void *open_and_add(void *unused)
{
	struct index *index = open_as(us, INDEX_TO_WRITE);
	add_issued(index, "0e");
	index_close(&index);
	return unused;
}

static void a_writer_that_waited_meanwhile_writes_into_the_new_file(void **state)
{
	char problem[INDEX_PROBLEM_BYTES];
	pthread_t writer;
	size_t pruned;
	(void)state;
	write_text(ISSUED(US, "0a", "2021-01-01T00:00:00Z"));
	struct index *index = open_as(us, INDEX_TO_WRITE);
	assert_int_equal(pthread_create(&writer, NULL, open_and_add, NULL), 0);
	// Until it has the old file open and finds it locked; it looks again every 20 ms.
	nanosleep(&(struct timespec){.tv_nsec = 60000000}, NULL);
	assert_int_equal(index_prune(index, 1700000000, &pruned, problem), 0);
	assert_int_equal(pruned, 1);
	index_close(&index);
	assert_int_equal(pthread_join(writer, NULL), 0);
	index = open_as(us, INDEX_TO_READ);
	assert_non_null(index_find(index, "0e"));
	index_close(&index);
}

static void reasons_are_read_in_both_spellings(void **state)
{
	enum index_reason reason;

	(void)state;
	for (int i = INDEX_UNSPECIFIED; i <= INDEX_PRIVILEGE_WITHDRAWN; i++) {
		assert_int_equal(index_reason_parse(index_reason_name((enum index_reason)i), &reason), 0);
		assert_int_equal(reason, i);
	}
	assert_int_equal(index_reason_parse("keyCompromise", &reason), 0);
	assert_int_equal(reason, INDEX_KEY_COMPROMISE);
	assert_int_equal(index_reason_parse("CESSATIONOFOPERATION", &reason), 0);
	assert_int_equal(index_reason_parse("key", &reason), 1);
	assert_int_equal(index_reason_parse("", &reason), 1);
	assert_int_equal(index_reason_parse("keyCompromised", &reason), 1);
	assert_int_equal(index_reason_parse("certificateHold", &reason), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_written_is_read),
		cmocka_unit_test(a_missing_index_is_empty_to_readers_and_not_made),
		cmocka_unit_test(a_line_cut_anywhere_is_ended_and_the_rest_counts),
		cmocka_unit_test(what_is_not_understood_is_refused_with_its_line),
		cmocka_unit_test(a_file_that_others_may_change_is_refused),
		cmocka_unit_test(what_is_over_for_long_is_pruned_and_all_else_stays),
		cmocka_unit_test(a_few_are_not_worth_a_new_file),
		cmocka_unit_test(a_writer_that_waited_meanwhile_writes_into_the_new_file),
		cmocka_unit_test(reasons_are_read_in_both_spellings),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
