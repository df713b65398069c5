// From a lane to the device: `rx` is filled by one read of the stream, all whole parcels in it are written to the
// device, and the part of one that is left moves to the front.

#include "flow/lanes_internal.h"

#include "packet/mss.h"
#include "packet/packet.h"

#include <string.h>

// ---- to the device

static int write_device(struct lanes_worker *worker, const struct offload *offload, const struct iovec *pieces,
                        size_t count)
{
	struct tun *tun = worker->lanes->settings.tun;
	int result = tun_write(tun, worker->index % tun_queue_count(tun), offload, pieces, count);
	if (result < 0)
		lanes_lose_device(worker->lanes);
	return result;
}

static void on_joined(void *owner, const struct offload *offload, const struct iovec *pieces, size_t count)
{
	counter_add(COUNTER_SUPER_INWARD, offload->kind != OFFLOAD_NONE);
	if (write_device(owner, offload, pieces, count) != 0)
		counter_add(COUNTER_PACKET_REFUSED, 1);
}

// A super-packet that this kernel does not take: its packets one by one.
static void write_cut(struct lanes_worker *worker, struct segment *cut)
{
	static _Thread_local uint8_t packet[PARCEL_PACKET_BYTES];
	for (size_t room; (room = segment_room(cut)) > 0;) {
		struct iovec piece = {packet, room};
		segment_next(cut, packet);
		if (write_device(worker, &(struct offload){0}, &piece, 1) != 0)
			counter_add(COUNTER_PACKET_REFUSED, 1);
	}
}

static void write_super(struct lanes_worker *worker, const struct parcel *parcel, struct segment *cut)
{
	if (parcel->offload.kind == OFFLOAD_NONE) {
		coalesce_add_partial(&worker->coalesce, parcel->packet, parcel->length, &parcel->offload);
		return;
	}
	// What was joined so far comes before it.
	coalesce_flush(&worker->coalesce);
	struct iovec piece = {(uint8_t *)parcel->packet, parcel->length};
	int result = write_device(worker, &parcel->offload, &piece, 1);
	counter_add(COUNTER_SUPER_INWARD, 1);
	if (result == TUN_UNFIT)
		write_cut(worker, cut);
	else if (result != 0)
		counter_add(COUNTER_PACKET_REFUSED, 1);
}

// ---- what a parcel holds

static bool is_syn(const uint8_t *bytes, const struct packet *packet)
{
	return packet->protocol == PACKET_TCP && packet_transport_bytes(bytes, packet) > 0 &&
	       (bytes[packet->header_bytes + 13] & 2) != 0;
}

// Hostile: what is no IP packet, or not what is said beside it, is left out and counted; it does not end the lane. That
// is found out first: what is judged afterwards does not change any more.
static void take(struct lane *lane, uint8_t *bytes, const struct parcel *parcel)
{
	struct lanes_worker *worker = lane->worker;
	uint32_t clamp = atomic_load_explicit(&worker->lanes->clamp, memory_order_relaxed);
	struct packet packet;
	struct segment cut;
	if (packet_parse(bytes, parcel->length, &packet) != 0 ||
	    segment_begin(&cut, bytes, parcel->length, &parcel->offload) != 0 || !segment_is_worth_it(&parcel->offload)) {
		counter_add(COUNTER_PACKET_MALFORMED, 1);
		return;
	}
	struct lanes_share *to = NULL;
	if (!worker->only && !lanes_may_enter(lane, bytes, &packet, &to))
		return;
	// The sender has completed the checksum of every SYN.
	if (clamp && !parcel->offload.needs_checksum && is_syn(bytes, &packet))
		mss_clamp(bytes, parcel->length, clamp);
	if (to)
		lanes_outward_cross(to, bytes, &packet, &cut);
	else if (lane->is_super && (parcel->offload.kind != OFFLOAD_NONE || parcel->offload.needs_checksum))
		write_super(worker, parcel, &cut);
	else
		coalesce_add(&worker->coalesce, bytes, parcel->length);
}

static bool take_all(struct lane *lane)
{
	struct parcel parcel;
	size_t at = 0;
	uint64_t count = 0;
	int result;
	while ((result = parcel_read(lane->rx + at, lane->rx_used - at, lane->is_super, &parcel)) == 0) {
		take(lane, lane->rx + at + parcel_head_bytes(lane->is_super), &parcel);
		at += parcel.used;
		count++;
	}
	coalesce_flush(&lane->worker->coalesce);
	lanes_outward_flush_unsent(lane->worker); // what went to other peers
	memmove(lane->rx, lane->rx + at, lane->rx_used - at);
	lane->rx_used -= at;
	counter_add(COUNTER_PACKETS_INWARD, count);
	return result == PARCEL_MORE;
}

bool lanes_inward_read(struct lane *lane)
{
	while (lane->inward_until_us == 0) { // the connection ends the turn
		size_t got = 0;
		int result = stream_recv(lane->stream, lane->rx + lane->rx_used, LIMIT_FRAMES_BYTES - lane->rx_used, &got);
		lane->is_ended = lane->is_ended || result == STREAM_END;
		if (result != 0)
			return true;
		lane->rx_used += got;
		if (!take_all(lane))
			return false;
		if (atomic_load_explicit(&lane->peer->is_limited, memory_order_relaxed))
			lanes_pace_received(lane, got);
	}
	return true;
}

void lanes_inward_init(struct lanes_worker *worker)
{
	coalesce_init(&worker->coalesce, on_joined, worker);
	worker->coalesce.joins_tcp = tun_joins_tcp(worker->lanes->settings.tun);
	worker->coalesce.joins_udp = tun_joins_udp(worker->lanes->settings.tun);
}
