// Peers with a limit: what their lanes move is paid for, and a lane that was faster than its peer may be rests. Outward
// what waits in it stays there (when that is full it is dropped, as of any queue); inward it is not read, which its
// peer feels as back-pressure.

#include "flow/lanes_internal.h"

#include "core/clock.h"

// Lanes that rest are looked at so often: their peer may have another limit by now.
#define LOOK_US 1000000

static uint64_t now_us(void)
{
	return clock_ns() / 1000;
}

static void arm(struct lanes_worker *worker, uint64_t until_us, uint64_t now)
{
	if (until_us > now + LOOK_US)
		until_us = now + LOOK_US;
	if (worker->rested_us != 0 && worker->rested_us <= until_us)
		return;
	worker->rested_us = until_us;
	loop_timer_arm(worker->pace, (until_us > now ? until_us - now : 0) / 1000 + 1, 0);
}

// 0: it goes on.
static uint64_t pay(struct lane *lane, struct rate *rate, size_t bytes)
{
	uint64_t now = now_us(), us = rate_pay(rate, bytes, now);
	if (us == 0)
		return 0;
	arm(lane->worker, now + us, now);
	return now + us;
}

void lanes_pace_sent(struct lane *lane, size_t bytes)
{
	lane->outward_until_us = pay(lane, &lane->peer->outward, bytes);
}

void lanes_pace_received(struct lane *lane, size_t bytes)
{
	lane->inward_until_us = pay(lane, &lane->peer->inward, bytes);
	if (lane->inward_until_us != 0)
		stream_want_read(lane->stream, false);
}

void lanes_pace_begin(struct lane *lane)
{
	lanes_pace_sent(lane, 0);
	lanes_pace_received(lane, 0);
}

// Until when a lane that rests goes on resting: no longer than its peer owes. 0: it has rested.
static uint64_t rest_of(struct rate *rate, uint64_t until_us, uint64_t now)
{
	uint64_t owed_until_us = until_us > now ? now + rate_pay(rate, 0, now) : now;
	until_us = owed_until_us < until_us ? owed_until_us : until_us;
	return until_us > now ? until_us : 0;
}

static void wake(struct lane *lane, uint64_t now)
{
	bool rests_outward = lane->outward_until_us != 0, rests_inward = lane->inward_until_us != 0;
	lane->outward_until_us = rest_of(&lane->peer->outward, lane->outward_until_us, now);
	lane->inward_until_us = rest_of(&lane->peer->inward, lane->inward_until_us, now);
	bool sends = rests_outward && lane->outward_until_us == 0, reads = rests_inward && lane->inward_until_us == 0;
	if (reads)
		stream_want_read(lane->stream, true);
	// What was left in the connection comes without another event.
	if (sends || reads)
		lane_ops.on_ready(lane, LOOP_READ | LOOP_WRITE);
}

static uint64_t earliest(const struct lanes_worker *worker)
{
	uint64_t first = UINT64_MAX;
	for (const struct lane *lane = worker->all; lane; lane = lane->next) {
		if (lane->outward_until_us != 0 && lane->outward_until_us < first)
			first = lane->outward_until_us;
		if (lane->inward_until_us != 0 && lane->inward_until_us < first)
			first = lane->inward_until_us;
	}
	return first;
}

static void on_rested(void *owner)
{
	struct lanes_worker *worker = owner;
	uint64_t now = now_us();
	worker->rested_us = 0;
	for (struct lane *lane = worker->all, *next; lane; lane = next) {
		next = lane->next; // a lane ends nobody but itself
		wake(lane, now);
	}
	uint64_t first = earliest(worker);
	if (first != UINT64_MAX)
		arm(worker, first, now);
}

int lanes_pace_open(struct lanes_worker *worker)
{
	return loop_timer_open(worker->loop, on_rested, worker, &worker->pace);
}

void lanes_pace_close(struct lanes_worker *worker)
{
	loop_timer_close(&worker->pace);
	worker->rested_us = 0;
}

void lanes_peer_set_limit(struct lanes_peer *peer, uint64_t bytes_per_second)
{
	rate_set(&peer->outward, bytes_per_second);
	rate_set(&peer->inward, bytes_per_second);
	atomic_store_explicit(&peer->is_limited, bytes_per_second != 0, memory_order_relaxed);
}
