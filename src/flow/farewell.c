#include "flow/farewell.h"

#include "limits.h"
#include "net/socket.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

struct farewell {
	struct farewells *farewells;
	struct farewell *newer, *older;
	struct loop_io *io;
	struct loop_task release;
	uint64_t until_ms;
	int fd;
};

struct farewells {
	struct loop *loop;
	struct loop_timer *timer;
	struct farewell *newest, *oldest;
	unsigned count;
};

static void release(struct loop_task *task)
{
	free(CONTAINER_OF(task, struct farewell, release));
}

static void end(struct farewell *farewell)
{
	struct farewells *farewells = farewell->farewells;
	*(farewell->newer ? &farewell->newer->older : &farewells->newest) = farewell->older;
	*(farewell->older ? &farewell->older->newer : &farewells->oldest) = farewell->newer;
	farewells->count--;
	loop_io_close(&farewell->io);
	socket_close(&farewell->fd);
	loop_defer(farewells->loop, &farewell->release);
}

static void arm(struct farewells *farewells)
{
	if (!farewells->oldest) {
		loop_timer_disarm(farewells->timer);
		return;
	}
	uint64_t now = loop_now_ms(farewells->loop), due = farewells->oldest->until_ms;
	loop_timer_arm(farewells->timer, due > now ? due - now : 0, 0);
}

static void on_timer(void *owner)
{
	struct farewells *farewells = owner;
	while (farewells->oldest && farewells->oldest->until_ms <= loop_now_ms(farewells->loop))
		end(farewells->oldest);
	arm(farewells);
}

// What the client still says is of no interest; its end is.
static void on_ready(void *owner, int events)
{
	(void)events;
	struct farewell *farewell = owner;
	char ignored[4096];
	ssize_t n = recv(farewell->fd, ignored, sizeof ignored, MSG_DONTWAIT);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		end(farewell);
}

int farewells_new(struct loop *loop, struct farewells **out)
{
	struct farewells *farewells = calloc(1, sizeof *farewells);
	if (!farewells)
		return -ENOMEM;
	farewells->loop = loop;
	int r = loop_timer_open(loop, on_timer, farewells, &farewells->timer);
	if (r < 0)
		free(farewells);
	else
		*out = farewells;
	return r;
}

void farewells_free(struct farewells **slot)
{
	struct farewells *farewells = *slot;
	*slot = NULL;
	if (!farewells)
		return;
	while (farewells->oldest)
		end(farewells->oldest);
	loop_timer_close(&farewells->timer);
	free(farewells);
}

void farewell_say(struct farewells *farewells, int *fd, const uint8_t *bytes, size_t length)
{
	struct farewell *farewell = calloc(1, sizeof *farewell);
	socket_close_resets(*fd, false);
	(void)!send(*fd, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT);
	(void)shutdown(*fd, SHUT_WR);
	if (!farewell || loop_io_open(farewells->loop, *fd, on_ready, farewell, &farewell->io) < 0) {
		free(farewell);
		socket_close(fd);
		return;
	}
	// Hostile: whoever stays after being told "no" takes the place of the one that has stayed longest.
	if (farewells->count >= LIMIT_FAREWELLS_PER_WORKER)
		end(farewells->oldest);
	farewell->farewells = farewells;
	farewell->release.run = release;
	farewell->until_ms = loop_now_ms(farewells->loop) + LIMIT_FAREWELL_MS;
	farewell->fd = *fd;
	*fd = -1;
	farewell->older = farewells->newest;
	*(farewells->newest ? &farewells->newest->newer : &farewells->oldest) = farewell;
	farewells->newest = farewell;
	farewells->count++;
	loop_io_want(farewell->io, LOOP_READ);
	arm(farewells);
}
