#include "crypto/drop.h"

#include "crypto/digest.h"
#include "crypto/refusal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert((int)DROP_REFUSED == (int)REFUSAL && DROP_PROBLEM_BYTES == REFUSAL_BYTES, "refusals are passed up");

enum { DROP_ENDING_BYTES = 16, DROP_FILE_BYTES = LIMIT_DROP_NAME_BYTES + DROP_ENDING_BYTES };

struct drop {
	char *path;
	int folder;
	DIR *listing; // of a visit that goes on; NULL: the next one begins
};

bool drop_is_name(const char *name)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
	size_t length = strnlen(name, LIMIT_DROP_NAME_BYTES + 1);

	if (length == 0 || length > LIMIT_DROP_NAME_BYTES || !strchr(letters, name[0]))
		return false;
	for (size_t i = 0; i < length; i++)
		if (!strchr(letters, name[i]) && !strchr("._-", name[i]))
			return false;
	return true;
}

int drop_open(const char *path, struct drop **out, char problem[DROP_PROBLEM_BYTES])
{
	struct drop *drop = calloc(1, sizeof *drop);
	struct stat info;

	if (!drop)
		return -ENOMEM;
	drop->path = strdup(path);
	drop->folder = drop->path ? open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
	int error = errno, result = 0;
	if (drop->folder < 0 || fstat(drop->folder, &info) != 0)
		result = refusal(problem, "the drop folder %s cannot be opened%s: %s", path,
		                 error == ENOTDIR ? " (it must be a folder itself, no link to one)" : "", outcome_text(-error));
	else if (info.st_mode & 0002)
		result = refusal(problem,
		                 "every user of this machine may write in the drop folder %s (mode %04o): chmod o-w, and give "
		                 "the CA and the nodes a group of their own",
		                 path, info.st_mode & 07777);
	if (result == 0)
		*out = drop;
	else
		drop_close(&drop);
	return result;
}

void drop_close(struct drop **slot)
{
	struct drop *drop = *slot;

	*slot = NULL;
	if (!drop)
		return;
	if (drop->listing)
		closedir(drop->listing);
	if (drop->folder >= 0)
		close(drop->folder);
	free(drop->path);
	free(drop);
}

static void file_name(const char *name, const char *ending, char file[DROP_FILE_BYTES])
{
	snprintf(file, DROP_FILE_BYTES, "%s%s", name, ending);
}

// ---- reading

static int read_bytes(int file, struct drop_text *text)
{
	text->length = 0;
	while (text->length < sizeof text->bytes) {
		ssize_t got = read(file, text->bytes + text->length, sizeof text->bytes - text->length);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		text->length += (size_t)got;
	}
	return 0;
}

int drop_read(const struct drop *drop, const char *name, const char *ending, struct drop_text *text,
              char problem[DROP_PROBLEM_BYTES])
{
	char path[DROP_FILE_BYTES];
	struct stat info = {0};

	file_name(name, ending, path);
	// Hostile: a link, a pipe without a writer, a file that grows.
	int file = openat(drop->folder, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	int result = file < 0 || fstat(file, &info) != 0 ? -errno : 0;
	if (result == -ENOENT)
		return DROP_ABSENT;
	bool is_regular = result == 0 && S_ISREG(info.st_mode);
	if (is_regular && info.st_size <= LIMIT_RENEWAL_BYTES)
		result = read_bytes(file, text);
	if (file >= 0)
		close(file);
	if (result == -ELOOP || (result == 0 && !is_regular))
		return refusal(problem, "%s is no regular file", path);
	if (result < 0)
		return refusal(problem, "%s cannot be read: %s", path, outcome_text(result));
	if (info.st_size > LIMIT_RENEWAL_BYTES || text->length > LIMIT_RENEWAL_BYTES)
		return refusal(problem, "%s is larger than %d bytes", path, LIMIT_RENEWAL_BYTES);
	text->bytes[text->length] = 0;
	return 0;
}

static DIR *begin_listing(const struct drop *drop)
{
	int copy = openat(drop->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *listing = copy >= 0 ? fdopendir(copy) : NULL;

	if (!listing && copy >= 0)
		close(copy);
	return listing;
}

// Whether it is the name of a file with that ending.
static bool take_name(const char *file, const char *ending, char name[LIMIT_DROP_NAME_BYTES + 1])
{
	size_t length = strlen(file), tail = strlen(ending);

	if (length <= tail || length - tail > LIMIT_DROP_NAME_BYTES || strcmp(file + length - tail, ending) != 0)
		return false;
	snprintf(name, LIMIT_DROP_NAME_BYTES + 1, "%.*s", (int)(length - tail), file);
	return drop_is_name(name);
}

int drop_visit(struct drop *drop, const char *ending, size_t most, bool (*visit)(void *owner, const char *name),
               void *owner)
{
	char name[LIMIT_DROP_NAME_BYTES + 1];
	size_t count = 0;

	if (!drop->listing && !(drop->listing = begin_listing(drop)))
		return -errno;
	for (size_t looks = 0; count < most && looks < LIMIT_DROP_LOOKS; looks++) {
		struct dirent *entry = readdir(drop->listing);
		if (!entry) {
			closedir(drop->listing);
			drop->listing = NULL;
			return 0;
		}
		if (take_name(entry->d_name, ending, name))
			count += visit(owner, name);
	}
	return DROP_MORE;
}

// ---- writing

static int write_bytes(int file, struct drop_content content)
{
	while (content.length > 0) {
		ssize_t written = write(file, content.bytes, content.length);
		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return -errno;
		content.bytes += written;
		content.length -= (size_t)written;
	}
	return fsync(file) == 0 ? 0 : -errno;
}

// Syscalls: openat, fchmod, write, fsync, close, renameat, renameat2, rename, unlinkat
int drop_write(const struct drop *drop, const char *name, const char *ending, struct drop_content content,
               char problem[DROP_PROBLEM_BYTES])
{
	char path[DROP_FILE_BYTES], hidden[DROP_ENDING_BYTES * 2];
	unsigned long long number;

	file_name(name, ending, path);
	random_bytes(&number, sizeof number);
	snprintf(hidden, sizeof hidden, ".qanat-%016llx", number);
	int file = openat(drop->folder, hidden, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (file < 0)
		return refusal(problem, "%s cannot be written in the drop folder %s: %s", path, drop->path,
		               outcome_text(-errno));
	int result = fchmod(file, 0644) == 0 ? write_bytes(file, content) : -errno;
	close(file);
	if (result == 0 && renameat(drop->folder, hidden, drop->folder, path) != 0)
		result = -errno;
	if (result == 0)
		return 0;
	(void)unlinkat(drop->folder, hidden, 0);
	return refusal(problem, "%s cannot be written in the drop folder %s: %s", path, drop->path, outcome_text(result));
}

int drop_remove(const struct drop *drop, const char *name, const char *ending, char problem[DROP_PROBLEM_BYTES])
{
	char path[DROP_FILE_BYTES];

	file_name(name, ending, path);
	if (unlinkat(drop->folder, path, 0) == 0)
		return 0;
	// Hostile: a folder of that name, which would stand in the way for ever.
	if (errno == EISDIR && unlinkat(drop->folder, path, AT_REMOVEDIR) == 0)
		return 0;
	return errno == ENOENT ? DROP_ABSENT
	                       : refusal(problem, "%s cannot be removed from the drop folder %s: %s", path, drop->path,
	                                 outcome_text(-errno));
}
