// The initiator's share of the lanes, on each worker: dialled when there is none, and dialled again when its link has
// keys of a newer epoch, or has been replaced by another link, or when data connections are to be dialled otherwise.

#include "flow/lanes_internal.h"

#include "core/log.h"

#include <stdio.h>
#include <string.h>

// How often a worker looks whether its lanes are as they should be.
#define CARE_MS 200
// After a failed one.
#define REST_MS 1000

static bool is_current(const struct lanes_worker *worker, const struct lane *lane)
{
	return lane && lane->dialling_serial == worker->dialling_serial && stream_link(lane->stream) == worker->link &&
	       stream_epoch(lane->stream) == link_epoch(worker->link);
}

static void dial(struct lanes_worker *worker, unsigned number)
{
	const struct lanes_settings *settings = &worker->lanes->settings;
	bool is_super = settings->takes_super && link_peer(worker->link)->terms.takes_super;
	struct lane *lane = lane_new(worker->only, number, is_super);
	if (!lane)
		return;
	struct header header = {.kind = HEADER_PACKETS, .port = (uint16_t)(number + 1)};
	struct stream_opening opening = {.header = &header, .ops = &lane_ops, .owner = lane};
	struct stream_dial how = {.loop = worker->loop,
	                          .profile = worker->profile,
	                          .keepalive_ms = worker->dialling_now.keepalive_ms,
	                          .timeout_ms = worker->dialling_now.handshake_ms};
	snprintf(how.congestion, sizeof how.congestion, "%s", worker->dialling_now.congestion);
	lane->is_dialled = true;
	lane->dialling_serial = worker->dialling_serial;
	worker->dialling[number] = lane;
	if (stream_dial_open(&how, worker->link, &opening, &lane->stream) < 0) {
		lanes_dial_failed(lane, "no memory for a data connection");
		lane_close(lane);
		return;
	}
	stream_want_read(lane->stream, true);
}

static void care(void *owner)
{
	struct lanes_worker *worker = owner;
	const struct lanes *lanes = worker->lanes;
	if (!worker->link || !worker->only || !link_is_up(worker->link) ||
	    loop_now_ms(worker->loop) < worker->rest_until_ms)
		return;
	for (unsigned i = worker->index; i < lanes->settings.count; i += lanes->settings.workers)
		if (!worker->dialling[i] && !is_current(worker, worker->only->current[i]))
			dial(worker, i);
}

void lanes_dial_done(struct lane *lane)
{
	struct lanes_worker *worker = lane->worker;
	if (worker->dialling[lane->number] == lane)
		worker->dialling[lane->number] = NULL;
	lane_begin(lane);
}

void lanes_dial_failed(struct lane *lane, const char *reason)
{
	struct lanes_worker *worker = lane->worker;
	if (worker->dialling[lane->number] != lane)
		return;
	worker->dialling[lane->number] = NULL;
	worker->rest_until_ms = loop_now_ms(worker->loop) + REST_MS;
	worker->lanes->ops.on_refused(worker->lanes->owner, worker->link, reason);
}

int lanes_set_link(struct lanes *lanes, unsigned index, struct link *link)
{
	struct lanes_worker *worker = lanes->workers[index];
	link_unref(&worker->link);
	tls_profile_free(&worker->profile);
	worker->rest_until_ms = 0;
	if (!worker->loop)
		return 0;
	loop_timer_disarm(worker->care);
	if (!link)
		return 0;
	int result = tls_profile_data(link_peer(link)->tls.group, &worker->profile);
	if (result < 0)
		return result;
	worker->link = link_ref(link);
	loop_timer_arm(worker->care, CARE_MS, CARE_MS);
	care(worker);
	return 0;
}

void lanes_set_dialling(struct lanes *lanes, unsigned index, const struct lanes_dialling *dialling)
{
	struct lanes_worker *worker = lanes->workers[index];
	struct lanes_dialling *mine = &worker->dialling_now;
	bool is_same = mine->keepalive_ms == dialling->keepalive_ms && mine->handshake_ms == dialling->handshake_ms &&
	               strcmp(mine->congestion, dialling->congestion) == 0;
	if (is_same)
		return;
	*mine = *dialling;
	worker->dialling_serial++;
	if (worker->loop)
		care(worker);
}

int lanes_dial_open(struct lanes_worker *worker)
{
	return loop_timer_open(worker->loop, care, worker, &worker->care);
}

void lanes_dial_close(struct lanes_worker *worker)
{
	loop_timer_close(&worker->care);
	link_unref(&worker->link);
	tls_profile_free(&worker->profile);
}
