#include "edge/listener.h"

#include "core/counter.h"
#include "core/log.h"
#include "net/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BACKLOG 4096 // the kernel cuts it to net.core.somaxconn
#define ACCEPTS_PER_TURN 64
#define REST_MS 100
#define WARN_EVERY_MS 10000

struct listener {
	struct loop *loop;
	listener_fn on_accept;
	listener_broken_fn on_broken; // NULL: only logged
	void *owner;
	struct address address;
	int fd;
	int reserve; // given up to accept and close one connection when no other descriptor is left; -1: taken by others
	struct loop_io *io;
	struct loop_timer *rest;
	bool paused, resting, closed;
	uint64_t warned_ms; // 0: never
	struct stat made;   // the Unix path as we made it; st_ino 0: none
	struct loop_task release;
};

static int open_reserve(void)
{
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void want(struct listener *listener)
{
	loop_io_want(listener->io, listener->paused || listener->resting ? 0 : LOOP_READ);
}

static void on_rested(void *owner)
{
	struct listener *listener = owner;
	listener->resting = false;
	if (listener->reserve < 0)
		listener->reserve = open_reserve();
	want(listener);
}

static void rest(struct listener *listener)
{
	listener->resting = true;
	want(listener);
	loop_timer_arm(listener->rest, REST_MS, 0);
}

static void say_exhausted(struct listener *listener)
{
	char text[ADDRESS_TEXT_BYTES];
	uint64_t now = loop_now_ms(listener->loop);
	counter_add(COUNTER_ADMISSION_DESCRIPTORS, 1);
	if (listener->warned_ms != 0 && now - listener->warned_ms < WARN_EVERY_MS)
		return;
	listener->warned_ms = now;
	address_format(&listener->address, text);
	log_warn("listener",
	         "%s: out of file descriptors, new connections are turned away: raise the limit (ulimit -n, LimitNOFILE=)",
	         text);
}

// Hostile: whoever opens connections until we run out of descriptors must not make us spin on a listener that stays
// readable. One waiting connection is turned away, and the next look is 100 ms later.
static void turn_one_away(struct listener *listener)
{
	struct address peer;
	int fd = -1;
	socket_close(&listener->reserve);
	if (socket_accept(listener->fd, &fd, &peer) == 0)
		socket_reset(&fd);
	listener->reserve = open_reserve();
	say_exhausted(listener);
	rest(listener);
}

// What does not pass: the descriptor is no listening socket (any more).
static bool is_for_good(int refused)
{
	return refused == -EINVAL || refused == -EBADF || refused == -ENOTSOCK || refused == -EOPNOTSUPP;
}

static void fail(struct listener *listener, int refused)
{
	char text[ADDRESS_TEXT_BYTES];
	uint64_t now = loop_now_ms(listener->loop);
	address_format(&listener->address, text);
	if (is_for_good(refused)) {
		log_error("listener", "%s: the socket is broken, nothing can be accepted any more: %s", text,
		          outcome_text(refused));
		listener->paused = true;
		want(listener);
		if (listener->on_broken)
			listener->on_broken(listener->owner);
		return;
	}
	if (listener->warned_ms == 0 || now - listener->warned_ms >= WARN_EVERY_MS)
		log_error("listener", "%s: accept failed, trying again: %s", text, outcome_text(refused));
	listener->warned_ms = now;
	rest(listener);
}

static void on_readable(void *owner, int events)
{
	struct listener *listener = owner;
	(void)events;
	for (int i = 0; i < ACCEPTS_PER_TURN && !listener->closed && !listener->paused; i++) {
		struct address peer;
		int fd;
		int result = socket_accept(listener->fd, &fd, &peer);
		if (result == SOCKET_NONE)
			return;
		if (result == SOCKET_EXHAUSTED) {
			turn_one_away(listener);
			return;
		}
		if (result != 0) {
			fail(listener, result);
			return;
		}
		// Taken from the queue and reset at once: it stays there for nobody, and nothing keeps us busy.
		if (socket_is_reserved(fd)) {
			socket_reset(&fd);
			say_exhausted(listener);
			continue;
		}
		listener->on_accept(listener->owner, fd, &peer);
	}
}

int listener_open(struct loop *loop, struct address *address, listener_fn on_accept, void *owner,
                  struct listener **listener)
{
	struct listener *opened = calloc(1, sizeof(*opened));
	if (opened == NULL)
		return -ENOMEM;
	*opened = (struct listener){.loop = loop, .on_accept = on_accept, .owner = owner, .fd = -1, .reserve = -1};
	int failed = socket_listen(address, BACKLOG, &opened->fd);
	bool inherited = failed == SOCKET_INHERITED;
	if (failed == 0 || inherited) {
		opened->address = *address;
		if (address_is_unix(address) && !inherited && lstat(address->un.sun_path, &opened->made) != 0)
			opened->made = (struct stat){0};
		opened->reserve = open_reserve();
		failed = loop_timer_open(loop, on_rested, opened, &opened->rest);
	}
	if (failed == 0)
		failed = loop_io_open(loop, opened->fd, on_readable, opened, &opened->io);
	if (failed != 0) {
		listener_close(&opened);
		return failed;
	}
	want(opened);
	*listener = opened;
	return 0;
}

void listener_on_broken(struct listener *listener, listener_broken_fn on_broken)
{
	listener->on_broken = on_broken;
}

void listener_pause(struct listener *listener, bool paused)
{
	listener->paused = paused;
	want(listener);
}

static void release(struct loop_task *task)
{
	free(CONTAINER_OF(task, struct listener, release));
}

static void unlink_ours(const struct listener *listener)
{
	struct stat there;
	if (listener->made.st_ino == 0 || lstat(listener->address.un.sun_path, &there) != 0)
		return;
	if (there.st_dev == listener->made.st_dev && there.st_ino == listener->made.st_ino)
		unlink(listener->address.un.sun_path);
}

void listener_close(struct listener **listener)
{
	struct listener *closing = *listener;
	if (closing == NULL)
		return;
	*listener = NULL;
	closing->closed = true;
	unlink_ours(closing);
	if (closing->io != NULL)
		loop_io_close(&closing->io);
	if (closing->rest != NULL)
		loop_timer_close(&closing->rest);
	socket_close(&closing->fd);
	socket_close(&closing->reserve);
	closing->release.run = release;
	loop_defer(closing->loop, &closing->release);
}
