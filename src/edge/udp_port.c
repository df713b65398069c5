// Syscalls: poll; net/datagram names the others.

#include "edge/udp_port.h"

#include "core/log.h"
#include "limits.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#define REST_MS 100
#define WARN_EVERY_MS 10000

struct udp_port {
	struct loop *loop;
	struct loop_io *io;
	struct datagram_socket socket;
	struct loop_timer *rest;
	struct address address;
	udp_port_fn on_runs;
	udp_port_broken_fn on_broken; // NULL: only logged
	void *owner;
	bool closed;
	uint64_t warned_ms; // 0: never
	struct loop_task release;
};

static void on_rested(void *owner)
{
	struct udp_port *port = owner;
	loop_io_want(port->io, LOOP_READ);
}

// What does not pass: the descriptor is no socket (any more), or somebody else has shut it down.
static bool is_for_good(int problem)
{
	return problem == -EINVAL || problem == -EBADF || problem == -ENOTSOCK || problem == -EOPNOTSUPP ||
	       problem == -ESHUTDOWN;
}

// It would be readable for ever, and keep us busy.
static void fail(struct udp_port *port, int problem)
{
	char text[ADDRESS_TEXT_BYTES];
	uint64_t now = loop_now_ms(port->loop);
	address_format(&port->address, text);
	loop_io_want(port->io, 0);
	if (is_for_good(problem)) {
		log_error("udp_port", "udp %s: the socket is broken, nothing can be received any more: %s", text,
		          outcome_text(problem));
		if (port->on_broken)
			port->on_broken(port->owner);
		return;
	}
	if (port->warned_ms == 0 || now - port->warned_ms >= WARN_EVERY_MS) {
		log_error("udp_port", "udp %s: receiving failed, trying again: %s", text, outcome_text(problem));
		port->warned_ms = now;
	}
	loop_timer_arm(port->rest, REST_MS, 0);
}

static bool is_shut(int fd)
{
	struct pollfd look = {.fd = fd, .events = POLLRDHUP};
	return poll(&look, 1, 0) == 1 && (look.revents & (POLLRDHUP | POLLHUP)) != 0;
}

static void on_readable(void *owner, int events)
{
	struct udp_port *port = owner;
	(void)events;
	for (int i = 0; i < LIMIT_DATAGRAM_BATCHES_PER_TURN && !port->closed; i++) {
		const struct datagram_run *runs;
		size_t count;
		int r = datagram_recv(&port->socket, &runs, &count);
		// Readable, and nothing there: a datagram with a bad checksum is gone by now, an end stays.
		if (r == DATAGRAM_NONE && i == 0 && is_shut(port->socket.fd))
			r = -ESHUTDOWN;
		if (r == DATAGRAM_NONE)
			return;
		if (r < 0) {
			fail(port, r);
			return;
		}
		if (count > 0)
			port->on_runs(port->owner, runs, count);
	}
}

int udp_port_open(struct loop *loop, struct address *address, enum datagram_role role, udp_port_fn on_runs, void *owner,
                  struct udp_port **out)
{
	struct udp_port *port = calloc(1, sizeof *port);
	if (!port)
		return -ENOMEM;
	*port = (struct udp_port){.loop = loop, .socket = {.fd = -1}, .on_runs = on_runs, .owner = owner};
	int r = datagram_bind(address, role, &port->socket);
	if (r == 0)
		r = loop_timer_open(loop, on_rested, port, &port->rest);
	if (r == 0)
		r = loop_io_open(loop, port->socket.fd, on_readable, port, &port->io);
	if (r != 0) {
		loop_timer_close(&port->rest);
		datagram_close(&port->socket);
		free(port);
		return r;
	}
	port->address = *address;
	loop_io_want(port->io, LOOP_READ);
	*out = port;
	return 0;
}

void udp_port_on_broken(struct udp_port *port, udp_port_broken_fn on_broken)
{
	port->on_broken = on_broken;
}

size_t udp_port_send(struct udp_port *port, const struct datagram_to *to, const struct iovec *prefix,
                     const struct iovec *list, size_t count)
{
	return datagram_send(&port->socket, to, prefix, list, count, NULL);
}

static void release(struct loop_task *task)
{
	free(CONTAINER_OF(task, struct udp_port, release));
}

void udp_port_close(struct udp_port **slot)
{
	struct udp_port *port = *slot;
	*slot = NULL;
	if (!port)
		return;
	port->closed = true;
	loop_io_close(&port->io);
	loop_timer_close(&port->rest);
	datagram_close(&port->socket);
	port->release.run = release;
	loop_defer(port->loop, &port->release);
}
