#include "edge/udp_port.h"

#include "core/log.h"
#include "limits.h"

#include <errno.h>
#include <stdlib.h>

struct udp_port {
	struct loop *loop;
	struct loop_io *io;
	struct datagram_socket socket;
	udp_port_fn on_runs;
	void *owner;
	bool closed;
	struct loop_task release;
};

static void on_readable(void *owner, int events)
{
	struct udp_port *port = owner;
	(void)events;
	for (int i = 0; i < LIMIT_DATAGRAM_BATCHES_PER_TURN && !port->closed; i++) {
		const struct datagram_run *runs;
		size_t count;
		int r = datagram_recv(&port->socket, &runs, &count);
		if (r == DATAGRAM_NONE)
			return;
		if (r < 0) {
			// It would be readable for ever.
			log_error("udp_port", "a UDP port is not read any more: %s", outcome_text(r));
			loop_io_want(port->io, 0);
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
		r = loop_io_open(loop, port->socket.fd, on_readable, port, &port->io);
	if (r != 0) {
		datagram_close(&port->socket);
		free(port);
		return r;
	}
	loop_io_want(port->io, LOOP_READ);
	*out = port;
	return 0;
}

size_t udp_port_send(struct udp_port *port, const struct address *to, const struct iovec *prefix,
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
	datagram_close(&port->socket);
	port->release.run = release;
	loop_defer(port->loop, &port->release);
}
