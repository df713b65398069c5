#include "flow/associate.h"

#include "edge/socks.h"
#include "flow/flow_internal.h"
#include "flow/udp_relay.h"
#include "net/socket.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct associate {
	struct associates *associates;
	struct associate *newer, *older;
	struct udp_relay *relay;
	struct loop_io *io;
	struct loop_task release;
	struct address peer;
	int fd;
	bool charged;
};

struct associates {
	struct loop *loop;
	struct flows *flows;
	struct udp_flows *udp;
	struct associate *newest;
	_Atomic uint32_t open;
};

static void release(struct loop_task *task)
{
	free(CONTAINER_OF(task, struct associate, release));
}

static void end(struct associate *associate)
{
	struct associates *associates = associate->associates;
	*(associate->newer ? &associate->newer->older : &associates->newest) = associate->older;
	if (associate->older)
		associate->older->newer = associate->newer;
	atomic_fetch_sub_explicit(&associates->open, 1, memory_order_relaxed);
	udp_relay_close(&associate->relay);
	loop_io_close(&associate->io);
	socket_close(&associate->fd);
	if (associate->charged)
		flows_discharge(associates->flows, &associate->peer);
	loop_defer(associates->loop, &associate->release);
}

// The end of the connection is all there is to hear on it; whatever else comes is no part of the protocol.
static void on_control(void *owner, int events)
{
	(void)events;
	struct associate *associate = owner;
	char ignored[1024];
	ssize_t n = recv(associate->fd, ignored, sizeof ignored, MSG_DONTWAIT);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		end(associate);
}

// An IPv4 address in IPv6 clothes is what a listener on "::" shows; the client knows it as IPv4.
static void undress(struct address *address)
{
	if (address->any.sa_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&address->in6.sin6_addr))
		return;
	struct address plain = {.length = sizeof plain.in4};
	plain.in4.sin_family = AF_INET;
	plain.in4.sin_port = address->in6.sin6_port;
	memcpy(&plain.in4.sin_addr, address->in6.sin6_addr.s6_addr + 12, 4);
	*address = plain;
}

static int open_relay(struct associates *associates, const struct associate_request *request, struct address *bound,
                      struct udp_relay **relay)
{
	struct address local = {.length = sizeof local.storage}, client = *request->peer;
	if (getsockname(*request->fd, &local.any, &local.length) != 0)
		return -errno;
	undress(&local);
	undress(&client);
	struct udp_relay_settings settings = {.local = &local,
	                                      .client = &client,
	                                      .client_port = request->client_port,
	                                      .routes = request->routes};
	return udp_relay_open(associates->udp, &settings, bound, relay);
}

static int tell(int fd, const struct address *bound)
{
	uint8_t answer[SOCKS_REPLY_BYTES];
	size_t length = socks_reply_encode(SOCKS_REPLY_OK, &bound->any, answer);
	return send(fd, answer, length, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)length ? 0 : -EPIPE;
}

int associate_begin(struct associates *associates, const struct associate_request *request)
{
	struct address bound;
	// Hostile: each holds two descriptors for as long as its client likes.
	if (associates_open(associates) >= LIMIT_ASSOCIATES_PER_WORKER)
		return ASSOCIATE_FULL;
	struct associate *associate = calloc(1, sizeof *associate);
	if (!associate)
		return -ENOMEM;
	int r = open_relay(associates, request, &bound, &associate->relay);
	if (r == 0)
		r = loop_io_open(associates->loop, *request->fd, on_control, associate, &associate->io);
	if (r == 0)
		r = tell(*request->fd, &bound);
	if (r < 0) {
		loop_io_close(&associate->io);
		udp_relay_close(&associate->relay);
		free(associate);
		return r;
	}
	// A client that is gone without a word must not hold its relay for ever: nothing is sent here that would tell.
	const struct flows_settings *settings = &associates->flows->settings;
	socket_tune(*request->fd,
	            &(struct socket_options){.congestion = settings->congestion, .keepalive_ms = settings->keepalive_ms});
	associate->associates = associates;
	associate->release.run = release;
	associate->peer = *request->peer;
	associate->charged = request->charged;
	associate->fd = *request->fd;
	*request->fd = -1;
	associate->older = associates->newest;
	if (associates->newest)
		associates->newest->newer = associate;
	associates->newest = associate;
	atomic_fetch_add_explicit(&associates->open, 1, memory_order_relaxed);
	loop_io_want(associate->io, LOOP_READ);
	return 0;
}

int associates_new(struct loop *loop, struct flows *flows, struct udp_flows *udp, struct associates **out)
{
	struct associates *associates = calloc(1, sizeof *associates);
	if (!associates)
		return -ENOMEM;
	associates->loop = loop;
	associates->flows = flows;
	associates->udp = udp;
	*out = associates;
	return 0;
}

void associates_set(struct associates *associates, struct route_table *routes)
{
	for (struct associate *associate = associates->newest; associate; associate = associate->older)
		udp_relay_set(associate->relay, routes);
}

void associates_free(struct associates **slot)
{
	struct associates *associates = *slot;
	*slot = NULL;
	if (!associates)
		return;
	while (associates->newest)
		end(associates->newest);
	free(associates);
}

uint32_t associates_open(const struct associates *associates)
{
	return atomic_load_explicit(&associates->open, memory_order_relaxed);
}
