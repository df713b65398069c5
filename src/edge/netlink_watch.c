#include "edge/netlink_watch.h"

#include "core/counter.h"
#include "core/log.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <stdbool.h>
#include <stdlib.h>

#define GROUPS (RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE)
// One change is several messages: a link comes up, gets addresses, and these their routes.
#define QUIET_MS 200
#define AT_LATEST_MS 1000
// Of one turn of the loop; the rest waits for the next.
#define READS 16
#define MESSAGE_BYTES 16384

struct netlink_watch {
	struct mnl_socket *socket;
	struct loop *loop;
	struct loop_io *io;
	struct loop_timer *timer;
	netlink_watch_fn on_change;
	void *owner;
	bool is_due;
	uint64_t first_ms, told_ms; // of the changes that the owner has not heard of; when it was told last
};

// A route that the kernel has only looked up and remembers is no news.
static int on_message(const struct nlmsghdr *message, void *owner)
{
	bool *is_news = owner;
	if (message->nlmsg_type == RTM_NEWROUTE || message->nlmsg_type == RTM_DELROUTE) {
		const struct rtmsg *route = mnl_nlmsg_get_payload(message);
		if (mnl_nlmsg_get_payload_len(message) < sizeof *route || (route->rtm_flags & RTM_F_CLONED))
			return MNL_CB_OK;
	}
	*is_news = true;
	return MNL_CB_OK;
}

static void on_due(void *owner)
{
	struct netlink_watch *watch = owner;
	watch->is_due = false;
	watch->told_ms = loop_now_ms(watch->loop);
	counter_add(COUNTER_NETWORK_CHANGES, 1);
	log_debug("netlink_watch", "the network of this host has changed");
	watch->on_change(watch->owner);
}

static void note(struct netlink_watch *watch)
{
	uint64_t now = loop_now_ms(watch->loop), at = now + QUIET_MS;
	if (!watch->is_due)
		watch->first_ms = now;
	watch->is_due = true;
	if (at > watch->first_ms + AT_LATEST_MS)
		at = watch->first_ms + AT_LATEST_MS;
	if (watch->told_ms && at < watch->told_ms + AT_LATEST_MS)
		at = watch->told_ms + AT_LATEST_MS;
	loop_timer_arm(watch->timer, at > now ? at - now : 0, 0);
}

static void on_io(void *owner, int events)
{
	struct netlink_watch *watch = owner;
	_Alignas(struct nlmsghdr) char buffer[MESSAGE_BYTES];
	bool is_news = false;
	(void)events;
	for (int i = 0; i < READS; i++) {
		ssize_t got = mnl_socket_recvfrom(watch->socket, buffer, sizeof buffer);
		if (got < 0 && errno == EAGAIN)
			break;
		// More has happened than the kernel could keep for us, or there was a message larger than ours: something has.
		if (got < 0)
			is_news = true;
		else if (mnl_cb_run(buffer, (size_t)got, 0, 0, on_message, &is_news) < 0)
			is_news = true;
	}
	if (is_news)
		note(watch);
}

static int open_socket(struct netlink_watch *watch)
{
	// Syscalls: socket, bind, getsockname, recvmsg
	watch->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
	return watch->socket && mnl_socket_bind(watch->socket, GROUPS, MNL_SOCKET_AUTOPID) == 0 ? 0 : -errno;
}

int netlink_watch_open(struct loop *loop, netlink_watch_fn on_change, void *owner, struct netlink_watch **out)
{
	struct netlink_watch *watch = calloc(1, sizeof *watch);
	if (!watch)
		return -ENOMEM;
	*watch = (struct netlink_watch){.loop = loop, .on_change = on_change, .owner = owner};
	int r = open_socket(watch);
	if (r == 0)
		r = loop_timer_open(loop, on_due, watch, &watch->timer);
	if (r == 0)
		r = loop_io_open(loop, mnl_socket_get_fd(watch->socket), on_io, watch, &watch->io);
	if (r < 0) {
		netlink_watch_close(&watch);
		return r;
	}
	loop_io_want(watch->io, LOOP_READ);
	*out = watch;
	return 0;
}

void netlink_watch_close(struct netlink_watch **slot)
{
	struct netlink_watch *watch = *slot;
	*slot = NULL;
	if (!watch)
		return;
	loop_io_close(&watch->io);
	loop_timer_close(&watch->timer);
	if (watch->socket)
		mnl_socket_close(watch->socket);
	free(watch);
}
