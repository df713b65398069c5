#include "fleet/door.h"

#include "core/counter.h"
#include "core/log.h"
#include "net/socket.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define WORKSHOP ".qanat-hub" // where sockets are made
#define FRESH "new"
#define BACKLOG 128
#define ACCEPTS_PER_TURN 16
#define REST_MS 100

struct door {
	struct doors *doors;
	struct door *newer, *older;
	void *owner;
	struct loop_io *io;
	char *name;
	int fd;
	dev_t device;
	ino_t inode;
	bool closed;
	struct loop_task release;
};

struct doors {
	struct doors_settings settings;
	int folder, workshop; // handles
	int reserve;          // given up to turn one connection away when no descriptor is left
	struct door *newest;
	struct loop_timer *rest;
};

// ---- connections ---------------------------------------------------------------------------------------------------

static int open_reserve(void)
{
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void on_rested(void *owner)
{
	struct doors *doors = owner;
	if (doors->reserve < 0)
		doors->reserve = open_reserve();
	for (struct door *door = doors->newest; door; door = door->older)
		loop_io_want(door->io, LOOP_READ);
}

// Hostile: whoever opens connections until we run out of descriptors must not make us spin.
static void turn_one_away(struct door *door)
{
	struct doors *doors = door->doors;
	struct address peer;
	int fd = -1;
	socket_close(&doors->reserve);
	if (socket_accept(door->fd, &fd, &peer) == 0)
		socket_close(&fd);
	doors->reserve = open_reserve();
	counter_add(COUNTER_ADMISSION_DESCRIPTORS, 1);
	loop_io_want(door->io, 0);
	loop_timer_arm(doors->rest, REST_MS, 0);
}

static void on_readable(void *owner, int events)
{
	struct door *door = owner;
	(void)events;
	for (int i = 0; i < ACCEPTS_PER_TURN && !door->closed; i++) {
		struct address peer;
		int fd = -1, r = socket_accept(door->fd, &fd, &peer);
		if (r == SOCKET_NONE)
			return;
		if (r != 0) {
			turn_one_away(door);
			return;
		}
		if (socket_is_reserved(fd)) {
			counter_add(COUNTER_ADMISSION_DESCRIPTORS, 1);
			socket_close(&fd);
			continue;
		}
		door->doors->settings.on_accept(door->owner, fd);
	}
}

// ---- making a socket -----------------------------------------------------------------------------------------------

static void name_handle(int handle, const char *below, struct sockaddr_un *address)
{
	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d%s%s", handle, *below ? "/" : "", below);
}

static bool nobody_answers(int inode)
{
	struct sockaddr_un address;
	int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	name_handle(inode, "", &address);
	bool nobody = probe >= 0 && connect(probe, (struct sockaddr *)&address, sizeof address) != 0 &&
	              errno == ECONNREFUSED;
	socket_close(&probe);
	return nobody;
}

// What a hub that was killed has left behind: a socket of ours that nobody answers. Looked at once more just before it
// goes, because whoever may write to the folder may have replaced it meanwhile.
static bool remove_stale(const struct doors *doors, const char *name)
{
	struct stat seen, again;
	int inode = openat(doors->folder, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	bool stale = inode >= 0 && fstat(inode, &seen) == 0 && S_ISSOCK(seen.st_mode) &&
	             (seen.st_uid == geteuid() || seen.st_uid == doors->settings.uid) && nobody_answers(inode) &&
	             fstatat(doors->folder, name, &again, AT_SYMLINK_NOFOLLOW) == 0 && again.st_dev == seen.st_dev &&
	             again.st_ino == seen.st_ino && unlinkat(doors->folder, name, 0) == 0;
	if (inode >= 0)
		close(inode);
	return stale;
}

static int dress(const struct doors *doors, struct door *door)
{
	const struct doors_settings *settings = &doors->settings;
	struct stat made;
	// Owner first: changing it may clear bits of the mode.
	if ((settings->uid != (uid_t)-1 || settings->gid != (gid_t)-1) &&
	    fchownat(doors->workshop, FRESH, settings->uid, settings->gid, AT_SYMLINK_NOFOLLOW) != 0)
		return -errno;
	if (fchmodat(doors->workshop, FRESH, settings->mode, 0) != 0 ||
	    fstatat(doors->workshop, FRESH, &made, AT_SYMLINK_NOFOLLOW) != 0)
		return -errno;
	door->device = made.st_dev;
	door->inode = made.st_ino;
	return 0;
}

static int hang(const struct doors *doors, const char *name)
{
	for (int i = 0; i < 2; i++) {
		// Syscalls: renameat2, openat, newfstatat, unlinkat, fchmodat, fchownat, socket, bind, listen, connect
		if (renameat2(doors->workshop, FRESH, doors->folder, name, RENAME_NOREPLACE) == 0)
			return 0;
		if (errno != EEXIST)
			return -errno;
		if (!remove_stale(doors, name))
			return DOOR_TAKEN;
	}
	return DOOR_TAKEN;
}

static int make(struct doors *doors, const char *name, struct door *door)
{
	struct sockaddr_un address;
	name_handle(doors->workshop, FRESH, &address);
	door->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (door->fd < 0)
		return -errno;
	(void)unlinkat(doors->workshop, FRESH, 0);
	if (bind(door->fd, (struct sockaddr *)&address, sizeof address) != 0)
		return -errno;
	int r = dress(doors, door);
	if (r == 0 && listen(door->fd, BACKLOG) != 0)
		r = -errno;
	if (r == 0)
		r = hang(doors, name);
	if (r != 0) {
		(void)unlinkat(doors->workshop, FRESH, 0);
		door->inode = 0;
	}
	return r;
}

int door_open(struct doors *doors, const char *name, void *owner, struct door **out)
{
	struct door *door = calloc(1, sizeof *door);
	if (!door)
		return -ENOMEM;
	*door = (struct door){.doors = doors, .owner = owner, .fd = -1, .name = strdup(name), .older = doors->newest};
	if (doors->newest)
		doors->newest->newer = door;
	doors->newest = door;
	int r = door->name ? make(doors, name, door) : -ENOMEM;
	if (r == 0)
		r = loop_io_open(doors->settings.loop, door->fd, on_readable, door, &door->io);
	if (r != 0) {
		door_close(&door);
		return r;
	}
	loop_io_want(door->io, LOOP_READ);
	*out = door;
	return 0;
}

static void release(struct loop_task *task)
{
	struct door *door = CONTAINER_OF(task, struct door, release);
	free(door->name);
	free(door);
}

void door_close(struct door **slot)
{
	struct door *door = *slot;
	struct stat there;
	*slot = NULL;
	if (!door)
		return;
	struct doors *doors = door->doors;
	door->closed = true;
	if (door->inode && fstatat(doors->folder, door->name, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
	    there.st_dev == door->device && there.st_ino == door->inode)
		(void)unlinkat(doors->folder, door->name, 0);
	if (door->newer)
		door->newer->older = door->older;
	else
		doors->newest = door->older;
	if (door->older)
		door->older->newer = door->newer;
	loop_io_close(&door->io);
	socket_close(&door->fd);
	door->release.run = release;
	loop_defer(doors->settings.loop, &door->release);
}

// ---- the folder ----------------------------------------------------------------------------------------------------

static int refuse(const struct doors *doors, char problem[DOORS_PROBLEM_BYTES], const char *why)
{
	snprintf(problem, DOORS_PROBLEM_BYTES, "%.160s: %s", doors->settings.path, why);
	return DOORS_REFUSED;
}

static int open_folder(struct doors *doors, char problem[DOORS_PROBLEM_BYTES])
{
	struct stat seen;
	doors->folder = open(doors->settings.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (doors->folder < 0 || fstat(doors->folder, &seen) != 0)
		return refuse(doors, problem, outcome_text(-errno));
	if ((seen.st_mode & (S_IWGRP | S_IWOTH)) && !(seen.st_mode & S_ISVTX))
		log_warn("door",
		         "%s may be written to by others, who can take sockets away or put their own in their place; "
		         "\"chmod go-w\" helps",
		         doors->settings.path);
	return 0;
}

static int open_workshop(struct doors *doors, char problem[DOORS_PROBLEM_BYTES])
{
	struct stat seen;
	if (mkdirat(doors->folder, WORKSHOP, 0700) != 0 && errno != EEXIST)
		return refuse(doors, problem, outcome_text(-errno));
	// Hostile: what is there already may be somebody else's, or a symbolic link.
	doors->workshop = openat(doors->folder, WORKSHOP, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (doors->workshop < 0 || fstat(doors->workshop, &seen) != 0)
		return refuse(doors, problem, WORKSHOP " in it is no folder of ours");
	if (seen.st_uid != geteuid() || fchmod(doors->workshop, 0700) != 0)
		return refuse(doors, problem, WORKSHOP " in it belongs to somebody else");
	if (flock(doors->workshop, LOCK_EX | LOCK_NB) != 0)
		return refuse(doors, problem, "another hub uses this folder");
	return 0;
}

int doors_new(const struct doors_settings *settings, struct doors **out, char problem[DOORS_PROBLEM_BYTES])
{
	struct doors *doors = calloc(1, sizeof *doors);
	if (!doors)
		return -ENOMEM;
	*doors = (struct doors){.settings = *settings, .folder = -1, .workshop = -1, .reserve = open_reserve()};
	int r = open_folder(doors, problem);
	if (r == 0)
		r = open_workshop(doors, problem);
	if (r == 0)
		r = loop_timer_open(settings->loop, on_rested, doors, &doors->rest);
	doors->settings.path = NULL; // lent until now
	if (r != 0) {
		doors_free(&doors);
		return r;
	}
	*out = doors;
	return 0;
}

void doors_set(struct doors *doors, mode_t mode, uid_t uid, gid_t gid)
{
	doors->settings.mode = mode;
	doors->settings.uid = uid;
	doors->settings.gid = gid;
}

void doors_free(struct doors **slot)
{
	struct doors *doors = *slot;
	*slot = NULL;
	if (!doors)
		return;
	loop_timer_close(&doors->rest);
	if (doors->workshop >= 0) {
		(void)unlinkat(doors->folder, WORKSHOP, AT_REMOVEDIR);
		close(doors->workshop);
	}
	socket_close(&doors->folder);
	socket_close(&doors->reserve);
	free(doors);
}
