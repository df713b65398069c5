// Flows with an account: what they move is counted, and a flow that was faster than its account may be rests.

#include "core/clock.h"
#include "flow/flow_internal.h"

#include <stdio.h>

static void on_rested(void *owner)
{
	struct flow *flow = owner;
	flow->resting = false;
	flow_step(flow);
}

static void rest(struct flow *flow, uint64_t us)
{
	if (!flow->pace && loop_timer_open(flow->flows->settings.loop, on_rested, flow, &flow->pace) < 0)
		return; // without memory for a timer it goes on: slower was asked for, not never
	flow->resting = true;
	loop_timer_arm(flow->pace, us / 1000 + 1, 0);
}

static void add(_Atomic uint64_t *sum, uint64_t bytes)
{
	if (sum)
		atomic_fetch_add_explicit(sum, bytes, memory_order_relaxed);
}

void flow_pay(struct flow *flow, uint64_t sent, uint64_t received)
{
	struct account *account = flow->account;
	if (sent + received == 0)
		return;
	account->sent += sent;
	account->received += received;
	add(account->outward, sent);
	add(account->inward, received);
	uint64_t us = account->rate ? rate_pay(account->rate, sent + received, clock_ns() / 1000) : 0;
	if (us > 0 && !flow->closed)
		rest(flow, us);
}

void flow_ended(struct flow *flow, const char *how)
{
	if (flow->account && !flow->account->ended[0])
		snprintf(flow->account->ended, sizeof flow->account->ended, "%s", how);
}

void flow_settle_account(struct flow *flow)
{
	struct account *account = flow->account;
	flow->account = NULL;
	if (account)
		account->on_end(account);
}
