// From a queue of the device to the lanes.
//
// A packet is read with room for its head in front. A large one leaves at once, from where it lies; small ones gather
// in the lane's `tx` until the device has nothing more, or `tx` is full, and leave as one unit. When the lane takes no
// more the packet is held and the queue is not read until that lane has room, or is gone.

#include "flow/lanes_internal.h"

#include "packet/packet.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define READS_PER_TURN (LIMIT_FRAMES_PER_TURN * 16)
// Copying one of so many bytes costs more than the system call that gathering saves.
#define LARGE_BYTES 16384
// Of a packet that is passed on, before its parcel.
struct passed {
	uint32_t slot, serial; // of its peer
	uint32_t length;
	uint8_t number, is_super;
};

// ---- a lane's bytes

static bool has_room(const struct lane *lane)
{
	return lane->outward_until_us == 0 && stream_has_room(lane->stream);
}

// A stream that breaks here says so by itself.
static void send_bytes(struct lane *lane, const uint8_t *bytes, size_t length)
{
	(void)!stream_send(lane->stream, bytes, length);
	if (atomic_load_explicit(&lane->peer->is_limited, memory_order_relaxed))
		lanes_pace_sent(lane, length);
}

void lanes_outward_flush(struct lane *lane)
{
	size_t at = 0;
	while (at < lane->tx_used && has_room(lane)) {
		size_t length = lane->tx_used - at < LIMIT_UNIT_BYTES ? lane->tx_used - at : LIMIT_UNIT_BYTES;
		send_bytes(lane, lane->tx + at, length);
		at += length;
	}
	if (at > 0)
		memmove(lane->tx, lane->tx + at, lane->tx_used - at);
	lane->tx_used -= at;
	if (!lane->is_retired || lane->is_finished || lane->tx_used > 0 || !has_room(lane))
		return;
	lane->is_finished = true;
	(void)!stream_finish(lane->stream);
}

// What a lane was given in this turn leaves at its end, all of it together.
static void mark_unsent(struct lane *lane)
{
	struct lanes_worker *worker = lane->worker;
	if (lane->is_unsent)
		return;
	lane->is_unsent = true;
	lane->next_unsent = worker->unsent;
	worker->unsent = lane;
}

void lanes_outward_flush_unsent(struct lanes_worker *worker)
{
	while (worker->unsent) {
		struct lane *lane = worker->unsent;
		worker->unsent = lane->next_unsent;
		lane->is_unsent = false;
		if (!lane->is_gone)
			lanes_outward_flush(lane);
	}
}

// All of it, or nothing and false. At most `limit` bytes wait in `tx` afterwards.
static bool put(struct lane *lane, size_t limit, const uint8_t *parcel, size_t length)
{
	bool is_large = length >= LARGE_BYTES;
	if (lane->tx_used > 0 && (is_large || lane->tx_used + length > limit))
		lanes_outward_flush(lane);
	if (lane->tx_used + length <= limit && !(is_large && has_room(lane))) {
		memcpy(lane->tx + lane->tx_used, parcel, length);
		lane->tx_used += length;
		mark_unsent(lane);
		return true;
	}
	if (lane->tx_used > 0 || !has_room(lane))
		return false;
	size_t first = length < LIMIT_UNIT_BYTES ? length : LIMIT_UNIT_BYTES;
	send_bytes(lane, parcel, first);
	memcpy(lane->tx, parcel + first, length - first);
	lane->tx_used = length - first;
	if (lane->tx_used > 0)
		mark_unsent(lane);
	return true;
}

// ---- which lane

static unsigned mix(uint32_t value, unsigned count)
{
	return (unsigned)((uint64_t)(value * 0x9e3779b1u) * count >> 32);
}

static uint32_t of_addresses(const uint8_t *bytes, const struct packet *packet)
{
	size_t from = packet->version == 4 ? 12 : 8, to = packet->version == 4 ? 20 : 40;
	uint32_t value = 0;
	for (size_t at = from; at < to; at += 4)
		value ^= packet_read32(bytes + at);
	return value;
}

// The same for both directions of a flow. False: it has no ports.
static bool hash(const uint8_t *bytes, const struct packet *packet, uint32_t *value)
{
	if (packet->is_fragment) {
		*value = of_addresses(bytes, packet);
		return true;
	}
	bool has_ports = packet->protocol == PACKET_TCP || packet->protocol == PACKET_UDP;
	if (!has_ports || packet_transport_bytes(bytes, packet) == 0)
		return false;
	const uint8_t *ports = bytes + packet->header_bytes;
	*value = (uint32_t)(packet_read16(ports) ^ packet_read16(ports + 2));
	return true;
}

// Each lane of this worker in turn, so that nothing has to be passed on; each of all when it has none.
static unsigned next_in_turn(struct lanes_share *share)
{
	unsigned count = share->worker->lanes->settings.count;
	assert(count > 0); // for the analyser: lanes_new has seen to it
	for (unsigned i = 0; i < count; i++) {
		unsigned number = share->turn++ % count;
		if (share->current[number])
			return number;
	}
	return share->turn++ % count;
}

static unsigned choose(struct lanes_share *share, const uint8_t *bytes, const struct packet *packet)
{
	uint32_t value;
	return hash(bytes, packet, &value) ? mix(value, share->worker->lanes->settings.count) : next_in_turn(share);
}

// The lane, or the next one that is up. False: none is.
static bool find_home(const struct lanes_peer *peer, unsigned *number, unsigned *home)
{
	unsigned count = peer->lanes->settings.count;
	for (unsigned i = 0; i < count; i++) {
		unsigned at = (*number + i) % count;
		*home = atomic_load_explicit(&peer->home[at], memory_order_relaxed);
		if (*home == LANES_NOWHERE)
			continue;
		*number = at;
		return true;
	}
	return false;
}

// ---- passing on

static bool pass_on(struct lanes_worker *to, const struct passed *passed, const uint8_t *parcel)
{
	size_t length = passed->length;
	struct lanes_inbox *inbox = &to->inbox;
	bool is_taken = false;
	pthread_mutex_lock(&inbox->lock);
	if (to->loop && inbox->used + sizeof *passed + length <= LIMIT_LANES_PASSED_BYTES) {
		uint8_t *at = inbox->filling + inbox->used;
		memcpy(at, passed, sizeof *passed);
		memcpy(at + sizeof *passed, parcel, length);
		inbox->used += sizeof *passed + length;
		if (!inbox->is_woken)
			loop_post(to->loop, &inbox->wake);
		inbox->is_woken = is_taken = true;
	}
	pthread_mutex_unlock(&inbox->lock);
	counter_add(COUNTER_PACKET_PASSED, 1);
	return is_taken;
}

// What its lanes, or the way to their worker, do not take.
static void count_congested(struct lanes_peer *peer)
{
	lanes_count_drop(peer, LANES_DROP_CONGESTED, COUNTER_PACKET_CONGESTED);
}

// A packet that another worker has passed on to this one. It counts as outward, or as dropped, where it ends up.
static void take_passed(struct lanes_worker *worker, struct passed *passed, const uint8_t *parcel)
{
	struct lanes_share *share = lanes_share_at(worker, passed->slot, passed->serial);
	unsigned number = passed->number, home;
	if (!share || !find_home(share->peer, &number, &home)) {
		counter_add(COUNTER_PACKET_NO_SESSION, 1);
		return;
	}
	struct lane *lane = share->current[passed->number];
	// Its lane was dialled again meanwhile, and its successor is another worker's.
	if (!lane && home != worker->index) {
		passed->number = (uint8_t)number;
		if (!pass_on(worker->lanes->workers[home], passed, parcel))
			count_congested(share->peer);
		return;
	}
	lane = lane ? lane : share->current[number];
	size_t limit = passed->length < LARGE_BYTES ? LANES_TX_BYTES : LIMIT_UNIT_BYTES;
	if (lane && lane->is_super == passed->is_super && put(lane, limit, parcel, passed->length))
		counter_add(COUNTER_PACKETS_OUTWARD, 1);
	else
		count_congested(share->peer);
}

static void on_passed(struct loop_task *task)
{
	struct lanes_inbox *inbox = CONTAINER_OF(task, struct lanes_inbox, wake);
	struct lanes_worker *worker = CONTAINER_OF(inbox, struct lanes_worker, inbox);
	pthread_mutex_lock(&inbox->lock);
	uint8_t *bytes = inbox->filling;
	size_t used = inbox->used;
	inbox->filling = inbox->emptying;
	inbox->emptying = bytes;
	inbox->used = 0;
	inbox->is_woken = false;
	bool is_open = worker->loop != NULL;
	pthread_mutex_unlock(&inbox->lock);
	struct passed passed;
	for (size_t at = 0; is_open && at < used; at += passed.length) {
		memcpy(&passed, bytes + at, sizeof passed);
		at += sizeof passed;
		take_passed(worker, &passed, bytes + at);
	}
	lanes_outward_flush_unsent(worker);
}

// ---- a packet

struct target {
	struct lanes_share *share;
	unsigned number, home;
	bool is_super;
};

// False: held.
static bool deliver(struct lanes_worker *worker, struct target to, const uint8_t *parcel, size_t length)
{
	struct lanes_peer *peer = to.share->peer;
	if (to.home != worker->index) {
		struct passed passed = {.slot = peer->slot,
		                        .serial = peer->serial,
		                        .length = (uint32_t)length,
		                        .number = (uint8_t)to.number,
		                        .is_super = to.is_super};
		if (!pass_on(worker->lanes->workers[to.home], &passed, parcel))
			count_congested(peer);
		return true;
	}
	struct lane *lane = to.share->current[to.number];
	if (lane && !put(lane, worker->only ? LIMIT_UNIT_BYTES : LANES_TX_BYTES, parcel, length)) {
		if (worker->only)
			return false;
		// Hostile: a peer that does not read must not keep the packets of the others.
		count_congested(peer);
		return true;
	}
	counter_add(lane ? COUNTER_PACKETS_OUTWARD : COUNTER_PACKET_NO_SESSION, 1);
	return true;
}

// Whole, with its offload. False: held.
static bool send_super(struct lanes_worker *worker, struct target to)
{
	uint8_t *parcel = worker->packet;
	parcel_write_head(parcel, true, worker->length, &worker->offload);
	return deliver(worker, to, parcel, PARCEL_SUPER_HEAD_BYTES + worker->length);
}

// Cut into packets. False: held, with what is left.
static bool send_cut(struct lanes_worker *worker, struct target to, struct segment *cut)
{
	static _Thread_local uint8_t parcel[PARCEL_BYTES];
	size_t head = parcel_head_bytes(to.is_super);
	for (size_t room; (room = segment_room(cut)) > 0;) {
		struct segment before = *cut;
		parcel_write_head(parcel, to.is_super, room, &(struct offload){0});
		segment_next(cut, parcel + head);
		if (deliver(worker, to, parcel, head + room))
			continue;
		*cut = before;
		return false;
	}
	return true;
}

// SYNs go with a complete checksum, so that the other end can lower what they announce.
static void complete_syn(struct lanes_worker *worker, uint8_t *bytes, const struct packet *packet)
{
	if (!worker->offload.needs_checksum || worker->offload.kind != OFFLOAD_NONE || packet->protocol != PACKET_TCP ||
	    packet_transport_bytes(bytes, packet) == 0 || (bytes[packet->header_bytes + 13] & 2) == 0 ||
	    worker->length > 2048)
		return;
	uint8_t copy[2048];
	segment_next(&worker->cut, copy);
	memcpy(bytes, copy, worker->length);
	worker->offload = (struct offload){0};
	// Nothing is left to be completed.
	(void)!segment_begin(&worker->cut, bytes, worker->length, &worker->offload);
}

// False: there is no lane, and it has been counted.
static bool find_target(struct target *to)
{
	const struct lanes_peer *peer = to->share->peer;
	if (!find_home(peer, &to->number, &to->home)) {
		counter_add(COUNTER_PACKET_NO_SESSION, 1);
		return false;
	}
	struct lane *lane = to->home == to->share->worker->index ? to->share->current[to->number] : NULL;
	to->is_super = lane ? lane->is_super : atomic_load_explicit(&peer->is_super[to->number], memory_order_relaxed);
	return true;
}

static bool send_held(struct lanes_worker *worker)
{
	struct target to = {.share = worker->held_to, .number = worker->held_for};
	if (!find_target(&to))
		return true;
	bool is_whole = to.is_super && segment_is_worth_it(&worker->offload);
	return is_whole ? send_super(worker, to) : send_cut(worker, to, &worker->cut);
}

// With many peers nothing is ever held.
void lanes_outward_cross(struct lanes_share *share, const uint8_t *bytes, const struct packet *packet,
                         struct segment *cut)
{
	static _Thread_local uint8_t parcel[PARCEL_BYTES];
	struct target to = {.share = share, .number = choose(share, bytes, packet)};
	if (!find_target(&to))
		return;
	if (!to.is_super) {
		(void)send_cut(share->worker, to, cut);
		return;
	}
	parcel_write_head(parcel, true, cut->length, &cut->offload);
	memcpy(parcel + PARCEL_SUPER_HEAD_BYTES, bytes, cut->length);
	(void)deliver(share->worker, to, parcel, PARCEL_SUPER_HEAD_BYTES + cut->length);
}

// Reads one packet and sends it. False: there is none now.
static bool step(struct lanes_worker *worker)
{
	struct lanes *lanes = worker->lanes;
	uint8_t *bytes = worker->packet + PARCEL_SUPER_HEAD_BYTES;
	struct packet packet;
	int result = tun_read(lanes->settings.tun, worker->index, bytes, &worker->length, &worker->offload);
	if (result == TUN_NONE)
		return false;
	if (result < 0) {
		lanes_lose_device(lanes);
		return false;
	}
	if (result == 0)
		segment_settle(bytes, worker->length, &worker->offload);
	// What is no IP packet, or not as it says, stays here.
	if (result != 0 || worker->length > PARCEL_PACKET_BYTES || packet_parse(bytes, worker->length, &packet) != 0 ||
	    segment_begin(&worker->cut, bytes, worker->length, &worker->offload) != 0) {
		counter_add(COUNTER_PACKET_STRANGE, 1);
		return true;
	}
	counter_add(COUNTER_SUPER_OUTWARD, worker->offload.kind != OFFLOAD_NONE);
	complete_syn(worker, bytes, &packet);
	worker->held_to = worker->only ? worker->only : lanes_share_for(worker, bytes, &packet);
	if (!worker->held_to)
		return true;
	worker->held_for = choose(worker->held_to, bytes, &packet);
	worker->is_held = !send_held(worker);
	return true;
}

static void pump(struct lanes_worker *worker)
{
	if (atomic_load_explicit(&worker->lanes->is_gone, memory_order_relaxed)) {
		loop_io_want(worker->io, 0);
		return;
	}
	if (worker->is_held)
		worker->is_held = !send_held(worker);
	for (unsigned i = 0; i < READS_PER_TURN && !worker->is_held; i++)
		if (!step(worker))
			break;
	lanes_outward_flush_unsent(worker);
	loop_io_want(worker->io, worker->is_held ? 0 : LOOP_READ);
}

static void on_device(void *owner, int events)
{
	(void)events;
	pump(owner);
}

void lanes_outward_resume(struct lanes_worker *worker)
{
	if (worker->io && worker->is_held)
		pump(worker);
}

int lanes_outward_open(struct lanes_worker *worker)
{
	struct lanes *lanes = worker->lanes;
	struct tun *tun = lanes->settings.tun;
	worker->inbox.wake.run = on_passed;
	worker->inbox.filling = malloc(LIMIT_LANES_PASSED_BYTES);
	worker->inbox.emptying = malloc(LIMIT_LANES_PASSED_BYTES);
	if (!worker->inbox.filling || !worker->inbox.emptying)
		return -ENOMEM;
	if (worker->index >= tun_queue_count(tun))
		return 0;
	int result = loop_io_open(worker->loop, tun_descriptor(tun, worker->index), on_device, worker, &worker->io);
	if (result == 0)
		loop_io_want(worker->io, LOOP_READ);
	return result;
}

void lanes_outward_close(struct lanes_worker *worker)
{
	loop_io_close(&worker->io);
	worker->is_held = false;
}
