// Changes of routes and devices, as the kernel tells them to everybody.

#include "edge/netlink_private.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>

#define NEWS_BYTES 32768

struct netlink_watch {
	struct mnl_socket *socket;
	struct loop_io *io;
	netlink_watch_fn on_change;
	void *owner;
};

static int on_news(const struct nlmsghdr *message, void *owner)
{
	struct netlink_watch *watch = owner;
	struct netlink_route route;
	if (message->nlmsg_type == RTM_NEWLINK || message->nlmsg_type == RTM_DELLINK)
		watch->on_change(watch->owner, NULL);
	if (message->nlmsg_type != RTM_NEWROUTE && message->nlmsg_type != RTM_DELROUTE)
		return MNL_CB_OK;
	if (netlink_read_route(message, &route) && !route.is_clone && route.table == RT_TABLE_MAIN)
		watch->on_change(watch->owner, &route.to);
	return MNL_CB_OK;
}

static void on_ready(void *owner, int events)
{
	struct netlink_watch *watch = owner;
	char news[NEWS_BYTES];
	(void)events;
	for (;;) {
		// Syscalls: recvmsg
		ssize_t got = mnl_socket_recvfrom(watch->socket, news, sizeof news);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && (errno == ENOBUFS || errno == ENOSPC)) { // more than the kernel could keep for us
			watch->on_change(watch->owner, NULL);
			continue;
		}
		if (got <= 0)
			return;
		(void)mnl_cb_run(news, (size_t)got, 0, 0, on_news, watch);
	}
}

int netlink_watch_open(struct loop *loop, netlink_watch_fn on_change, void *owner, struct netlink_watch **watch)
{
	struct netlink_watch *opened = calloc(1, sizeof *opened);
	if (!opened)
		return -ENOMEM;
	*opened = (struct netlink_watch){.on_change = on_change, .owner = owner};
	opened->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
	unsigned groups = RTMGRP_LINK | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE;
	int result = opened->socket && mnl_socket_bind(opened->socket, groups, MNL_SOCKET_AUTOPID) == 0 ? 0 : -errno;
	if (result == 0)
		result = loop_io_open(loop, mnl_socket_get_fd(opened->socket), on_ready, opened, &opened->io);
	if (result < 0) {
		netlink_watch_close(&opened);
		return result;
	}
	loop_io_want(opened->io, LOOP_READ);
	*watch = opened;
	return 0;
}

void netlink_watch_close(struct netlink_watch **watch)
{
	struct netlink_watch *closing = *watch;
	if (!closing)
		return;
	*watch = NULL;
	if (closing->io)
		loop_io_close(&closing->io);
	if (closing->socket)
		(void)mnl_socket_close(closing->socket);
	free(closing);
}
