// Readiness of descriptors.

#include "core/loop_private.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct loop_io {
	uv_poll_t uv;
	loop_io_fn on_ready; // NULL once closed
	void *owner;
	int wanted;
};

static void start_io(struct loop_io *io);

static void on_poll(uv_poll_t *poll, int status, int uv_events)
{
	struct loop_io *io = poll->data;
	int events = (uv_events & UV_READABLE ? LOOP_READ : 0) | (uv_events & UV_WRITABLE ? LOOP_WRITE : 0) |
	             (uv_events & UV_DISCONNECT ? LOOP_ENDED : 0);
	// libuv stops a handle that it reports an error of. But an error need not be an end: a UDP socket whose peer was
	// away for a moment goes on. So it is started again, before the owner is called: it may close or change it.
	if (status < 0) {
		events = LOOP_READ | LOOP_WRITE;
		start_io(io);
	}
	if (io->on_ready && events)
		io->on_ready(io->owner, events);
}

static void start_io(struct loop_io *io)
{
	int uv_events = (io->wanted & LOOP_READ ? UV_READABLE : 0) | (io->wanted & LOOP_WRITE ? UV_WRITABLE : 0) |
	                (io->wanted & LOOP_ENDED ? UV_DISCONNECT : 0);
	// Refused only for a descriptor that another handle of this loop waits for, or one closed before loop_io_close.
	int r = uv_poll_start(&io->uv, uv_events, on_poll);
	assert(r == 0);
	(void)r;
}

int loop_io_open(struct loop *loop, int fd, loop_io_fn on_ready, void *owner, struct loop_io **out)
{
	struct loop_io *io = calloc(1, sizeof *io);
	if (!io)
		return -ENOMEM;
	int r = uv_poll_init(loop_uv(loop), &io->uv, fd);
	if (r < 0) {
		free(io);
		return r;
	}
	io->uv.data = io;
	io->on_ready = on_ready;
	io->owner = owner;
	*out = io;
	return 0;
}

void loop_io_want(struct loop_io *io, int events)
{
	if (events == io->wanted)
		return;
	io->wanted = events;
	start_io(io);
}

void loop_io_close(struct loop_io **slot)
{
	struct loop_io *io = *slot;
	*slot = NULL;
	if (!io)
		return;
	io->on_ready = NULL;
	uv_close((uv_handle_t *)&io->uv, loop_free_handle);
}
