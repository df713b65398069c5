// Source: flows that wait for a link, or for fewer dials to be under way. First come, first served.
//
// Dials are bounded because dest keeps only so many strangers per worker (LIMIT_PENDING_PER_WORKER) and drops the
// oldest when there are more: a burst of local connections must not make source's own handshakes push each other out.

#include "flow/flow_internal.h"

#include "core/counter.h"

#include <poll.h>
#include <sys/socket.h>

static bool may_ask(const struct flows *flows)
{
	unsigned dials_max = flows->settings.dials_max ? flows->settings.dials_max : LIMIT_DIALS;
	return !flows->stopping && flows->dialling < dials_max && pool_is_ready(flows->settings.pool);
}

void flow_wait(struct flow *flow)
{
	struct flows *flows = flow->flows;
	flow->phase = FLOW_WAITING;
	flow->waits_behind = flows->last_waiting;
	if (flows->last_waiting)
		flows->last_waiting->waits_before = flow;
	else
		flows->first_waiting = flow;
	flows->last_waiting = flow;
	flows->waiting++;
}

void flow_wait_end(struct flow *flow)
{
	struct flows *flows = flow->flows;
	if (flow->phase != FLOW_WAITING)
		return;
	if (flow->waits_behind)
		flow->waits_behind->waits_before = flow->waits_before;
	else
		flows->first_waiting = flow->waits_before;
	if (flow->waits_before)
		flow->waits_before->waits_behind = flow->waits_behind;
	else
		flows->last_waiting = flow->waits_behind;
	flow->waits_before = flow->waits_behind = NULL;
	flows->waiting--;
}

void flow_dial_begins(struct flow *flow)
{
	flow->dialling = true;
	flow->flows->dialling++;
}

void flow_dial_ends(struct flow *flow)
{
	if (!flow->dialling)
		return;
	flow->dialling = false;
	flow->flows->dialling--;
	flow_wait_serve(flow->flows);
}

void flow_wait_serve(struct flows *flows)
{
	// What asking leads to may end dials and come back here: one loop is enough.
	if (flows->serving)
		return;
	flows->serving = true;
	while (flows->first_waiting && may_ask(flows))
		flow_ask(flows->first_waiting);
	flows->serving = false;
}

void flow_rest(struct flow *flow)
{
	flow->phase = FLOW_RESTING;
	flow->flows->resting++;
}

void flow_rest_end(struct flow *flow)
{
	if (flow->phase == FLOW_RESTING)
		flow->flows->resting--;
}

void flow_wait_wake(struct flows *flows)
{
	for (struct flow *flow = flows->resting ? flows->newest : NULL; flow; flow = flow->older) {
		if (flow->phase != FLOW_RESTING)
			continue;
		flow_rest_end(flow);
		flow_wait(flow);
	}
	flow_wait_serve(flows);
}

void flows_link_is_up(struct flows *flows)
{
	flow_wait_wake(flows);
}

void flows_drain(struct flows *flows)
{
	flows->serving = true; // nobody is asked for any more
	flow_wait_wake(flows);
	flows->serving = false;
	while (flows->first_waiting)
		flow_refuse(flows->first_waiting, COUNTER_FLOW_REFUSED_NO_LINK, REPLY_NO_LINK, "source stops");
}

// A waiting flow's socket is not in the loop: what the client has said stays in it until the stream takes it, and would
// keep the loop awake. So it is looked at from time to time: a reset, or an end of a client that has said nothing.
static bool has_gone(const struct flow *flow)
{
	struct pollfd look = {.fd = flow->joint.fd, .events = POLLRDHUP};
	char first;
	if (poll(&look, 1, 0) != 1)
		return false;
	return (look.revents & (POLLERR | POLLHUP)) ||
	       (flow->first_length == 0 && recv(flow->joint.fd, &first, 1, MSG_PEEK | MSG_DONTWAIT) == 0);
}

void flow_look_at_waiting(struct flows *flows)
{
	struct flow *flow = flows->first_waiting;
	while (flow) {
		struct flow *next = flow->waits_before;
		if (has_gone(flow)) {
			counter_add(COUNTER_FLOW_RESET_LOCAL, 1);
			flow_close(flow);
		}
		flow = next;
	}
}
