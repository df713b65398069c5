// The step between the two renames can only be reached from inside: hence the source itself.
#include "crypto/pair.c"

// cmocka.h uses these and includes none of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>

static char folder[64], cert_path[128], key_path[128];
static const struct pair_content cert = {"certificate", 11}, key = {"key", 3};

static int make_folder(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/qanat-pair-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(cert_path, sizeof cert_path, "%s/a.crt", folder);
	snprintf(key_path, sizeof key_path, "%s/a.key", folder);
	return 0;
}

static int remove_folder(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof command, "rm -rf '%s'", folder);
	return system(command);
}

static void write_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "wb");
	assert_non_null(file);
	fputs(text, file);
	assert_int_equal(fclose(file), 0);
}

static void expect_file(const char *path, const char *text, mode_t mode)
{
	char bytes[64] = "";
	struct stat info;
	FILE *file = fopen(path, "rb");

	assert_non_null(file);
	assert_int_equal(fread(bytes, 1, sizeof bytes - 1, file), strlen(text));
	fclose(file);
	assert_string_equal(bytes, text);
	assert_int_equal(stat(path, &info), 0);
	assert_int_equal(info.st_mode & 07777, mode);
	assert_int_equal(info.st_nlink, 1);
}

// Nothing but the files named may be left, no temporary file and no backup.
static void expect_entries(unsigned expected)
{
	unsigned found = 0;
	DIR *stream = opendir(folder);

	assert_non_null(stream);
	for (struct dirent *entry; (entry = readdir(stream));)
		found += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
	closedir(stream);
	assert_int_equal(found, expected);
}

static void expect_refused(const struct pair_paths *paths, const char *word)
{
	char problem[PAIR_PROBLEM_BYTES] = "";

	assert_int_equal(pair_write(paths, cert, key, problem), PAIR_REFUSED);
	if (!strstr(problem, word))
		fail_msg("'%s' is not in: %s", word, problem);
}

static void both_files_have_their_mode_whatever_the_umask(void **state)
{
	static const mode_t masks[] = {0, 022, 077, 0777};
	const struct pair_paths paths = {cert_path, key_path, false};
	char problem[PAIR_PROBLEM_BYTES] = "";

	(void)state;
	for (size_t i = 0; i < COUNT_OF(masks); i++) {
		mode_t before = umask(masks[i]);
		assert_int_equal(pair_write(&paths, cert, key, problem), 0);
		umask(before);
		expect_file(cert_path, "certificate", 0644);
		expect_file(key_path, "key", 0600);
		expect_entries(2);
		unlink(cert_path);
		unlink(key_path);
	}
}

static void existing_files_are_kept_without_force_and_replaced_with_it(void **state)
{
	struct pair_paths paths = {cert_path, key_path, false};
	char problem[PAIR_PROBLEM_BYTES] = "";

	(void)state;
	write_file(key_path, "old key");
	assert_int_equal(pair_check(&paths, problem), PAIR_REFUSED);
	expect_refused(&paths, "--force");
	expect_entries(1);
	unlink(key_path);
	write_file(cert_path, "old certificate");
	expect_refused(&paths, "--force");
	expect_entries(1);
	expect_file(cert_path, "old certificate", 0644);
	write_file(key_path, "old key");
	paths.force = true;
	assert_int_equal(pair_check(&paths, problem), 0);
	assert_int_equal(pair_write(&paths, cert, key, problem), 0);
	expect_file(cert_path, "certificate", 0644);
	expect_file(key_path, "key", 0600);
	expect_entries(2);
	unlink(cert_path);
	unlink(key_path);
}

static void a_replaced_file_is_not_written_into(void **state)
{
	const struct pair_paths paths = {cert_path, key_path, true};
	char problem[PAIR_PROBLEM_BYTES] = "", other[128];

	(void)state;
	snprintf(other, sizeof other, "%s/other", folder);
	write_file(other, "elsewhere");
	assert_int_equal(link(other, key_path), 0);
	assert_int_equal(pair_write(&paths, cert, key, problem), 0);
	expect_file(other, "elsewhere", 0644);
	expect_file(key_path, "key", 0600);
	unlink(other);
	unlink(cert_path);
	unlink(key_path);
}

static void what_is_not_a_regular_file_is_never_replaced(void **state)
{
	const struct pair_paths paths = {cert_path, key_path, true};
	char target[128];

	(void)state;
	snprintf(target, sizeof target, "%s/target", folder);
	write_file(target, "target");
	assert_int_equal(symlink("target", key_path), 0);
	expect_refused(&paths, "not a regular file");
	expect_file(target, "target", 0644);
	unlink(key_path);
	assert_int_equal(mkdir(cert_path, 0755), 0);
	expect_refused(&paths, "not a regular file");
	assert_int_equal(rmdir(cert_path), 0);
	unlink(target);
	expect_entries(0);
}

static void one_place_for_both_files_is_refused(void **state)
{
	char again[160];

	(void)state;
	snprintf(again, sizeof again, "%s/../%s/./a.crt", folder, strrchr(folder, '/') + 1);
	expect_refused(&(struct pair_paths){cert_path, again, true}, "two files");
	expect_entries(0);
}

static void a_folder_that_is_missing_or_no_file_name_is_refused(void **state)
{
	char missing[128], slash[128];

	(void)state;
	snprintf(missing, sizeof missing, "%s/none/a.key", folder);
	snprintf(slash, sizeof slash, "%s/", folder);
	expect_refused(&(struct pair_paths){cert_path, missing, false}, "cannot be used");
	expect_refused(&(struct pair_paths){cert_path, slash, false}, "is a folder");
	expect_refused(&(struct pair_paths){cert_path, "..", false}, "is a folder");
	expect_refused(&(struct pair_paths){cert_path, "", false}, "is a folder");
	expect_entries(0);
}

static void a_disk_that_fills_up_leaves_nothing_behind(void **state)
{
	const struct pair_paths paths = {cert_path, key_path, false};
	struct rlimit before, tight;

	(void)state;
	// The limit on a file's size stands for the full disk: the key fits, the certificate does not.
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	tight = (struct rlimit){5, before.rlim_max};
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
	expect_refused(&paths, "cannot be written");
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	expect_entries(0);
}

// Everything is written, then a folder takes the certificate's name before the last rename.
static void fail_between_the_renames(bool force)
{
	const struct pair_paths paths = {cert_path, key_path, force};
	struct entry cert_entry, key_entry;
	char problem[PAIR_PROBLEM_BYTES] = "";

	assert_int_equal(open_both(&paths, &cert_entry, &key_entry, problem), 0);
	assert_int_equal(entry_write(&key_entry, key, problem), 0);
	assert_int_equal(entry_write(&cert_entry, cert, problem), 0);
	unlink(cert_path);
	assert_int_equal(mkdir(cert_path, 0755), 0);
	assert_int_equal(publish_both(&cert_entry, &key_entry, force, problem), PAIR_REFUSED);
	entry_close(&cert_entry);
	entry_close(&key_entry);
	assert_int_equal(rmdir(cert_path), 0);
}

static void a_key_is_taken_back_when_its_certificate_cannot_follow(void **state)
{
	(void)state;
	fail_between_the_renames(false);
	expect_entries(0);
	fail_between_the_renames(true);
	expect_entries(0);
	write_file(key_path, "old key");
	write_file(cert_path, "old certificate");
	fail_between_the_renames(true);
	expect_file(key_path, "old key", 0644);
	expect_entries(1);
	unlink(key_path);
}

// The file appears after the check, from someone else.
static void a_file_that_appears_meanwhile_is_not_replaced(void **state)
{
	const struct pair_paths paths = {cert_path, key_path, false};
	struct entry cert_entry, key_entry;
	char problem[PAIR_PROBLEM_BYTES] = "";

	(void)state;
	assert_int_equal(open_both(&paths, &cert_entry, &key_entry, problem), 0);
	assert_int_equal(entry_write(&key_entry, key, problem), 0);
	assert_int_equal(entry_write(&cert_entry, cert, problem), 0);
	write_file(cert_path, "someone else's");
	assert_int_equal(publish_both(&cert_entry, &key_entry, false, problem), PAIR_REFUSED);
	entry_close(&cert_entry);
	entry_close(&key_entry);
	expect_file(cert_path, "someone else's", 0644);
	expect_entries(1);
	unlink(cert_path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_files_have_their_mode_whatever_the_umask),
		cmocka_unit_test(existing_files_are_kept_without_force_and_replaced_with_it),
		cmocka_unit_test(a_replaced_file_is_not_written_into),
		cmocka_unit_test(what_is_not_a_regular_file_is_never_replaced),
		cmocka_unit_test(one_place_for_both_files_is_refused),
		cmocka_unit_test(a_folder_that_is_missing_or_no_file_name_is_refused),
		cmocka_unit_test(a_disk_that_fills_up_leaves_nothing_behind),
		cmocka_unit_test(a_key_is_taken_back_when_its_certificate_cannot_follow),
		cmocka_unit_test(a_file_that_appears_meanwhile_is_not_replaced),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
