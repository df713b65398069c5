// What the kernel tells everybody of the network's changes.

#include "edge/netlink_private.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>

#define GROUPS (RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE)
#define NEWS_BYTES 32768
// Of one turn of the loop; the rest waits for the next.
#define READS 16

struct netlink_news {
	struct mnl_socket *socket;
	struct loop_io *io;
	netlink_news_fn on_news;
	void *owner;
};

static void tell_route(struct netlink_news *news, const struct nlmsghdr *message)
{
	struct netlink_route route;
	if (!netlink_read_route(message, &route) || route.is_clone)
		return; // the kernel has only looked one up and remembers it
	news->on_news(news->owner, NETLINK_NEWS_ROUTE, route.table == RT_TABLE_MAIN ? &route.to : NULL);
}

static int on_message(const struct nlmsghdr *message, void *owner)
{
	struct netlink_news *news = owner;
	switch (message->nlmsg_type) {
	case RTM_NEWLINK:
	case RTM_DELLINK:
		news->on_news(news->owner, NETLINK_NEWS_LINK, NULL);
		break;
	case RTM_NEWADDR:
	case RTM_DELADDR:
		news->on_news(news->owner, NETLINK_NEWS_ADDRESS, NULL);
		break;
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
		tell_route(news, message);
		break;
	default:
		break;
	}
	return MNL_CB_OK;
}

static void on_ready(void *owner, int events)
{
	struct netlink_news *news = owner;
	_Alignas(struct nlmsghdr) char buffer[NEWS_BYTES];
	(void)events;
	for (int i = 0; i < READS; i++) {
		// Syscalls: recvmsg
		ssize_t got = mnl_socket_recvfrom(news->socket, buffer, sizeof buffer);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && errno == EAGAIN)
			return;
		// More has happened than the kernel could keep for us, or there was a message larger than ours.
		if (got < 0 || mnl_cb_run(buffer, (size_t)got, 0, 0, on_message, news) < 0)
			news->on_news(news->owner, NETLINK_NEWS_LOST, NULL);
	}
}

int netlink_news_open(struct loop *loop, netlink_news_fn on_news, void *owner, struct netlink_news **news)
{
	struct netlink_news *opened = calloc(1, sizeof *opened);
	if (!opened)
		return -ENOMEM;
	*opened = (struct netlink_news){.on_news = on_news, .owner = owner};
	// Syscalls: socket, bind, getsockname
	opened->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
	int r = opened->socket && mnl_socket_bind(opened->socket, GROUPS, MNL_SOCKET_AUTOPID) == 0 ? 0 : -errno;
	if (r == 0)
		r = loop_io_open(loop, mnl_socket_get_fd(opened->socket), on_ready, opened, &opened->io);
	if (r < 0) {
		netlink_news_close(&opened);
		return r;
	}
	loop_io_want(opened->io, LOOP_READ);
	*news = opened;
	return 0;
}

void netlink_news_close(struct netlink_news **news)
{
	struct netlink_news *closing = *news;
	if (!closing)
		return;
	*news = NULL;
	if (closing->io)
		loop_io_close(&closing->io);
	if (closing->socket)
		(void)mnl_socket_close(closing->socket);
	free(closing);
}
