// The session and its life. Theory of operation: packets_outward.c and packets_inward.c; who runs where: packets.h.
//
// Whoever sees the session fail says so (packets_fail) and the loop of queue 0 ends it: one place, one time. Nothing
// here allocates after packets_attach.

#include "flow/packets_internal.h"

#include "core/log.h"
#include "net/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// With both locks, on the loop of queue 0.
static void end_session(struct packets *packets)
{
	loop_io_close(&packets->io);
	if (packets->renewal)
		loop_timer_disarm(packets->renewal);
	// The inward side has a duplicate: the peer must not wait for that thread.
	if (packets->fd >= 0)
		shutdown(packets->fd, SHUT_RDWR);
	socket_close(&packets->fd);
	packets_inward_attach(packets, NULL, -1);
	ttun_free(&packets->ttun);
	if (packets->holder) {
		struct packets_queue *holder = packets->holder;
		holder->tx_used = holder->tx_sent = 0;
		packets->holder = NULL;
	}
	packets->is_failed = false;
	// Those that waited drop what they have.
	for (unsigned i = 0; i < packets->queue_count; i++)
		packets_outward_wake(&packets->queues[i]);
}

static void lock(struct packets *packets)
{
	pthread_mutex_lock(&packets->opens);
	pthread_mutex_lock(&packets->sends);
}

static void unlock(struct packets *packets)
{
	pthread_mutex_unlock(&packets->sends);
	pthread_mutex_unlock(&packets->opens);
}

void packets_run(struct loop *loop, struct loop_task *task)
{
	if (loop_current() == loop)
		loop_defer(loop, task);
	else
		loop_post(loop, task);
}

void packets_fail(struct packets *packets, const char *reason)
{
	pthread_mutex_lock(&packets->sends);
	if (!packets->is_failed)
		snprintf(packets->failed, sizeof packets->failed, "%s", reason);
	packets->is_failed = true;
	pthread_mutex_unlock(&packets->sends);
	packets_settle_soon(packets);
}

void packets_lose_device(struct packets *packets)
{
	atomic_store(&packets->is_gone, true);
	packets_fail(packets, "the device is gone");
}

void packets_note_keys(struct packets *packets, uint64_t bytes)
{
	uint32_t generation = ttun_generation(packets->ttun);
	uint64_t sum = packets->key_bytes + bytes;
	if (generation != packets->generation)
		sum = 0;
	packets->generation = generation;
	packets->key_bytes = sum;
	if (packets->renew_bytes > 0 && sum > packets->renew_bytes)
		(void)ttun_renew(packets->ttun);
}

// ---- the loop of queue 0

static void on_writable(void *owner, int events)
{
	struct packets *packets = owner;
	(void)events;
	pthread_mutex_lock(&packets->sends);
	if (packets->fd >= 0 && !packets->is_failed)
		packets_outward_resume(packets);
	pthread_mutex_unlock(&packets->sends);
	packets_settle_soon(packets);
}

static void settle(struct loop_task *task)
{
	struct packets *packets = CONTAINER_OF(task, struct packets, settle);
	char reason[sizeof packets->failed] = "";
	atomic_store(&packets->is_settling, false);
	if (!packets->renewal) // closed meanwhile
		return;
	lock(packets);
	bool is_failed = packets->is_failed;
	if (is_failed) {
		memcpy(reason, packets->failed, sizeof reason);
		end_session(packets);
	}
	bool is_full = packets->holder != NULL;
	unlock(packets);
	if (packets->io)
		loop_io_want(packets->io, is_full ? LOOP_WRITE : 0);
	if (is_failed)
		packets->on_lost(packets->owner, reason);
}

void packets_settle_soon(struct packets *packets)
{
	if (!atomic_exchange(&packets->is_settling, true))
		packets_run(packets->home, &packets->settle);
}

static void arm_renewal(struct packets *packets)
{
	if (packets->renew_ms > 0)
		loop_timer_arm(packets->renewal, packets->renew_ms, packets->renew_ms);
	else
		loop_timer_disarm(packets->renewal);
}

// A renewal that is still under way a whole interval after it was seen means a peer that does not answer. Not one that
// is young: the tick of a server comes when the offer of its client does, and bytes may have begun one a moment ago.
static void on_renewal(void *owner)
{
	struct packets *packets = owner;
	pthread_mutex_lock(&packets->sends);
	uint64_t next = (uint64_t)ttun_generation(packets->ttun) + 1;
	bool is_begun = ttun_renew(packets->ttun), is_under_way = ttun_is_renewing(packets->ttun);
	bool is_late = !is_begun && is_under_way && packets->late == next;
	packets->late = is_under_way ? next : 0;
	pthread_mutex_unlock(&packets->sends);
	if (is_late)
		packets_fail(packets, "the peer does not renew the keys");
	else if (is_begun)
		packets_outward_wake(&packets->queues[0]);
}

// ---- life

int packets_new(struct loop *home, struct tun *tun, packets_fn on_lost, void *owner, struct packets **packets)
{
	unsigned count = tun_queue_count(tun);
	struct packets *made = calloc(1, sizeof *made + count * sizeof *made->queues);
	if (!made)
		return -ENOMEM;
	made->home = home;
	made->tun = tun;
	made->on_lost = on_lost;
	made->owner = owner;
	made->fd = -1;
	made->queue_count = count;
	made->settle.run = settle;
	made->renew_bytes = LIMIT_TLS_KEY_BYTES;
	pthread_mutex_init(&made->opens, NULL);
	pthread_mutex_init(&made->sends, NULL);
	packets_inward_init(made);
	for (unsigned i = 0; i < count; i++) {
		made->queues[i].packets = made;
		made->queues[i].index = i;
	}
	*packets = made;
	return 0;
}

void packets_free(struct packets **packets)
{
	if (!*packets)
		return;
	packets_inward_fini(*packets);
	pthread_mutex_destroy(&(*packets)->opens);
	pthread_mutex_destroy(&(*packets)->sends);
	free(*packets);
	*packets = NULL;
}

int packets_open(struct packets *packets, unsigned index, struct loop *loop)
{
	struct packets_queue *queue = &packets->queues[index];
	int result = index == 0 ? loop_timer_open(loop, on_renewal, packets, &packets->renewal) : 0;
	if (result < 0)
		return result;
	queue->loop = loop;
	result = packets_outward_open(queue);
	if (index == packets->queue_count - 1)
		packets_inward_open(packets, loop);
	if (result < 0)
		packets_close(packets, index);
	return result;
}

void packets_close(struct packets *packets, unsigned index)
{
	struct packets_queue *queue = &packets->queues[index];
	if (index == 0)
		packets_detach(packets);
	if (index == packets->queue_count - 1)
		packets_inward_close(packets);
	pthread_mutex_lock(&packets->sends); // whoever wakes the queue holds it
	loop_io_close(&queue->io);
	queue->loop = NULL;
	pthread_mutex_unlock(&packets->sends);
	if (index == 0)
		loop_timer_close(&packets->renewal);
}

// ---- settings

void packets_set_renewal(struct packets *packets, uint32_t every_ms, uint64_t after_bytes)
{
	packets->renew_ms = every_ms;
	packets->renew_bytes = every_ms > 0 ? after_bytes : 0;
	if (packets->ttun && ttun_is_hybrid(packets->ttun))
		arm_renewal(packets);
}

void packets_set_clamp(struct packets *packets, uint32_t mtu)
{
	atomic_store(&packets->clamp, mtu);
}

int packets_set_sources(struct packets *packets, const struct cidr *sources, size_t count)
{
	struct cidr *copy = malloc((count + 1) * sizeof *copy);
	if (!copy)
		return -ENOMEM;
	if (count > 0)
		memcpy(copy, sources, count * sizeof *copy);
	pthread_mutex_lock(&packets->opens);
	struct cidr *old = packets->inward.sources;
	packets->inward.sources = copy;
	packets->inward.source_count = count;
	pthread_mutex_unlock(&packets->opens);
	free(old);
	return 0;
}

// ---- sessions

int packets_attach(struct packets *packets, int *fd, struct ttun **ttun)
{
	struct loop_io *io = NULL;
	int unsent = LIMIT_FRAMES_UNSENT_BYTES;
	// Syscalls: fcntl
	int copy = fcntl(*fd, F_DUPFD_CLOEXEC, 0);
	int result = copy < 0 ? -errno : loop_io_open(packets->home, *fd, on_writable, packets, &io);
	if (result < 0) {
		socket_close(&copy);
		return result;
	}
	(void)setsockopt(*fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof unsent);
	lock(packets);
	end_session(packets);
	packets->io = io;
	packets->fd = *fd;
	packets->ttun = *ttun;
	packets_inward_attach(packets, *ttun, copy);
	packets->key_bytes = 0;
	packets->late = 0;
	packets->generation = 0;
	packets->bytes_outward = packets->bytes_inward = packets->packets_outward = packets->packets_inward = 0;
	bool is_hybrid = ttun_is_hybrid(*ttun);
	unlock(packets);
	*fd = -1;
	*ttun = NULL;
	if (is_hybrid)
		arm_renewal(packets);
	return 0;
}

void packets_detach(struct packets *packets)
{
	lock(packets);
	end_session(packets);
	unlock(packets);
}

bool packets_has_session(const struct packets *packets)
{
	return packets->fd >= 0;
}

bool packets_has_device(const struct packets *packets)
{
	return !packets->is_gone;
}

void packets_read(struct packets *packets, struct packets_state *state)
{
	*state = (struct packets_state){
		.generation = atomic_load(&packets->generation),
		.bytes_outward = atomic_load(&packets->bytes_outward),
		.bytes_inward = atomic_load(&packets->bytes_inward),
		.packets_outward = atomic_load(&packets->packets_outward),
		.packets_inward = atomic_load(&packets->packets_inward),
	};
}
