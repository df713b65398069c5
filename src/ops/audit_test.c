#include "ops/audit.h"

#include "core/counter.h"
#include "limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static char path[64];

static int setup(void **state)
{
	(void)state;
	strcpy(path, "/tmp/audit-test-XXXXXX");
	int fd = mkstemp(path);
	close(fd);
	unlink(path);
	return fd < 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	return 0;
}

static void read_all(const char *file, char *text, size_t size)
{
	FILE *open = fopen(file, "re");
	assert_non_null(open);
	size_t n = fread(text, 1, size - 1, open);
	text[n] = '\0';
	fclose(open);
}

static void what_was_written_is_there_after_the_end(void **state)
{
	struct audit *audit = NULL;
	struct stat seen;
	char text[256];
	(void)state;
	assert_int_equal(audit_open(path, &audit), 0);
	audit_write(audit, "{\"a\":1}");
	audit_write(audit, "{\"b\":2}");
	audit_close(&audit);
	read_all(path, text, sizeof text);
	assert_string_equal(text, "{\"a\":1}\n{\"b\":2}\n");
	assert_int_equal(stat(path, &seen), 0);
	assert_int_equal(seen.st_mode & 07, 0);
}

static void a_file_that_was_moved_away_is_made_anew(void **state)
{
	struct audit *audit = NULL;
	char text[256], moved[80];
	(void)state;
	snprintf(moved, sizeof moved, "%s.1", path);
	assert_int_equal(audit_open(path, &audit), 0);
	assert_int_equal(rename(path, moved), 0);
	audit_reopen(audit);
	audit_close(&audit);
	assert_int_equal(audit_open(path, &audit), 0);
	audit_write(audit, "later");
	audit_close(&audit);
	read_all(path, text, sizeof text);
	assert_string_equal(text, "later\n");
	unlink(moved);
}

static void a_line_that_is_too_long_is_counted(void **state)
{
	struct audit *audit = NULL;
	char line[LIMIT_AUDIT_LINE_BYTES + 1];
	(void)state;
	memset(line, 'x', sizeof line - 1);
	line[sizeof line - 1] = '\0';
	uint64_t before = counter_read(COUNTER_AUDIT_DROPPED);
	assert_int_equal(audit_open(path, &audit), 0);
	audit_write(audit, line);
	audit_close(&audit);
	assert_int_equal(counter_read(COUNTER_AUDIT_DROPPED), before + 1);
}

static void a_symbolic_link_is_not_followed(void **state)
{
	struct audit *audit = NULL;
	(void)state;
	assert_int_equal(symlink("/dev/null", path), 0);
	assert_true(audit_open(path, &audit) < 0);
	assert_null(audit);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_was_written_is_there_after_the_end, setup, teardown),
		cmocka_unit_test_setup_teardown(a_file_that_was_moved_away_is_made_anew, setup, teardown),
		cmocka_unit_test_setup_teardown(a_line_that_is_too_long_is_counted, setup, teardown),
		cmocka_unit_test_setup_teardown(a_symbolic_link_is_not_followed, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
