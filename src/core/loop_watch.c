// Changes in folders, by the kernel's inotify.

#include "core/loop_private.h"

#include <errno.h>
#include <stdlib.h>

struct loop_watch {
	uv_fs_event_t uv;
	loop_watch_fn on_change; // NULL once closed
	void *owner;
};

// An error (the folder itself is gone, say) is a change as well: the owner looks, and sees.
static void on_event(uv_fs_event_t *uv, const char *name, int events, int status)
{
	struct loop_watch *watch = uv->data;
	(void)name;
	(void)events;
	(void)status;
	if (watch->on_change)
		watch->on_change(watch->owner);
}

// Syscalls: inotify_init1, inotify_add_watch, inotify_rm_watch, read
int loop_watch_open(struct loop *loop, const char *folder, loop_watch_fn on_change, void *owner,
                    struct loop_watch **out)
{
	struct loop_watch *watch = calloc(1, sizeof *watch);
	if (!watch)
		return -ENOMEM;
	(void)uv_fs_event_init(loop_uv(loop), &watch->uv); // cannot fail
	watch->uv.data = watch;
	watch->on_change = on_change;
	watch->owner = owner;
	int r = uv_fs_event_start(&watch->uv, on_event, folder, 0);
	if (r < 0)
		loop_watch_close(&watch);
	else
		*out = watch;
	return r;
}

void loop_watch_close(struct loop_watch **slot)
{
	struct loop_watch *watch = *slot;
	*slot = NULL;
	if (!watch)
		return;
	watch->on_change = NULL;
	uv_close((uv_handle_t *)&watch->uv, loop_free_handle);
}
