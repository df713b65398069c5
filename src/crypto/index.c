#include "crypto/index.h"

#include "crypto/index_line.h"
#include "crypto/refusal.h"
#include "limits.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

_Static_assert((int)INDEX_REFUSED == (int)REFUSAL && INDEX_PROBLEM_BYTES == REFUSAL_BYTES, "refusals are passed up");

enum { LOCK_LOOK_MS = 20, LOCK_TRIES = 16, PRUNE_PART = 8 };

static const char heading[] = "# What this CA issued and revoked; qanat cert list shows it. Appended to and pruned.\n";

struct index {
	char *path;
	char authority[INDEX_AUTHORITY_BYTES];
	int file; // -1: to read, and closed already
	struct index_entry *entries;
	size_t count, room;
	uint32_t *slots; // by serial number: positions in `entries` and one; twice as many as there is room for
	uint64_t last_list;
};

// ---- the file

static int lock_file(int file, const char *path, char problem[INDEX_PROBLEM_BYTES])
{
	const struct timespec pause = {.tv_nsec = LOCK_LOOK_MS * 1000000L};

	for (int waited_ms = 0; waited_ms < LIMIT_INDEX_LOCK_MS; waited_ms += LOCK_LOOK_MS) {
		if (flock(file, LOCK_EX | LOCK_NB) == 0)
			return 0;
		if (errno != EWOULDBLOCK && errno != EINTR)
			return refusal(problem, "the index %s cannot be locked: %s", path, outcome_text(-errno));
		nanosleep(&pause, NULL);
	}
	return refusal(problem, "the index %s is locked by another process for %d s: is a `qanat cert` stuck?", path,
	               LIMIT_INDEX_LOCK_MS / 1000);
}

static int judge_file(int file, const char *path, char problem[INDEX_PROBLEM_BYTES])
{
	struct stat info;

	if (fstat(file, &info) != 0)
		return refusal(problem, "the index %s cannot be looked at: %s", path, outcome_text(-errno));
	if (!S_ISREG(info.st_mode))
		return refusal(problem, "the index %s is not a regular file", path);
	if (info.st_uid != geteuid() && info.st_uid != 0)
		return refusal(problem, "the index %s belongs to uid %u, neither to us (uid %u) nor to root", path, info.st_uid,
		               geteuid());
	if (info.st_mode & 0022)
		return refusal(problem, "the index %s can be changed by others (mode %04o). To mend it: chmod go-w %s", path,
		               info.st_mode & 07777, path);
	if (info.st_size > LIMIT_INDEX_BYTES)
		return refusal(problem, "the index %s is larger than %d bytes", path, LIMIT_INDEX_BYTES);
	return 0;
}

// A new file's name is on the disk as well.
static int sync_folder(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
	int handle = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	int result = handle >= 0 && (fsync(handle) == 0 || errno == EINVAL) ? 0 : -errno;

	if (handle >= 0)
		close(handle);
	free(folder);
	return result;
}

static int append(struct index *index, const char *text, char problem[INDEX_PROBLEM_BYTES])
{
	size_t length = strlen(text);
	ssize_t written;

	do
		written = write(index->file, text, length);
	while (written < 0 && errno == EINTR);
	if (written == (ssize_t)length && fsync(index->file) == 0)
		return 0;
	int error = written < 0 || written == (ssize_t)length ? errno : ENOSPC;
	return refusal(problem, "the index %s cannot be written, so nothing is issued: %s", index->path,
	               outcome_text(-error));
}

// Locked, but not the file any more that has this name: it was pruned while we waited.
static bool was_replaced(const struct index *index)
{
	struct stat ours, theirs;

	return fstat(index->file, &ours) != 0 || lstat(index->path, &theirs) != 0 || ours.st_ino != theirs.st_ino ||
	       ours.st_dev != theirs.st_dev;
}

static int open_and_lock(struct index *index, char problem[INDEX_PROBLEM_BYTES])
{
	for (int i = 0; i < LOCK_TRIES; i++) {
		index->file = open(index->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
		if (index->file < 0)
			return refusal(problem, "the index %s cannot be opened: %s. Another place is given with --index",
			               index->path, outcome_text(-errno));
		int result = judge_file(index->file, index->path, problem);
		if (result == 0)
			result = lock_file(index->file, index->path, problem);
		if (result != 0 || !was_replaced(index))
			return result;
		close(index->file);
		index->file = -1;
	}
	return refusal(problem, "the index %s is replaced again and again", index->path);
}

static int open_to_write(struct index *index, char problem[INDEX_PROBLEM_BYTES])
{
	struct stat info;
	int result = open_and_lock(index, problem);

	if (result != 0 || fstat(index->file, &info) != 0 || info.st_size > 0)
		return result;
	result = append(index, heading, problem);
	if (result == 0 && sync_folder(index->path) < 0)
		result = refusal(problem, "the folder of the index %s cannot be written to the disk", index->path);
	return result;
}

// ---- what is in it

// Serial numbers are random ones of our own. Where this one is, or the empty slot where it belongs; there always is
// one.
static uint32_t *slot_of(const struct index *index, const char *serial)
{
	size_t mask = 2 * index->room - 1, at = 2166136261U; // room is a power of two
	for (const char *c = serial; *c; c++)
		at = (at ^ (uint8_t)*c) * 16777619U;
	for (at &= mask; index->slots[at] != 0; at = (at + 1) & mask)
		if (strcmp(index->entries[index->slots[at] - 1].serial, serial) == 0)
			break;
	return &index->slots[at];
}

static struct index_entry *find(const struct index *index, const char *serial)
{
	uint32_t position = index->room > 0 ? *slot_of(index, serial) : 0;
	return position > 0 ? &index->entries[position - 1] : NULL;
}

static int grow(struct index *index)
{
	size_t room = index->room ? 2 * index->room : 16;
	struct index_entry *entries = reallocarray(index->entries, room, sizeof *entries);
	if (entries)
		index->entries = entries;
	uint32_t *slots = entries ? calloc(2 * room, sizeof *slots) : NULL;
	if (!slots)
		return -ENOMEM;
	free(index->slots);
	index->slots = slots;
	index->room = room;
	for (size_t i = 0; i < index->count; i++)
		*slot_of(index, index->entries[i].serial) = (uint32_t)i + 1;
	return 0;
}

static int keep(struct index *index, const struct index_entry *entry)
{
	int result = index->count == index->room ? grow(index) : 0;
	if (result != 0)
		return result;
	assert(index->entries && index->count < index->room);
	index->entries[index->count++] = *entry;
	*slot_of(index, entry->serial) = (uint32_t)index->count;
	return 0;
}

static int apply(struct index *index, const struct index_line *line)
{
	struct index_entry *known = find(index, line->entry.serial);

	if (strcmp(line->authority, index->authority) != 0)
		return 0;
	switch (line->event) {
	case INDEX_LINE_ISSUED:
		return known ? 0 : keep(index, &line->entry);
	case INDEX_LINE_WITHDRAWN:
		if (known)
			known->is_withdrawn = true;
		return 0;
	case INDEX_LINE_REVOKED:
		if (!known)
			return keep(index, &line->entry);
		known->revoked_at = line->entry.revoked_at;
		known->reason = line->entry.reason;
		return 0;
	case INDEX_LINE_LIST:
		if (line->number > index->last_list)
			index->last_list = line->number;
		return 0;
	case INDEX_LINE_REMARK:
		return 0;
	}
	return 0;
}

// The last line when it has no end: a whole one was only not ended (by an editor), any other is torn.
static int end_line(struct index *index, const char *text, char problem[INDEX_PROBLEM_BYTES])
{
	struct index_line line;

	if (index_line_decode(text, &line) != 0)
		return append(index, "\ttorn\n", problem);
	int result = append(index, "\n", problem);
	return result == 0 ? apply(index, &line) : result;
}

static int read_lines(struct index *index, FILE *input, char problem[INDEX_PROBLEM_BYTES])
{
	char text[LIMIT_INDEX_LINE_BYTES];
	struct index_line line;

	for (unsigned long number = 1; fgets(text, sizeof text, input); number++) {
		size_t length = strlen(text);
		bool is_ended = length > 0 && text[length - 1] == '\n';
		if (!is_ended && feof(input))
			return index->file >= 0 ? end_line(index, text, problem) : 0;
		if (is_ended)
			text[length - 1] = 0;
		if (!is_ended || index_line_decode(text, &line) != 0)
			return refusal(problem,
			               "line %lu of the index %s is not understood; to go on without it, put '#' in front of it",
			               number, index->path);
		int result = apply(index, &line);
		if (result != 0)
			return result;
	}
	return ferror(input) ? refusal(problem, "the index %s cannot be read", index->path) : 0;
}

static int read_file(struct index *index, int file, char problem[INDEX_PROBLEM_BYTES])
{
	FILE *input = fdopen(file, "re");

	if (!input) {
		close(file);
		return -ENOMEM;
	}
	int result = read_lines(index, input, problem);
	fclose(input);
	return result;
}

static int open_to_read(struct index *index, char problem[INDEX_PROBLEM_BYTES])
{
	int file = open(index->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (file < 0 && errno == ENOENT)
		return 0;
	if (file < 0)
		return refusal(problem, "the index %s cannot be opened: %s", index->path, outcome_text(-errno));
	int result = judge_file(file, index->path, problem);
	if (result == 0)
		return read_file(index, file, problem);
	close(file);
	return result;
}

static int read_own_file(struct index *index, char problem[INDEX_PROBLEM_BYTES])
{
	int copy = fcntl(index->file, F_DUPFD_CLOEXEC, 0);

	return copy < 0 || lseek(copy, 0, SEEK_SET) < 0 ? -errno : read_file(index, copy, problem);
}

int index_open(const char *path, const char *authority, enum index_access access, struct index **out,
               char problem[INDEX_PROBLEM_BYTES])
{
	struct index *index = calloc(1, sizeof *index);

	if (!index)
		return -ENOMEM;
	index->file = -1;
	index->path = strdup(path);
	snprintf(index->authority, sizeof index->authority, "%s", authority);
	int result = index->path ? 0 : -ENOMEM;
	if (result == 0 && access == INDEX_TO_READ)
		result = open_to_read(index, problem);
	if (result == 0 && access == INDEX_TO_WRITE)
		result = open_to_write(index, problem);
	if (result == 0 && access == INDEX_TO_WRITE)
		result = read_own_file(index, problem);
	if (result == 0)
		*out = index;
	else
		index_close(&index);
	return result;
}

void index_close(struct index **slot)
{
	struct index *index = *slot;

	*slot = NULL;
	if (!index)
		return;
	if (index->file >= 0)
		close(index->file);
	free(index->entries);
	free(index->slots);
	free(index->path);
	free(index);
}

const char *index_path(const struct index *index)
{
	return index->path;
}

const struct index_entry *index_entries(const struct index *index, size_t *count)
{
	*count = index->count;
	return index->entries;
}

const struct index_entry *index_find(const struct index *index, const char *serial)
{
	return find(index, serial);
}

uint64_t index_last_list(const struct index *index)
{
	return index->last_list;
}

// ---- one line more

static int add(struct index *index, struct index_line *line, char problem[INDEX_PROBLEM_BYTES])
{
	char text[LIMIT_INDEX_LINE_BYTES];

	line->at = (int64_t)time(NULL);
	memcpy(line->authority, index->authority, sizeof line->authority);
	if (line->event == INDEX_LINE_ISSUED)
		line->entry.issued_at = line->at;
	if (line->event == INDEX_LINE_REVOKED)
		line->entry.revoked_at = line->at;
	index_line_encode(line, text);
	int result = append(index, text, problem);
	return result == 0 ? apply(index, line) : result;
}

int index_add_issued(struct index *index, const struct index_entry *entry, char problem[INDEX_PROBLEM_BYTES])
{
	struct index_line line = {.event = INDEX_LINE_ISSUED, .entry = *entry};

	return add(index, &line, problem);
}

int index_add_withdrawn(struct index *index, const char *serial, char problem[INDEX_PROBLEM_BYTES])
{
	struct index_line line = {.event = INDEX_LINE_WITHDRAWN};

	snprintf(line.entry.serial, sizeof line.entry.serial, "%s", serial);
	return add(index, &line, problem);
}

int index_add_revoked(struct index *index, const struct index_entry *entry, enum index_reason reason,
                      char problem[INDEX_PROBLEM_BYTES])
{
	struct index_line line = {.event = INDEX_LINE_REVOKED, .entry = *entry};

	line.entry.reason = reason;
	return add(index, &line, problem);
}

int index_add_list(struct index *index, const struct index_list *list, char problem[INDEX_PROBLEM_BYTES])
{
	struct index_line line = {.event = INDEX_LINE_LIST,
	                          .number = list->number,
	                          .next_update = list->next_update,
	                          .revoked_count = list->count};

	return add(index, &line, problem);
}

// ---- pruning

static bool is_over(const struct index_entry *entry, int64_t ended_before)
{
	return entry->not_after < ended_before && !entry->revoked_at;
}

// Whether the line stays. Its text has its '\n'.
static bool is_kept(const struct index *index, const char *text, int64_t ended_before)
{
	char copy[LIMIT_INDEX_LINE_BYTES];
	struct index_line line;

	snprintf(copy, sizeof copy, "%s", text);
	copy[strcspn(copy, "\n")] = 0;
	if (index_line_decode(copy, &line) != 0 || strcmp(line.authority, index->authority) != 0)
		return true;
	const struct index_entry *entry = find(index, line.entry.serial);
	switch (line.event) {
	case INDEX_LINE_ISSUED:
	case INDEX_LINE_WITHDRAWN:
		return !entry || !is_over(entry, ended_before);
	case INDEX_LINE_LIST:
		return line.number >= index->last_list;
	case INDEX_LINE_REVOKED:
	case INDEX_LINE_REMARK:
		return true;
	}
	return true;
}

static int copy_kept(const struct index *index, int64_t ended_before, FILE *from, FILE *to)
{
	char text[LIMIT_INDEX_LINE_BYTES];

	while (fgets(text, sizeof text, from))
		if (is_kept(index, text, ended_before) && fputs(text, to) < 0)
			return -errno;
	return !ferror(from) && fflush(to) == 0 && fsync(fileno(to)) == 0 ? 0 : -errno;
}

// The new file, locked as the old one is. -1, with errno.
static int write_kept(struct index *index, const char *path, int64_t ended_before)
{
	(void)unlink(path); // what a crash has left: nobody else writes while we have the lock
	int file = open(path, O_RDWR | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	int copy = file >= 0 && flock(file, LOCK_EX | LOCK_NB) == 0 ? fcntl(file, F_DUPFD_CLOEXEC, 0) : -1;
	int old = open(index->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	FILE *to = copy >= 0 ? fdopen(copy, "ae") : NULL, *from = old >= 0 ? fdopen(old, "re") : NULL;
	int result = to && from ? copy_kept(index, ended_before, from, to) : -errno;

	if (to)
		fclose(to);
	if (from)
		fclose(from);
	if (result == 0)
		return file;
	if (file >= 0)
		close(file);
	(void)unlink(path);
	errno = -result;
	return -1;
}

static int replace(struct index *index, int64_t ended_before, char problem[INDEX_PROBLEM_BYTES])
{
	char *path = NULL;
	int file = asprintf(&path, "%s.pruned", index->path) < 0 ? -1 : write_kept(index, path, ended_before);
	int result = file < 0 || rename(path, index->path) != 0 || sync_folder(index->path) < 0 ? -errno : 0;

	if (result < 0) {
		if (file >= 0)
			close(file);
		result = refusal(problem, "the index %s cannot be pruned: %s", index->path, outcome_text(result));
	} else {
		close(index->file);
		index->file = file;
		index->count = 0;
		memset(index->slots, 0, 2 * index->room * sizeof *index->slots);
		result = read_own_file(index, problem);
	}
	free(path);
	return result;
}

int index_prune(struct index *index, int64_t ended_before, size_t *pruned, char problem[INDEX_PROBLEM_BYTES])
{
	size_t count = 0;

	*pruned = 0;
	for (size_t i = 0; i < index->count; i++)
		count += is_over(&index->entries[i], ended_before);
	if (count == 0 || count < index->count / PRUNE_PART)
		return 0;
	int result = replace(index, ended_before, problem);
	if (result == 0)
		*pruned = count;
	return result;
}
