// The life of lanes: taken or dialled, opened, retired by a successor, read to the end, closed.

#include "flow/lanes_internal.h"

#include "core/log.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

// ---- a lane

static void release(struct loop_task *task)
{
	struct lane *lane = CONTAINER_OF(task, struct lane, release);
	lanes_peer_unref(&lane->peer);
	free(lane->tx);
	free(lane->rx);
	free(lane);
}

struct lane *lane_new(struct lanes_share *share, unsigned number, bool is_super)
{
	struct lanes_worker *worker = share->worker;
	struct lane *lane = calloc(1, sizeof *lane);
	if (!lane)
		return NULL;
	lane->tx = malloc(LANES_TX_BYTES);
	lane->rx = malloc(LIMIT_FRAMES_BYTES);
	if (!lane->tx || !lane->rx) {
		free(lane->tx);
		free(lane->rx);
		free(lane);
		return NULL;
	}
	lane->release.run = release;
	lane->worker = worker;
	lane->share = share;
	lane->peer = lanes_peer_ref(share->peer);
	lane->number = number;
	lane->is_super = is_super;
	lane->next = worker->all;
	worker->all = lane;
	atomic_fetch_add(&worker->lanes->load[worker->index], 1);
	atomic_fetch_add(&lane->peer->made[number], 1);
	return lane;
}

static void stop_sending(struct lane *lane)
{
	struct lanes_share *share = lane->share;
	if (share->current[lane->number] != lane)
		return;
	uint16_t mine = (uint16_t)lane->worker->index;
	share->current[lane->number] = NULL;
	// Unless another worker sends for it by now.
	if (atomic_compare_exchange_strong(&share->peer->home[lane->number], &mine, (uint16_t)LANES_NOWHERE))
		atomic_fetch_sub(&lane->worker->lanes->up, 1);
}

void lane_close(struct lane *lane)
{
	struct lanes_worker *worker = lane->worker;
	if (lane->is_gone)
		return;
	lane->is_gone = true;
	stop_sending(lane);
	if (worker->dialling[lane->number] == lane)
		worker->dialling[lane->number] = NULL;
	struct lane **at = &worker->all;
	while (*at != lane)
		at = &(*at)->next;
	*at = lane->next;
	stream_close(&lane->stream);
	atomic_fetch_sub(&worker->lanes->load[worker->index], 1);
	atomic_fetch_sub(&lane->peer->made[lane->number], 1);
	loop_defer(worker->loop, &lane->release);
	lanes_outward_resume(worker);
}

static void retire(struct lane *lane)
{
	if (lane->is_retired)
		return;
	lane->is_retired = true;
	stop_sending(lane);
	lanes_outward_flush(lane);
}

void lane_begin(struct lane *lane)
{
	struct lanes_worker *worker = lane->worker;
	struct lanes_share *share = lane->share;
	struct lane *before = share->current[lane->number];
	lane->is_open = true;
	share->current[lane->number] = lane;
	stream_limit_unsent(lane->stream, LIMIT_FRAMES_UNSENT_BYTES);
	// Hostile: a connection that is dialled again begins with no credit.
	if (atomic_load_explicit(&share->peer->is_limited, memory_order_relaxed))
		lanes_pace_begin(lane);
	atomic_store(&share->peer->is_super[lane->number], lane->is_super);
	if (atomic_exchange(&share->peer->home[lane->number], (uint16_t)worker->index) == LANES_NOWHERE)
		atomic_fetch_add(&worker->lanes->up, 1);
	// The dialling side ends first: the end of a lane must not overtake the answer to its successor, which comes on
	// another connection.
	if (before && lane->is_dialled)
		retire(before);
	lanes_outward_resume(worker);
}

// ---- what its stream says

static void on_ready(void *owner, int events)
{
	struct lane *lane = owner;
	struct lanes_worker *worker = lane->worker;
	(void)events;
	if (!lane->is_open && stream_is_open(lane->stream))
		lanes_dial_done(lane);
	if (lane->is_open && !lane->is_ended && !lanes_inward_read(lane)) {
		log_warn("lanes", "link %s: what came on a data connection is no packet: the connection ends",
		         link_name(stream_link(lane->stream)));
		lane_close(lane);
		return;
	}
	if (!lane->is_gone && stream_is_broken(lane->stream)) {
		log_debug("lanes", "link %s: a data connection broke: %s", link_name(stream_link(lane->stream)),
		          stream_problem(lane->stream));
		if (!lane->is_open)
			lanes_dial_failed(lane, stream_problem(lane->stream));
		lane_close(lane);
		return;
	}
	if (lane->is_gone)
		return;
	if (lane->is_ended)
		retire(lane);
	lanes_outward_flush(lane);
	if (lane->is_ended && lane->is_finished && stream_is_flushed(lane->stream))
		lane_close(lane);
	else
		lanes_outward_resume(worker);
}

static void on_refused(void *owner, const struct header_answer *answer)
{
	struct lane *lane = owner;
	lanes_dial_failed(lane, answer->reason);
	lane_close(lane);
}

const struct stream_ops lane_ops = {.on_ready = on_ready, .on_refused = on_refused};

// The oldest one before the current one goes, if it is of another link: its client has come anew since.
static void make_room(struct lanes_share *share, unsigned number, const struct link *link)
{
	struct lane *oldest = NULL;
	for (struct lane *lane = share->worker->all; lane; lane = lane->next) // the newest comes first
		if (lane->share == share && lane->number == number && share->current[number] != lane &&
		    stream_link(lane->stream) != link)
			oldest = lane;
	if (oldest)
		lane_close(oldest);
}

// Hostile: a client that never ends a connection must not have more and more of them.
static bool may_have_another(struct lanes_share *share, unsigned number, const struct link *link)
{
	const _Atomic uint16_t *made = &share->peer->made[number];
	if (atomic_load(made) >= LIMIT_LANES_PER_NUMBER)
		make_room(share, number, link);
	return atomic_load(made) < LIMIT_LANES_PER_NUMBER;
}

void lanes_take(struct lanes *lanes, unsigned index, struct lanes_peer *peer, struct stream *stream, uint16_t number)
{
	struct lanes_worker *worker = lanes->workers[index];
	bool is_super = lanes->settings.takes_super && link_peer(stream_link(stream))->terms.takes_super;
	// Hostile: the number is the peer's.
	if (number < 1 || number > lanes->settings.count) {
		stream_refuse(&stream, HEADER_NO_SERVICE, "there is no such data connection");
		return;
	}
	struct lanes_share *share = &peer->share[index];
	if (!may_have_another(share, number - 1u, stream_link(stream))) {
		stream_refuse(&stream, HEADER_LIMIT, "there are too many data connections of this number");
		return;
	}
	struct lane *lane = worker && worker->loop ? lane_new(share, number - 1u, is_super) : NULL;
	if (!lane) {
		stream_refuse(&stream, HEADER_INTERNAL, "out of memory");
		return;
	}
	lane->stream = stream;
	stream_own(stream, &lane_ops, lane);
	if (stream_confirm(stream) != 0) {
		lane_close(lane);
		return;
	}
	stream_want_read(stream, true);
	lane_begin(lane);
	on_ready(lane, LOOP_READ); // something may have come together with the header
}

void lanes_drop(struct lanes *lanes, unsigned index, const struct lanes_peer *peer, struct link *but)
{
	struct lanes_worker *worker = lanes->workers[index];
	for (struct lane *lane = worker ? worker->all : NULL, *next; lane; lane = next) {
		next = lane->next;
		if ((peer && lane->peer != peer) || (but && stream_link(lane->stream) == but))
			continue;
		lane_close(lane);
	}
}

void lanes_lose_device(struct lanes *lanes)
{
	if (!atomic_exchange(&lanes->is_gone, true))
		lanes->ops.on_gone(lanes->owner);
}

// ---- all of them

int lanes_new(const struct lanes_settings *settings, const struct lanes_ops *ops, void *owner, struct lanes **lanes)
{
	assert(settings->count >= 1 && settings->count <= LIMIT_LANES && settings->workers <= TUN_QUEUES);
	struct lanes *made = calloc(1, sizeof *made + settings->workers * sizeof *made->workers);
	if (!made)
		return -ENOMEM;
	made->settings = *settings;
	made->ops = *ops;
	made->owner = owner;
	made->clamp = settings->clamp;
	for (unsigned i = 0; i < settings->workers; i++) {
		struct lanes_worker *worker = made->workers[i] = calloc(1, sizeof *worker);
		if (!worker) {
			lanes_free(&made);
			return -ENOMEM;
		}
		worker->lanes = made;
		worker->index = i;
		worker->dialling_now = settings->dialling;
		pthread_mutex_init(&worker->inbox.lock, NULL);
	}
	if (!settings->has_table && lanes_peer_new(made, 0, &made->only) < 0) {
		lanes_free(&made);
		return -ENOMEM;
	}
	for (unsigned i = 0; i < settings->workers && made->only; i++)
		made->workers[i]->only = &made->only->share[i];
	*lanes = made;
	return 0;
}

void lanes_free(struct lanes **lanes)
{
	if (!*lanes)
		return;
	for (unsigned i = 0; i < (*lanes)->settings.workers; i++) {
		struct lanes_worker *worker = (*lanes)->workers[i];
		if (!worker)
			continue;
		pthread_mutex_destroy(&worker->inbox.lock);
		free(worker->inbox.filling);
		free(worker->inbox.emptying);
		lanes_table_unref(&worker->table);
		free(worker);
	}
	lanes_peer_unref(&(*lanes)->only);
	free(*lanes);
	*lanes = NULL;
}

int lanes_open(struct lanes *lanes, unsigned index, struct loop *loop)
{
	struct lanes_worker *worker = lanes->workers[index];
	worker->loop = loop;
	lanes_inward_init(worker);
	int result = lanes_outward_open(worker);
	if (result == 0)
		result = lanes_dial_open(worker);
	if (result == 0)
		result = lanes_pace_open(worker);
	if (result < 0)
		lanes_close(lanes, index);
	return result;
}

void lanes_close(struct lanes *lanes, unsigned index)
{
	struct lanes_worker *worker = lanes->workers[index];
	if (!worker->loop)
		return;
	lanes_outward_close(worker);
	lanes_dial_close(worker);
	lanes_pace_close(worker);
	lanes_drop(lanes, index, NULL, NULL);
	pthread_mutex_lock(&worker->inbox.lock); // nobody passes anything on to it any more
	worker->loop = NULL;
	pthread_mutex_unlock(&worker->inbox.lock);
}

void lanes_set_joins(struct lanes *lanes, bool joins)
{
	atomic_store(&lanes->joins, joins);
}

void lanes_set_clamp(struct lanes *lanes, uint32_t mtu)
{
	atomic_store(&lanes->clamp, mtu);
}

unsigned lanes_up(const struct lanes *lanes)
{
	return atomic_load(&lanes->up);
}

unsigned lanes_of(const struct lanes *lanes, unsigned worker)
{
	return atomic_load(&lanes->load[worker]);
}
