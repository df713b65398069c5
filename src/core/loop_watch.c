// Changes in folders, by the kernel's inotify. Not by libuv's uv_fs_event: that reads until nothing is left, so that a
// neighbour in the same folder that writes as fast as we read would hold up the whole loop, and it hears every single
// write to every file.

#include "core/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <unistd.h>

// A name that appears, is replaced or goes, a file that was written and closed, the folder itself.
#define WATCH_EVENTS \
	(IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_CLOSE_WRITE | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF)
// One or more events with the longest names.
#define WATCH_BYTES 4096

struct loop_watch {
	int fd;
	struct loop_io *io;
	loop_watch_fn on_change;
	void *owner;
};

// One read in a turn, whatever else waits.
// Syscalls: read
static void on_ready(void *owner, int events)
{
	struct loop_watch *watch = owner;
	char bytes[WATCH_BYTES] __attribute__((aligned(__alignof__(struct inotify_event))));
	(void)events;
	// What changed is not looked at: the owner looks for itself, also when the kernel's queue was too short.
	if (read(watch->fd, bytes, sizeof bytes) > 0)
		watch->on_change(watch->owner);
}

// Syscalls: inotify_init1, close
int loop_watch_open(struct loop *loop, loop_watch_fn on_change, void *owner, struct loop_watch **out)
{
	struct loop_watch *watch = calloc(1, sizeof *watch);
	if (!watch)
		return -ENOMEM;
	watch->on_change = on_change;
	watch->owner = owner;
	watch->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	int r = watch->fd < 0 ? -errno : loop_io_open(loop, watch->fd, on_ready, watch, &watch->io);
	if (r < 0) {
		loop_watch_close(&watch);
		return r;
	}
	loop_io_want(watch->io, LOOP_READ);
	*out = watch;
	return 0;
}

// Syscalls: inotify_add_watch
int loop_watch_add(struct loop_watch *watch, const char *folder)
{
	return inotify_add_watch(watch->fd, folder, WATCH_EVENTS | IN_ONLYDIR) < 0 ? -errno : 0;
}

void loop_watch_close(struct loop_watch **slot)
{
	struct loop_watch *watch = *slot;
	*slot = NULL;
	if (!watch)
		return;
	loop_io_close(&watch->io);
	if (watch->fd >= 0)
		close(watch->fd);
	free(watch);
}
