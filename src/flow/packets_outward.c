// From a queue of the device to the session's socket.
//
// The device gives a packet or super-packet, `cut` walks over it; each packet that comes out is written where its frame
// will be in `tx`. When `tx` is full or the device has nothing more the slice is sealed and sent, under the lock: the
// order in which frames are sealed is the order in which they must leave. What the socket does not take stays in `tx`,
// the queue is then the socket's holder: nobody seals anything before its last byte is out, and no queue with a full
// slice reads its device. `cut` keeps its place meanwhile.

#include "flow/packets_internal.h"

#include "core/log.h"
#include "packet/icmp.h"
#include "packet/mss.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

// What the device is asked in one turn at most.
#define READS_PER_TURN (LIMIT_FRAMES_PER_TURN * 16)
// The end of `tx` is for a frame of the renewal of keys.
#define LAID_BYTES (LIMIT_FRAMES_BYTES - TTUN_SPEAK_BYTES)

_Static_assert(LAID_BYTES >= TTUN_FRAME_BYTES, "a slice can hold the largest frame");

// ---- cutting

// Our own limit on the MTU keeps such packets away, but an administrator may raise that of the device.
static void refuse_too_big(struct packets_queue *queue, size_t length)
{
	uint8_t answer[ICMP_MOST_BYTES];
	struct iovec piece = {answer, icmp_too_big(queue->super, length, TTUN_PACKET_BYTES, answer)};
	counter_add(COUNTER_PACKET_TOO_BIG, 1);
	if (piece.iov_len > 0)
		(void)!tun_write(queue->packets->tun, queue->index, &(struct offload){0}, &piece, 1);
}

// Hostile: who may write to the device past the kernel's IP could else speak to the peer as we do when keys are
// renewed.
static bool is_ip(const uint8_t *bytes)
{
	return bytes[0] >> 4 == 4 || bytes[0] >> 4 == 6;
}

// The next packet to cut. False: the device has none now.
static bool next_super(struct packets_queue *queue)
{
	for (unsigned i = 0; i < READS_PER_TURN; i++) {
		struct offload offload;
		size_t length = 0;
		int result = tun_read(queue->packets->tun, queue->index, queue->super, &length, &offload);
		if (result == TUN_NONE)
			return false;
		if (result < 0) {
			packets_lose_device(queue->packets);
			return false;
		}
		if (result == 0)
			segment_settle(queue->super, length, &offload);
		if (result == TUN_STRANGE || !is_ip(queue->super) ||
		    segment_begin(&queue->cut, queue->super, length, &offload) != 0) {
			counter_add(COUNTER_PACKET_STRANGE, 1);
			continue;
		}
		if (segment_room(&queue->cut) > TTUN_PACKET_BYTES) {
			refuse_too_big(queue, length);
			continue;
		}
		counter_add(COUNTER_SUPER_OUTWARD, offload.kind != OFFLOAD_NONE);
		return true;
	}
	return false;
}

// Lays frames into tx. True: the device may have more.
static bool fill(struct packets_queue *queue)
{
	uint32_t clamp = atomic_load_explicit(&queue->packets->clamp, memory_order_relaxed);
	bool is_more = true;
	while (is_more) {
		size_t room = queue->is_cutting ? segment_room(&queue->cut) : 0;
		if (room == 0) {
			queue->is_cutting = is_more = next_super(queue);
			continue;
		}
		if (queue->tx_used + room + TTUN_OVERHEAD_BYTES > LAID_BYTES)
			break;
		uint8_t *frame = queue->tx + queue->tx_used, *packet = frame + TTUN_LENGTH_BYTES;
		segment_next(&queue->cut, packet);
		if (clamp && queue->cut.offload.kind == OFFLOAD_NONE)
			mss_clamp(packet, room, clamp);
		ttun_lay(frame, room);
		queue->tx_used += room + TTUN_OVERHEAD_BYTES;
		queue->tx_packets++;
		queue->tx_bytes += room;
	}
	return is_more;
}

static void empty(struct packets_queue *queue)
{
	queue->tx_used = queue->tx_sent = 0;
	queue->tx_packets = queue->tx_bytes = 0;
}

static void drop_all(struct packets_queue *queue)
{
	struct packets *packets = queue->packets;
	struct offload offload;
	size_t length = 0;
	uint64_t count = queue->tx_packets;
	int result = 0;
	empty(queue);
	queue->is_cutting = false;
	for (unsigned i = 0; i < READS_PER_TURN && result != TUN_NONE && result >= 0; i++) {
		result = tun_read(packets->tun, queue->index, queue->super, &length, &offload);
		count += result == 0;
	}
	counter_add(COUNTER_PACKET_NO_SESSION, count);
	if (result < 0)
		packets_lose_device(packets);
}

// ---- sending, with `sends`

static void add(_Atomic uint64_t *value, uint64_t amount)
{
	atomic_fetch_add_explicit(value, amount, memory_order_relaxed);
}

// True: all of it is out. False: the socket takes no more now, or the session has failed.
static bool send_sealed(struct packets *packets, struct packets_queue *queue)
{
	while (queue->tx_sent < queue->tx_used) {
		// Syscalls: sendto
		ssize_t sent = send(packets->fd, queue->tx + queue->tx_sent, queue->tx_used - queue->tx_sent, MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0 && errno != EAGAIN && !packets->is_failed) {
			packets->is_failed = true;
			snprintf(packets->failed, sizeof packets->failed, "%s", outcome_text(-errno));
		}
		if (sent < 0)
			return false;
		queue->tx_sent += (size_t)sent;
	}
	empty(queue);
	return true;
}

static void seal(struct packets *packets, struct packets_queue *queue)
{
	ttun_seal_laid(packets->ttun, queue->tx, queue->tx_used);
	counter_add(COUNTER_PACKETS_OUTWARD, queue->tx_packets);
	counter_add(COUNTER_BYTES_OUTWARD, queue->tx_bytes);
	add(&packets->packets_outward, queue->tx_packets);
	add(&packets->bytes_outward, queue->tx_bytes);
	packets_note_keys(packets, queue->tx_bytes);
	queue->tx_used += ttun_speak_control(packets->ttun, queue->tx + queue->tx_used);
}

void packets_outward_resume(struct packets *packets)
{
	if (!packets->holder || !send_sealed(packets, packets->holder))
		return;
	packets->holder = NULL;
	for (unsigned i = 0; i < packets->queue_count; i++)
		packets_outward_wake(&packets->queues[i]);
}

// ---- a turn

enum turn { TURN_SENT, TURN_HELD, TURN_NO_SESSION };

// Seals and sends the slice, when it is the queue's turn.
static enum turn pass_on(struct packets_queue *queue)
{
	struct packets *packets = queue->packets;
	enum turn turn = TURN_SENT;
	pthread_mutex_lock(&packets->sends);
	if (packets->fd < 0 || packets->is_failed) {
		turn = TURN_NO_SESSION;
	} else if (packets->holder) {
		turn = TURN_HELD; // resume() wakes us
	} else {
		seal(packets, queue);
		if (!send_sealed(packets, queue)) {
			packets->holder = queue;
			turn = TURN_HELD;
		}
	}
	bool is_held = packets->holder == queue, is_failed = packets->is_failed;
	pthread_mutex_unlock(&packets->sends);
	if (is_held || is_failed)
		packets_settle_soon(packets);
	return turn;
}

static bool is_holding(struct packets_queue *queue)
{
	struct packets *packets = queue->packets;
	pthread_mutex_lock(&packets->sends);
	bool is_mine = packets->holder == queue;
	pthread_mutex_unlock(&packets->sends);
	return is_mine;
}

static void pump(struct packets_queue *queue)
{
	bool is_more = true;
	if (is_holding(queue))
		return;
	if (atomic_load(&queue->packets->is_gone)) {
		loop_io_want(queue->io, 0);
		return;
	}
	// What was laid earlier, and what the renewal of keys has to say.
	enum turn turn = pass_on(queue);
	for (unsigned i = 0; i < LIMIT_FRAMES_PER_TURN && is_more && turn == TURN_SENT; i++) {
		is_more = fill(queue);
		if (queue->tx_used > 0)
			turn = pass_on(queue);
	}
	if (turn == TURN_NO_SESSION)
		drop_all(queue);
	loop_io_want(queue->io, turn == TURN_HELD || atomic_load(&queue->packets->is_gone) ? 0 : LOOP_READ);
}

static void on_device(void *owner, int events)
{
	(void)events;
	pump(owner);
}

static void on_wake(struct loop_task *task)
{
	struct packets_queue *queue = CONTAINER_OF(task, struct packets_queue, wake);
	atomic_store(&queue->is_woken, false);
	if (queue->io)
		pump(queue);
}

void packets_outward_wake(struct packets_queue *queue)
{
	if (queue->loop && !atomic_exchange(&queue->is_woken, true))
		packets_run(queue->loop, &queue->wake);
}

int packets_outward_open(struct packets_queue *queue)
{
	struct packets *packets = queue->packets;
	queue->wake.run = on_wake;
	int result = loop_io_open(queue->loop, tun_descriptor(packets->tun, queue->index), on_device, queue, &queue->io);
	if (result == 0)
		loop_io_want(queue->io, LOOP_READ);
	return result;
}
