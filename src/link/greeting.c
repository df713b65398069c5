#include "link/greeting.h"

#include "core/counter.h"
#include "crypto/digest.h"
#include "net/socket.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HEAR_BYTES TTUN_SPEAK_BYTES

struct greeting {
	struct loop *loop;
	struct loop_io *io;
	struct loop_timer *deadline;
	struct ttun *ttun;
	int fd;
	struct address peer;
	greeting_fn on_done;
	void *owner;
	uint8_t heard[HEAR_BYTES];
	size_t heard_length;
	struct loop_task release;
};

static void release(struct loop_task *task)
{
	free(CONTAINER_OF(task, struct greeting, release));
}

static void stop(struct greeting *greeting)
{
	if (greeting->io)
		loop_io_close(&greeting->io);
	if (greeting->deadline)
		loop_timer_close(&greeting->deadline);
	socket_close(&greeting->fd);
	ttun_free(&greeting->ttun);
	greeting->release.run = release;
	loop_defer(greeting->loop, &greeting->release);
}

static void fail(struct greeting *greeting, enum counter counter, const char *problem)
{
	struct greeting_result result = {.fd = -1, .peer = greeting->peer, .problem = problem};
	counter_add(counter, 1);
	stop(greeting);
	greeting->on_done(greeting->owner, greeting, &result);
}

static void succeed(struct greeting *greeting)
{
	struct greeting_result result = {.fd = greeting->fd, .ttun = greeting->ttun, .peer = greeting->peer};
	counter_add(COUNTER_GREETING_OK, 1);
	loop_io_close(&greeting->io);
	greeting->fd = -1;
	greeting->ttun = NULL;
	stop(greeting);
	greeting->on_done(greeting->owner, greeting, &result);
}

static void on_deadline(void *owner)
{
	fail(owner, COUNTER_GREETING_TIMEOUT, "no handshake in time");
}

// A fresh socket takes the few bytes of a handshake at once; one that does not is not worth waiting for.
static bool speak(struct greeting *greeting)
{
	uint8_t bytes[TTUN_SPEAK_BYTES];
	size_t length = ttun_speak(greeting->ttun, bytes);
	return length == 0 || send(greeting->fd, bytes, length, MSG_NOSIGNAL) == (ssize_t)length;
}

// Reads what the next message has and not a byte more: what follows it is the session's.
static int hear(struct greeting *greeting)
{
	size_t wanted = ttun_wants(greeting->ttun) - greeting->heard_length, used = 0;
	ssize_t got = recv(greeting->fd, greeting->heard + greeting->heard_length, wanted, 0);
	if (got < 0)
		return errno == EAGAIN || errno == EINTR ? TTUN_MORE : -errno;
	if (got == 0)
		return -ECONNRESET;
	greeting->heard_length += (size_t)got;
	int result = ttun_hear(greeting->ttun, greeting->heard, greeting->heard_length, &used);
	if (result == 0)
		greeting->heard_length = 0;
	return result;
}

static void on_ready(void *owner, int events)
{
	struct greeting *greeting = owner;
	(void)events;
	for (;;) {
		int result = hear(greeting);
		if (result == TTUN_MORE)
			return;
		if (result == TTUN_REFUSED) {
			fail(greeting, COUNTER_GREETING_REFUSED,
			     ttun_is_hybrid(greeting->ttun) ? "another key, or a peer without --pq: refused, there is no lesser way"
			                                    : "another key or another cipher, or not this protocol");
			return;
		}
		if (result == TTUN_REPEATED) {
			fail(greeting, COUNTER_GREETING_REPEATED, "a hello that was here before, or one of too many: not answered");
			return;
		}
		if (result < 0 || !speak(greeting)) {
			// A ttun server closes without a word when the key is not its own.
			fail(greeting, COUNTER_GREETING_CLOSED,
			     "the peer closed the connection during the handshake, as it does when "
			     "the key or the cipher is not its own");
			return;
		}
		if (ttun_is_up(greeting->ttun)) {
			succeed(greeting);
			return;
		}
	}
}

int greeting_start(const struct greeting_settings *settings, int *fd, const struct address *peer, greeting_fn on_done,
                   void *owner, struct greeting **greeting)
{
	uint8_t nonce[TTUN_NONCE_BYTES];
	struct greeting *made = calloc(1, sizeof *made);
	if (!made)
		return -ENOMEM;
	*made = (struct greeting){.loop = settings->loop, .fd = -1, .peer = *peer, .on_done = on_done, .owner = owner};
	random_bytes(nonce, sizeof nonce);
	int result = ttun_new(settings->role, settings->cipher, settings->key, nonce, &made->ttun);
	if (result == 0 && settings->is_hybrid)
		ttun_use_hybrid(made->ttun);
	if (result == 0)
		ttun_set_judge(made->ttun, settings->judge, settings->judge_owner);
	if (result == 0)
		result = loop_timer_open(settings->loop, on_deadline, made, &made->deadline);
	if (result == 0)
		result = loop_io_open(settings->loop, *fd, on_ready, made, &made->io);
	if (result < 0) {
		stop(made);
		return result;
	}
	made->fd = *fd;
	*fd = -1;
	loop_timer_arm(made->deadline, settings->timeout_ms, 0);
	loop_io_want(made->io, LOOP_READ);
	(void)speak(made); // a socket that fails is told to be readable
	*greeting = made;
	return 0;
}

void greeting_cancel(struct greeting **greeting)
{
	if (!*greeting)
		return;
	stop(*greeting);
	*greeting = NULL;
}
