#include "node/watch.h"

#include "core/log.h"
#include "limits.h"

#include <errno.h>
#include <linux/limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define WATCH_PATIENCE 10
// How often it looks by itself.
#define WATCH_LOOK_MS 60000

// What a file was when it was last looked at. All zero: not there.
struct state {
	dev_t device;
	ino_t inode;
	off_t size;
	struct timespec changed;
};

struct file {
	char *path;
	struct state known;
};

struct watch {
	struct loop *loop;
	uint32_t quiet_ms;
	watch_fn on_change;
	void *owner;
	struct loop_timer *quiet, *slow;
	uint64_t first_ms; // of the changes that wait for quiet; 0: none
	struct file files[LIMIT_WATCHED_FILES];
	size_t count;
	struct loop_watch *folders;
};

static struct state look_at(const char *path)
{
	struct stat info;

	if (stat(path, &info) != 0)
		return (struct state){0};
	return (struct state){info.st_dev, info.st_ino, info.st_size, info.st_mtim};
}

static bool is_same(const struct state *a, const struct state *b)
{
	return a->device == b->device && a->inode == b->inode && a->size == b->size &&
	       a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec;
}

// The first file that is not what it was; NULL: none.
static const char *changed_file(const struct watch *watch)
{
	for (size_t i = 0; i < watch->count; i++) {
		struct state now = look_at(watch->files[i].path);
		if (!is_same(&now, &watch->files[i].known))
			return watch->files[i].path;
	}
	return NULL;
}

void watch_mark(struct watch *watch)
{
	for (size_t i = 0; i < watch->count; i++)
		watch->files[i].known = look_at(watch->files[i].path);
}

// ---- events --------------------------------------------------------------------------------------------------------

static void wait_for_quiet(void *owner)
{
	struct watch *watch = owner;
	uint64_t now = loop_now_ms(watch->loop), delay_ms = watch->quiet_ms;

	if (watch->first_ms == 0)
		watch->first_ms = now;
	uint64_t last_ms = watch->first_ms + WATCH_PATIENCE * (uint64_t)watch->quiet_ms;
	if (now + delay_ms > last_ms)
		delay_ms = last_ms > now ? last_ms - now : 0;
	loop_timer_arm(watch->quiet, delay_ms, 0);
}

static void on_quiet(void *owner)
{
	struct watch *watch = owner;
	const char *path = changed_file(watch);

	watch->first_ms = 0;
	if (!path)
		return; // something else in the same folders
	log_info("watch", "%s has changed on the disk", path);
	watch_mark(watch);
	watch->on_change(watch->owner);
}

static void on_slow(void *owner)
{
	struct watch *watch = owner;

	if (watch->first_ms == 0 && changed_file(watch))
		wait_for_quiet(watch);
}

// ---- what is watched -----------------------------------------------------------------------------------------------

static void free_files(struct file *files, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(files[i].path);
}

// The part before the last '/', in place.
static void cut_to_folder(char *path)
{
	char *slash = strrchr(path, '/');

	if (!slash)
		snprintf(path, 2, ".");
	else
		slash[slash == path] = 0;
}

struct folder_list {
	char (*names)[PATH_MAX];
	size_t count;
};

static void add_folder(struct folder_list *list, const char *path)
{
	char *name = list->names[list->count];

	if (snprintf(name, PATH_MAX, "%s", path) >= PATH_MAX)
		return;
	cut_to_folder(name);
	for (size_t i = 0; i < list->count; i++)
		if (strcmp(list->names[i], name) == 0)
			return;
	list->count++;
}

// The folder that a file is named in, and the one that it lies in when that is another.
// Syscalls: readlink, newfstatat
static int open_folders(struct watch *watch)
{
	struct folder_list list = {.names = calloc(2 * LIMIT_WATCHED_FILES, sizeof *list.names)};
	char real[PATH_MAX];

	if (!list.names)
		return -ENOMEM;
	for (size_t i = 0; i < watch->count; i++) {
		add_folder(&list, watch->files[i].path);
		if (realpath(watch->files[i].path, real))
			add_folder(&list, real);
	}
	int r = loop_watch_open(watch->loop, wait_for_quiet, watch, &watch->folders);
	for (size_t i = 0; i < list.count; i++) {
		int added = r == 0 ? loop_watch_add(watch->folders, list.names[i]) : r;
		if (added < 0)
			log_warn("watch", "folder %s cannot be watched: %s; it is looked at every %d s", list.names[i],
			         outcome_text(added), WATCH_LOOK_MS / 1000);
	}
	free(list.names);
	return 0;
}

static struct state known_state(const struct watch *watch, const char *path)
{
	for (size_t i = 0; i < watch->count; i++)
		if (strcmp(watch->files[i].path, path) == 0)
			return watch->files[i].known;
	return look_at(path);
}

int watch_set(struct watch *watch, const char *const *paths, size_t count)
{
	struct file fresh[LIMIT_WATCHED_FILES] = {0};

	if (count > LIMIT_WATCHED_FILES) {
		log_warn("watch", "only the first %d files are watched", LIMIT_WATCHED_FILES);
		count = LIMIT_WATCHED_FILES;
	}
	for (size_t i = 0; i < count; i++) {
		fresh[i] = (struct file){.path = strdup(paths[i]), .known = known_state(watch, paths[i])};
		if (fresh[i].path)
			continue;
		free_files(fresh, i);
		return -ENOMEM;
	}
	loop_watch_close(&watch->folders);
	free_files(watch->files, watch->count);
	memcpy(watch->files, fresh, sizeof fresh);
	watch->count = count;
	if (count == 0) {
		loop_timer_disarm(watch->slow);
		return 0;
	}
	loop_timer_arm(watch->slow, WATCH_LOOK_MS, WATCH_LOOK_MS);
	// Between the old watch of a folder and the new one something may have happened.
	wait_for_quiet(watch);
	return open_folders(watch);
}

int watch_open(struct loop *loop, uint32_t quiet_ms, watch_fn on_change, void *owner, struct watch **out)
{
	struct watch *watch = calloc(1, sizeof *watch);

	if (!watch)
		return -ENOMEM;
	watch->loop = loop;
	watch->quiet_ms = quiet_ms;
	watch->on_change = on_change;
	watch->owner = owner;
	int r = loop_timer_open(loop, on_quiet, watch, &watch->quiet);
	if (r == 0)
		r = loop_timer_open(loop, on_slow, watch, &watch->slow);
	if (r < 0)
		watch_close(&watch);
	else
		*out = watch;
	return r;
}

void watch_close(struct watch **slot)
{
	struct watch *watch = *slot;

	*slot = NULL;
	if (!watch)
		return;
	loop_watch_close(&watch->folders);
	free_files(watch->files, watch->count);
	loop_timer_close(&watch->quiet);
	loop_timer_close(&watch->slow);
	free(watch);
}
