#include "link/leftovers.h"

#include "core/clock.h"
#include "core/counter.h"
#include "core/log.h"

#include <stdio.h>
#include <stdlib.h>

// Kept at least so long: a worker may be about to count a stream of it.
#define SETTLE_MS 1000

bool leftovers_add(struct leftovers *all, struct link *link, const char *name, uint64_t now_ms, uint64_t patience_ms)
{
	struct leftover *one = calloc(1, sizeof *one);
	if (!one)
		return false;
	snprintf(one->name, sizeof one->name, "%s", name);
	one->link = link_ref(link);
	one->since_ms = now_ms;
	one->due_ms = now_ms + patience_ms;
	one->next = all->first;
	all->first = one;
	return true;
}

static bool has_streams(const struct leftover *one)
{
	struct link_state state;
	link_read(one->link, &state);
	return state.streams_open > 0;
}

static bool may_go_on(const struct leftover *one, uint64_t now_ms, const struct leftovers_ops *ops, void *owner,
                      char text[TLS_EXPLANATION_BYTES])
{
	if (clock_wall_s() > link_peer(one->link)->certificate.not_after) {
		snprintf(text, TLS_EXPLANATION_BYTES, "the peer's certificate has expired");
		return false;
	}
	if (now_ms >= one->due_ms) {
		snprintf(text, TLS_EXPLANATION_BYTES, "nobody renews their keys");
		return false;
	}
	return !ops->judge || ops->judge(owner, one, text);
}

static void forget(struct leftover **at)
{
	struct leftover *one = *at;
	*at = one->next;
	link_unref(&one->link);
	free(one);
}

void leftovers_sift(struct leftovers *all, uint64_t now_ms, const struct leftovers_ops *ops, void *owner)
{
	char text[TLS_EXPLANATION_BYTES];
	struct leftover **at = &all->first;
	while (*at) {
		struct leftover *one = *at;
		bool is_used = has_streams(one);
		if (!is_used && now_ms - one->since_ms >= SETTLE_MS) {
			forget(at);
			continue;
		}
		if (may_go_on(one, now_ms, ops, owner, text)) {
			at = &one->next;
			continue;
		}
		// Without streams there is nothing to tell people, but one may be about to be counted.
		if (is_used) {
			log_warn("leftovers", "streams that outlived link %s are cut: %s", link_name(one->link), text);
			counter_add(COUNTER_LINKS_REJUDGED, ops->judge ? 1 : 0);
		}
		link_set_cut(one->link, text);
		ops->cut(owner, one->link);
		forget(at);
	}
}

void leftovers_drop(struct leftovers *all)
{
	while (all->first)
		forget(&all->first);
}
