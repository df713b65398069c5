#include "crypto/pair.h"

#include "crypto/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HIDDEN_NAME_BYTES = 32 };

// One of the two files on its way into its folder.
struct entry {
	const char *what;
	const char *path;
	const char *name; // the last part of the path
	int folder;       // -1 when not open
	mode_t mode;
	char temporary[HIDDEN_NAME_BYTES]; // "" when there is none
	char backup[HIDDEN_NAME_BYTES];    // the replaced file under another name; "" when there was none
	bool published;
};

PRINTF_LIKE(2, 3) static int refuse(char problem[PAIR_PROBLEM_BYTES], const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(problem, PAIR_PROBLEM_BYTES, format, arguments);
	va_end(arguments);
	return PAIR_REFUSED;
}

static void hidden_name(char name[HIDDEN_NAME_BYTES])
{
	unsigned long long number;

	random_bytes(&number, sizeof number);
	snprintf(name, HIDDEN_NAME_BYTES, ".qanat-%016llx", number);
}

static int entry_open(struct entry *entry, char problem[PAIR_PROBLEM_BYTES])
{
	const char *slash = strrchr(entry->path, '/');
	char *folder = slash ? strndup(entry->path, (size_t)(slash - entry->path) + 1) : strdup(".");

	if (!folder)
		return -ENOMEM;
	entry->name = slash ? slash + 1 : entry->path;
	entry->folder = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int error = errno;
	free(folder);
	if (entry->folder < 0)
		return refuse(problem, "the folder of %s %s cannot be used: %s", entry->what, entry->path,
		              outcome_text(-error));
	if (entry->name[0] == 0 || strcmp(entry->name, ".") == 0 || strcmp(entry->name, "..") == 0)
		return refuse(problem, "%s %s is a folder, not a file", entry->what, entry->path);
	return 0;
}

static int entry_check(const struct entry *entry, bool force, char problem[PAIR_PROBLEM_BYTES])
{
	struct stat info;

	if (fstatat(entry->folder, entry->name, &info, AT_SYMLINK_NOFOLLOW) != 0) {
		if (errno == ENOENT)
			return 0;
		return refuse(problem, "%s %s cannot be looked at: %s", entry->what, entry->path, outcome_text(-errno));
	}
	if (!S_ISREG(info.st_mode))
		return refuse(problem, "%s %s exists and is not a regular file; remove it or choose another name", entry->what,
		              entry->path);
	if (!force)
		return refuse(problem, "%s %s exists. Choose another name, or replace it with --force", entry->what,
		              entry->path);
	return 0;
}

static void entry_close(struct entry *entry)
{
	if (entry->temporary[0])
		unlinkat(entry->folder, entry->temporary, 0);
	if (entry->backup[0])
		unlinkat(entry->folder, entry->backup, 0);
	if (entry->folder >= 0)
		close(entry->folder);
	entry->temporary[0] = entry->backup[0] = 0;
	entry->folder = -1;
}

static int write_all(int file, struct pair_content content)
{
	const char *at = content.bytes;

	while (content.length > 0) {
		ssize_t written = write(file, at, content.length);
		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return -errno;
		at += written;
		content.length -= (size_t)written;
	}
	return fsync(file) == 0 ? 0 : -errno;
}

// The mode given to the creation is never wider than the final one, so there is no instant at which others can open the
// key; fchmod only gives back what a strict umask took away.
static int entry_write(struct entry *entry, struct pair_content content, char problem[PAIR_PROBLEM_BYTES])
{
	char name[HIDDEN_NAME_BYTES];

	hidden_name(name);
	int file = openat(entry->folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, entry->mode);
	if (file < 0)
		return refuse(problem, "%s %s cannot be written: %s", entry->what, entry->path, outcome_text(-errno));
	memcpy(entry->temporary, name, sizeof name);
	int result = fchmod(file, entry->mode) == 0 ? write_all(file, content) : -errno;
	if (close(file) != 0 && result == 0)
		result = -errno;
	if (result < 0)
		return refuse(problem, "%s %s cannot be written: %s", entry->what, entry->path, outcome_text(result));
	return 0;
}

// 0 or -errno; -EEXIST when the name is taken.
static int rename_to_free_name(int folder, const char *from, const char *to)
{
	if (renameat2(folder, from, folder, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -errno;
	// A file system that does not know the flag knows links, or says so.
	if (linkat(folder, from, folder, to, 0) != 0)
		return -errno;
	unlinkat(folder, from, 0);
	return 0;
}

// Keeps what is about to be replaced under another name, by a link where that works so that the name never is empty.
// Syscalls: linkat, renameat, unlinkat
static int keep_backup(struct entry *entry)
{
	char name[HIDDEN_NAME_BYTES];

	hidden_name(name);
	if (linkat(entry->folder, entry->name, entry->folder, name, 0) != 0) {
		struct stat info;
		if (errno == ENOENT)
			return 0;
		if (fstatat(entry->folder, entry->name, &info, AT_SYMLINK_NOFOLLOW) != 0)
			return -errno;
		if (!S_ISREG(info.st_mode))
			return -EISDIR;
		if (renameat(entry->folder, entry->name, entry->folder, name) != 0)
			return -errno;
	}
	memcpy(entry->backup, name, sizeof name);
	return 0;
}

static int entry_publish(struct entry *entry, bool force, char problem[PAIR_PROBLEM_BYTES])
{
	int result;

	if (force) {
		result = keep_backup(entry);
		if (result == 0 && renameat(entry->folder, entry->temporary, entry->folder, entry->name) != 0)
			result = -errno;
	} else {
		result = rename_to_free_name(entry->folder, entry->temporary, entry->name);
	}
	if (result == -EEXIST)
		return refuse(problem, "%s %s exists. Choose another name, or replace it with --force", entry->what,
		              entry->path);
	if (result < 0)
		return refuse(problem, "%s %s cannot be put in its place: %s", entry->what, entry->path, outcome_text(result));
	entry->temporary[0] = 0;
	entry->published = true;
	return 0;
}

// Puts back what was there. Also for an entry whose own publishing failed after its backup was made: then both names
// may be links to one file, rename does nothing, and entry_close removes the second one.
static void entry_take_back(struct entry *entry)
{
	if (entry->backup[0]) {
		// A backup that cannot be put back is the only copy: it stays.
		if (renameat(entry->folder, entry->backup, entry->folder, entry->name) != 0)
			entry->backup[0] = 0;
	} else if (entry->published) {
		unlinkat(entry->folder, entry->name, 0);
	}
	entry->published = false;
}

static bool is_same_place(const struct entry *a, const struct entry *b)
{
	struct stat folder_a, folder_b;

	return strcmp(a->name, b->name) == 0 && fstat(a->folder, &folder_a) == 0 && fstat(b->folder, &folder_b) == 0 &&
	       folder_a.st_dev == folder_b.st_dev && folder_a.st_ino == folder_b.st_ino;
}

static int open_both(const struct pair_paths *paths, struct entry *cert, struct entry *key,
                     char problem[PAIR_PROBLEM_BYTES])
{
	*cert = (struct entry){.what = "certificate", .path = paths->cert_path, .folder = -1, .mode = 0644};
	*key = (struct entry){.what = "private key", .path = paths->key_path, .folder = -1, .mode = 0600};
	int result = entry_open(cert, problem);
	if (result == 0)
		result = entry_open(key, problem);
	if (result == 0 && is_same_place(cert, key))
		result = refuse(problem, "certificate and private key need two files, not one (%s)", paths->cert_path);
	if (result == 0)
		result = entry_check(cert, paths->force, problem);
	if (result == 0)
		result = entry_check(key, paths->force, problem);
	return result;
}

int pair_check(const struct pair_paths *paths, char problem[PAIR_PROBLEM_BYTES])
{
	struct entry cert, key;
	int result = open_both(paths, &cert, &key, problem);

	entry_close(&cert);
	entry_close(&key);
	return result;
}

static int publish_both(struct entry *cert, struct entry *key, bool force, char problem[PAIR_PROBLEM_BYTES])
{
	int result = entry_publish(key, force, problem);

	if (result == 0)
		result = entry_publish(cert, force, problem);
	if (result != 0) {
		entry_take_back(cert);
		entry_take_back(key);
	}
	return result;
}

int pair_write(const struct pair_paths *paths, struct pair_content cert_content, struct pair_content key_content,
               char problem[PAIR_PROBLEM_BYTES])
{
	struct entry cert, key;
	int result = open_both(paths, &cert, &key, problem);

	if (result == 0)
		result = entry_write(&key, key_content, problem);
	if (result == 0)
		result = entry_write(&cert, cert_content, problem);
	if (result == 0)
		result = publish_both(&cert, &key, paths->force, problem);
	entry_close(&cert);
	entry_close(&key);
	return result;
}

// ---- a file alone

static int open_single(const struct pair_single *single, struct entry *entry, char problem[PAIR_PROBLEM_BYTES])
{
	*entry = (struct entry){.what = single->what, .path = single->path, .folder = -1, .mode = (mode_t)single->mode};
	int result = entry_open(entry, problem);
	return result == 0 ? entry_check(entry, single->force, problem) : result;
}

int pair_check_single(const struct pair_single *single, char problem[PAIR_PROBLEM_BYTES])
{
	struct entry entry;
	int result = open_single(single, &entry, problem);

	entry_close(&entry);
	return result;
}

int pair_write_single(const struct pair_single *single, struct pair_content content, char problem[PAIR_PROBLEM_BYTES])
{
	struct entry entry;
	int result = open_single(single, &entry, problem);

	if (result == 0)
		result = entry_write(&entry, content, problem);
	if (result == 0)
		result = entry_publish(&entry, single->force, problem);
	if (result != 0)
		entry_take_back(&entry);
	entry_close(&entry);
	return result;
}
