// How associations live: made, swept, ended, closed.
//
// Allowed in each phase: the stream exists from ASKING (source) or RESOLVING (dest) until the end, except in REFUSED.
// Outward frames go in ASKING and OPEN, inward ones come in OPEN and ENDING.

#include "flow/udp_flow.h"

#include "core/block.h"
#include "core/log.h"
#include "flow/udp_flow_internal.h"
#include "policy/bucket.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- what workers share --------------------------------------------------------------------------------------------

int udp_shares_new(uint64_t seed, struct udp_shares **out)
{
	struct udp_shares *shares = calloc(1, sizeof *shares);
	if (!shares)
		return -ENOMEM;
	shares->seed = seed;
	shares->fresh = calloc(1, sizeof *shares->fresh);
	int r = shares->fresh ? quota_new(LIMIT_QUOTA_KEYS, seed, &shares->clients) : -ENOMEM;
	if (r < 0) {
		udp_shares_free(&shares);
		return r;
	}
	bucket_init(shares->fresh, LIMIT_UDP_NEW_PER_S, LIMIT_UDP_NEW_AT_ONCE);
	*out = shares;
	return 0;
}

void udp_shares_free(struct udp_shares **slot)
{
	struct udp_shares *shares = *slot;
	*slot = NULL;
	if (!shares)
		return;
	quota_free(&shares->clients);
	free(shares->fresh);
	free(shares);
}

uint32_t udp_shares_open(const struct udp_shares *shares)
{
	return atomic_load_explicit(&shares->open, memory_order_relaxed);
}

// ---- one association -----------------------------------------------------------------------------------------------

static void release(struct loop_task *task)
{
	free(CONTAINER_OF(task, struct udp_flow, release));
}

struct udp_flow *udp_flow_make(struct udp_flows *flows)
{
	struct udp_shares *shares = flows->settings.shares;
	if (atomic_fetch_add(&shares->open, 1) >= flows->settings.associations_max) {
		atomic_fetch_sub(&shares->open, 1);
		counter_add(COUNTER_ASSOCIATION_LIMIT, 1);
		return NULL;
	}
	struct udp_flow *flow = calloc(1, sizeof *flow);
	if (!flow) {
		atomic_fetch_sub(&shares->open, 1);
		counter_add(COUNTER_ASSOCIATION_LIMIT, 1);
		return NULL;
	}
	flow->flows = flows;
	flow->target.fd = -1;
	flow->release.run = release;
	flow->resume.run = udp_flow_resume;
	flow->moved_ms = loop_now_ms(flows->settings.loop);
	flow->older = flows->newest;
	if (flows->newest)
		flows->newest->newer = flow;
	flows->newest = flow;
	atomic_fetch_add_explicit(&flows->open, 1, memory_order_relaxed);
	return flow;
}

void udp_flow_hide(struct udp_flow *flow)
{
	if (flow->place)
		*flow->place = NULL;
	else if (flow->door)
		udp_door_forget(flow);
	flow->place = NULL;
	flow->door = NULL;
}

static void unlist(struct udp_flow *flow)
{
	if (flow->newer)
		flow->newer->older = flow->older;
	else
		flow->flows->newest = flow->older;
	if (flow->older)
		flow->older->newer = flow->newer;
	if (flow->listed_at)
		*flow->listed_at = flow->listed_next;
	if (flow->listed_next)
		flow->listed_next->listed_at = flow->listed_at;
}

void udp_flow_list(struct udp_flow *flow, struct udp_port *port, struct udp_flow **list)
{
	flow->port = port;
	flow->listed_next = *list;
	flow->listed_at = list;
	if (*list)
		(*list)->listed_at = &flow->listed_next;
	*list = flow;
}

void udp_flow_close_listed(struct udp_flow **list)
{
	while (*list)
		udp_flow_close(*list);
}

void udp_flow_close(struct udp_flow *flow)
{
	struct udp_flows *flows = flow->flows;
	if (flow->closed)
		return;
	flow->closed = true;
	unlist(flow);
	udp_flow_hide(flow);
	atomic_fetch_sub_explicit(&flows->open, 1, memory_order_relaxed);
	atomic_fetch_sub(&flows->settings.shares->open, 1);
	if (flow->charged)
		quota_leave(flows->settings.pool ? flows->settings.shares->clients : flows->settings.peers, &flow->charge);
	udp_flow_drop(flow, flow->phase == UDP_REFUSED ? COUNTER_DATAGRAM_REFUSED : COUNTER_DATAGRAM_BROKEN,
	              flow->waiting_count);
	stream_close(&flow->stream);
	udp_target_close(flow);
	block_give(&flow->waiting);
	block_give(&flow->partial);
	free(flow->prefix.iov_base);
	loop_defer(flows->settings.loop, &flow->release);
}

void udp_flow_end(struct udp_flow *flow)
{
	if (flow->phase != UDP_OPEN || flow->waiting || !stream_has_room(flow->stream) ||
	    stream_finish(flow->stream) != 0) {
		udp_flow_close(flow);
		return;
	}
	udp_flow_hide(flow);
	flow->phase = UDP_ENDING;
	flow->until_ms = loop_now_ms(flow->flows->settings.loop) + LIMIT_UDP_ENDING_MS;
	if (flow->io)
		loop_io_want(flow->io, 0);
}

bool udp_flow_may_log(struct udp_flows *flows)
{
	return brake_passes(&flows->refusals, loop_now_ms(flows->settings.loop));
}

const char *udp_flow_wanted(const struct header *header, char text[LIMIT_SERVICE_NAME_BYTES + 16])
{
	if (header->service[0])
		snprintf(text, LIMIT_SERVICE_NAME_BYTES + 16, "service %s", header->service);
	else
		snprintf(text, LIMIT_SERVICE_NAME_BYTES + 16, "service on port %u", header->port);
	return text;
}

// ---- time ----------------------------------------------------------------------------------------------------------

static void look_at(struct udp_flow *flow, uint64_t now)
{
	char service[LIMIT_SERVICE_NAME_BYTES + 16];
	struct udp_flows *flows = flow->flows;
	switch (flow->phase) {
	case UDP_FRESH:
		break;
	case UDP_ASKING:
	case UDP_RESOLVING:
		if (now < flow->until_ms)
			break;
		counter_add(flow->phase == UDP_ASKING ? COUNTER_ASSOCIATION_REFUSED : COUNTER_ASSOCIATION_NO_TARGET, 1);
		if (udp_flow_may_log(flows))
			log_warn("udp_flow", "%s refused: %s", udp_flow_wanted(&flow->header, service),
			         flow->phase == UDP_ASKING ? "dest did not answer in time"
			                                   : "the target's name was not resolved in time");
		udp_flow_close(flow);
		break;
	case UDP_ENDING:
	case UDP_REFUSED:
		if (now >= flow->until_ms)
			udp_flow_close(flow);
		break;
	case UDP_OPEN:
		if (now - flow->moved_ms < flows->settings.idle_ms)
			break;
		counter_add(COUNTER_ASSOCIATION_IDLE, 1);
		udp_flow_end(flow);
		break;
	}
}

static void on_sweep(void *owner)
{
	struct udp_flows *flows = owner;
	uint64_t now = loop_now_ms(flows->settings.loop);
	for (struct udp_flow *flow = flows->newest, *older; flow; flow = older) {
		older = flow->older;
		look_at(flow, now);
	}
	uint64_t held = brake_sum(&flows->refusals, now);
	if (held > 0)
		log_warn("udp_flow", "%llu more associations were refused or broke in a second", (unsigned long long)held);
}

// A quarter of the idle time is how late an idle association may be noticed, half a second at most.
static void arm(struct udp_flows *flows)
{
	uint32_t every_ms = flows->settings.idle_ms / 4;
	every_ms = every_ms < 20 ? 20 : every_ms > 500 ? 500 : every_ms;
	loop_timer_arm(flows->sweep, every_ms, every_ms);
}

// ---- all of a worker -----------------------------------------------------------------------------------------------

void udp_flows_set(struct udp_flows *flows, const struct udp_flows_settings *settings)
{
	struct udp_flows_settings old = flows->settings;
	flows->settings = *settings;
	flows->settings.loop = old.loop;
	flows->settings.pool = old.pool;
	flows->settings.shares = old.shares;
	flows->settings.peers = old.peers;
	if (settings->services)
		flows->settings.services = service_table_ref(settings->services);
	service_table_unref(&old.services);
	arm(flows);
}

int udp_flows_new(const struct udp_flows_settings *settings, struct udp_flows **out)
{
	struct udp_flows *flows = calloc(1, sizeof *flows);
	if (!flows)
		return -ENOMEM;
	flows->refusals.per_second = LIMIT_REFUSAL_LINES_PER_S;
	flows->settings = *settings;
	flows->settings.services = NULL;
	flows->seed = settings->shares->seed;
	flows->unit = malloc(LIMIT_UNIT_BYTES);
	flows->inward = malloc(2 * (size_t)LIMIT_UNIT_BYTES);
	int r = flows->unit && flows->inward ? loop_timer_open(settings->loop, on_sweep, flows, &flows->sweep) : -ENOMEM;
	if (r < 0) {
		udp_flows_free(&flows);
		return r;
	}
	udp_flows_set(flows, settings);
	*out = flows;
	return 0;
}

void udp_flows_free(struct udp_flows **slot)
{
	struct udp_flows *flows = *slot;
	*slot = NULL;
	if (!flows)
		return;
	while (flows->newest)
		udp_flow_close(flows->newest);
	if (flows->sweep)
		loop_timer_close(&flows->sweep);
	service_table_unref(&flows->settings.services);
	free(flows->chains);
	free(flows->unit);
	free(flows->inward);
	free(flows);
}

uint32_t udp_flows_open(const struct udp_flows *flows)
{
	return atomic_load_explicit(&flows->open, memory_order_relaxed);
}

void udp_flows_drain(struct udp_flows *flows)
{
	flows->draining = true;
}
