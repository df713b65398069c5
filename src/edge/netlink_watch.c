#include "edge/netlink_watch.h"

#include "core/counter.h"
#include "core/log.h"
#include "edge/netlink.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

// One change is several messages: a link comes up, gets addresses, and these their routes.
#define QUIET_MS 200
#define AT_LATEST_MS 1000

struct netlink_watch {
	struct netlink_news *news;
	struct loop *loop;
	struct loop_timer *timer;
	netlink_watch_fn on_change;
	void *owner;
	bool is_due;
	uint64_t first_ms, told_ms; // of the changes that the owner has not heard of; when it was told last
};

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

static void on_news(void *owner, enum netlink_news_kind kind, const struct netlink_address *to)
{
	(void)kind;
	(void)to;
	note(owner);
}

int netlink_watch_open(struct loop *loop, netlink_watch_fn on_change, void *owner, struct netlink_watch **out)
{
	struct netlink_watch *watch = calloc(1, sizeof *watch);
	if (!watch)
		return -ENOMEM;
	*watch = (struct netlink_watch){.loop = loop, .on_change = on_change, .owner = owner};
	int r = loop_timer_open(loop, on_due, watch, &watch->timer);
	if (r == 0)
		r = netlink_news_open(loop, on_news, watch, &watch->news);
	if (r < 0) {
		netlink_watch_close(&watch);
		return r;
	}
	*out = watch;
	return 0;
}

void netlink_watch_close(struct netlink_watch **slot)
{
	struct netlink_watch *watch = *slot;
	*slot = NULL;
	if (!watch)
		return;
	netlink_news_close(&watch->news);
	loop_timer_close(&watch->timer);
	free(watch);
}
