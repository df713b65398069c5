// Theory of operation.
//
// Outward: the device gives a packet or super-packet, `cut` walks over it; each packet that comes out is written where
// its frame will be in `tx`, sealed in place, and `tx` is sent when the device has nothing more or `tx` is full. What
// the socket does not take stays in `tx`, and the device is not read meanwhile; `cut` keeps its place.
//
// Inward: `rx` is filled by one receive, all whole frames in it are opened in place, joined by `coalesce`, written to
// the device, and the part of a frame that is left moves to the front.
//
// Nothing here allocates after packets_new.

#include "flow/packets.h"

#include "core/counter.h"
#include "core/log.h"
#include "limits.h"
#include "net/socket.h"
#include "packet/coalesce.h"
#include "packet/icmp.h"
#include "packet/mss.h"
#include "packet/packet.h"
#include "packet/segment.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct packets {
	struct loop *loop;
	struct tun *tun;
	struct loop_io *tun_io;
	packets_fn on_lost;
	void *owner;
	uint32_t clamp;

	int fd; // -1: no session
	struct loop_io *io;
	struct ttun *ttun;

	bool is_gone;    // the device has been deleted
	bool is_cutting; // `cut` has something left, or is to be asked
	struct segment cut;
	size_t tx_used, tx_sent, rx_used;
	struct coalesce coalesce;
	const char *failed; // the session is to end: why
	struct loop_timer *renewal;
	uint32_t renew_ms;
	uint64_t late;      // the generation after that whose renewal was under way at the last tick; 0: none
	uint64_t key_bytes; // carried under the present keys
	_Atomic uint32_t generation;
	_Atomic uint64_t bytes_outward, bytes_inward, packets_outward, packets_inward;

	uint8_t super[TUN_PACKET_BYTES];
	uint8_t tx[LIMIT_FRAMES_BYTES];
	uint8_t rx[LIMIT_FRAMES_BYTES];
};

_Static_assert(LIMIT_FRAMES_BYTES >= 2 * TTUN_FRAME_BYTES, "a frame fits beside the part of another");

static void end_session(struct packets *packets)
{
	if (packets->io)
		loop_io_close(&packets->io);
	if (packets->renewal)
		loop_timer_disarm(packets->renewal);
	socket_close(&packets->fd);
	ttun_free(&packets->ttun);
	packets->tx_used = packets->tx_sent = packets->rx_used = 0;
	packets->is_cutting = false;
	packets->failed = NULL;
}

static void add(_Atomic uint64_t *value, uint64_t amount)
{
	atomic_store_explicit(value, atomic_load_explicit(value, memory_order_relaxed) + amount, memory_order_relaxed);
}

// ---- outward

static void want(struct packets *packets)
{
	bool is_full = packets->tx_sent < packets->tx_used || (packets->is_cutting && segment_room(&packets->cut) > 0);
	loop_io_want(packets->tun_io, is_full || packets->is_gone ? 0 : LOOP_READ);
	if (packets->io)
		loop_io_want(packets->io, LOOP_READ | (is_full ? LOOP_WRITE : 0));
}

static void lose_device(struct packets *packets)
{
	packets->failed = "the device is gone";
	packets->is_gone = true;
}

static void drop_from_device(struct packets *packets)
{
	struct offload offload;
	size_t length = 0, count = 0;
	int result = 0;
	for (unsigned i = 0; i < LIMIT_FRAMES_PER_TURN * 16 && result != TUN_NONE && result >= 0; i++) {
		result = tun_read(packets->tun, packets->super, &length, &offload);
		count += result == 0;
	}
	counter_add(COUNTER_PACKET_NO_SESSION, count);
	if (result < 0)
		lose_device(packets);
}

// Our own limit on the MTU keeps such packets away, but an administrator may raise that of the device.
static void refuse_too_big(struct packets *packets, size_t length)
{
	uint8_t answer[ICMP_MOST_BYTES];
	struct iovec piece = {answer, icmp_too_big(packets->super, length, TTUN_PACKET_BYTES, answer)};
	counter_add(COUNTER_PACKET_TOO_BIG, 1);
	if (piece.iov_len > 0)
		(void)!tun_write(packets->tun, &(struct offload){0}, &piece, 1);
}

// Hostile: who may write to the device past the kernel's IP could else speak to the peer as we do when keys are
// renewed.
static bool is_ip(const uint8_t *bytes)
{
	return bytes[0] >> 4 == 4 || bytes[0] >> 4 == 6;
}

// The next packet to cut. False: the device has none now.
static bool next_super(struct packets *packets)
{
	for (unsigned i = 0; i < LIMIT_FRAMES_PER_TURN * 16; i++) {
		struct offload offload;
		size_t length = 0;
		int result = tun_read(packets->tun, packets->super, &length, &offload);
		if (result == TUN_NONE)
			return false;
		if (result < 0) {
			lose_device(packets);
			return false;
		}
		if (result == TUN_STRANGE || !is_ip(packets->super) ||
		    segment_begin(&packets->cut, packets->super, length, &offload) != 0) {
			counter_add(COUNTER_PACKET_STRANGE, 1);
			continue;
		}
		if (segment_room(&packets->cut) > TTUN_PACKET_BYTES) {
			refuse_too_big(packets, length);
			continue;
		}
		counter_add(COUNTER_SUPER_OUTWARD, offload.kind != OFFLOAD_NONE);
		return true;
	}
	return false;
}

// Fills tx. True: the device may have more.
static bool fill(struct packets *packets)
{
	uint64_t count = 0, bytes = 0;
	bool is_more = true;
	if (packets->tx_used + TTUN_SPEAK_BYTES <= sizeof packets->tx)
		packets->tx_used += ttun_speak_control(packets->ttun, packets->tx + packets->tx_used);
	while (is_more) {
		size_t room = packets->is_cutting ? segment_room(&packets->cut) : 0;
		if (room == 0) {
			packets->is_cutting = is_more = next_super(packets);
			continue;
		}
		if (packets->tx_used + room + TTUN_OVERHEAD_BYTES > sizeof packets->tx)
			break;
		uint8_t *frame = packets->tx + packets->tx_used, *packet = frame + TTUN_LENGTH_BYTES;
		segment_next(&packets->cut, packet);
		if (packets->clamp && packets->cut.offload.kind == OFFLOAD_NONE)
			mss_clamp(packet, room, packets->clamp);
		ttun_seal(packets->ttun, frame, room);
		packets->tx_used += room + TTUN_OVERHEAD_BYTES;
		count++;
		bytes += room;
	}
	counter_add(COUNTER_PACKETS_OUTWARD, count);
	counter_add(COUNTER_BYTES_OUTWARD, bytes);
	add(&packets->packets_outward, count);
	add(&packets->bytes_outward, bytes);
	return is_more;
}

// Sends tx. False: the socket takes no more now, or the session has failed.
static bool flush(struct packets *packets)
{
	while (packets->tx_sent < packets->tx_used) {
		// Syscalls: sendto
		ssize_t sent = send(packets->fd, packets->tx + packets->tx_sent, packets->tx_used - packets->tx_sent,
		                    MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0) {
			if (errno != EAGAIN)
				packets->failed = outcome_text(-errno);
			return false;
		}
		packets->tx_sent += (size_t)sent;
	}
	packets->tx_used = packets->tx_sent = 0;
	return true;
}

static void pump_outward(struct packets *packets)
{
	bool is_more = true;
	for (unsigned i = 0; i < LIMIT_FRAMES_PER_TURN && is_more && flush(packets) && !packets->failed; i++)
		is_more = fill(packets);
	if (!packets->failed)
		(void)flush(packets);
}

// ---- inward

static void on_packet(void *owner, const struct offload *offload, const struct iovec *pieces, size_t count)
{
	struct packets *packets = owner;
	bool is_super = offload->kind != OFFLOAD_NONE;
	int result = tun_write(packets->tun, offload, pieces, count);
	counter_add(COUNTER_SUPER_INWARD, is_super);
	if (result == 0)
		return;
	counter_add(COUNTER_PACKET_REFUSED, 1);
	if (result < 0)
		lose_device(packets);
	if (!is_super || result < 0)
		return;
	// What a device agreed to and then does not take: its packets go one by one from now on.
	bool is_udp = offload->kind == OFFLOAD_UDP;
	*(is_udp ? &packets->coalesce.joins_udp : &packets->coalesce.joins_tcp) = false;
	log_warn("packets", "%s does not take joined %s packets; they are no longer joined", tun_name(packets->tun),
	         is_udp ? "UDP" : "TCP");
}

static bool is_syn(const uint8_t *bytes, const struct packet *packet)
{
	return packet->protocol == PACKET_TCP && packet_transport_bytes(bytes, packet) > 0 &&
	       (bytes[packet->header_bytes + 13] & 2) != 0;
}

// Hostile: whoever holds the key may send anything in a frame. What is no IP packet is left out and counted; it does
// not end the session.
static void take_packet(struct packets *packets, const struct ttun_packet *opened)
{
	struct packet parsed;
	if (packet_parse(opened->bytes, opened->length, &parsed) != 0) {
		counter_add(COUNTER_PACKET_MALFORMED, 1);
		return;
	}
	if (packets->clamp && is_syn(opened->bytes, &parsed))
		mss_clamp(opened->bytes, opened->length, packets->clamp);
	coalesce_add(&packets->coalesce, opened->bytes, opened->length);
}

// After so many bytes the keys have done enough, whatever the clock says.
static void note_keys(struct packets *packets, uint64_t bytes)
{
	uint32_t generation = ttun_generation(packets->ttun);
	packets->key_bytes += bytes;
	if (generation != atomic_load_explicit(&packets->generation, memory_order_relaxed)) {
		atomic_store(&packets->generation, generation);
		packets->key_bytes = 0;
	}
	if (packets->key_bytes > LIMIT_TLS_KEY_BYTES && packets->renew_ms > 0)
		(void)ttun_renew(packets->ttun);
}

static void open_frames(struct packets *packets)
{
	struct ttun_packet opened;
	size_t at = 0;
	uint64_t count = 0, bytes = 0;
	int result = 0;
	while (!packets->failed) {
		result = ttun_open(packets->ttun, packets->rx + at, packets->rx_used - at, &opened);
		if (result != 0 && result != TTUN_CONTROL)
			break;
		at += opened.used;
		if (result == TTUN_CONTROL)
			continue;
		take_packet(packets, &opened);
		bytes += opened.length;
		count++;
	}
	coalesce_flush(&packets->coalesce);
	memmove(packets->rx, packets->rx + at, packets->rx_used - at);
	packets->rx_used -= at;
	counter_add(COUNTER_PACKETS_INWARD, count);
	counter_add(COUNTER_BYTES_INWARD, bytes);
	add(&packets->packets_inward, count);
	add(&packets->bytes_inward, bytes);
	if (result == TTUN_REFUSED)
		packets->failed = "what arrived is damaged or forged";
	if (result < 0)
		packets->failed = outcome_text(result);
	note_keys(packets, bytes);
}

static void pump_inward(struct packets *packets)
{
	for (unsigned i = 0; i < LIMIT_FRAMES_PER_TURN && !packets->failed; i++) {
		size_t room = sizeof packets->rx - packets->rx_used;
		// Syscalls: recvfrom
		ssize_t got = recv(packets->fd, packets->rx + packets->rx_used, room, 0);
		if (got == 0)
			packets->failed = "the peer has closed the connection";
		if (got < 0 && errno != EAGAIN && errno != EINTR)
			packets->failed = outcome_text(-errno);
		if (got <= 0)
			return;
		packets->rx_used += (size_t)got;
		open_frames(packets);
		if ((size_t)got < room)
			return;
	}
}

// ---- the loop

static void settle(struct packets *packets)
{
	if (!packets->failed) {
		want(packets);
		return;
	}
	const char *reason = packets->failed;
	end_session(packets);
	want(packets);
	packets->on_lost(packets->owner, reason);
}

static void on_device(void *owner, int events)
{
	struct packets *packets = owner;
	(void)events;
	if (packets->fd < 0)
		drop_from_device(packets);
	else
		pump_outward(packets);
	settle(packets);
}

static void on_socket(void *owner, int events)
{
	struct packets *packets = owner;
	if (events & LOOP_READ)
		pump_inward(packets);
	bool has_control = !packets->failed && ttun_is_renewing(packets->ttun);
	if (!packets->failed && ((events & LOOP_WRITE) || has_control))
		pump_outward(packets);
	settle(packets);
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
	uint64_t next = (uint64_t)ttun_generation(packets->ttun) + 1;
	bool is_begun = ttun_renew(packets->ttun);
	if (!is_begun && ttun_is_renewing(packets->ttun) && packets->late == next)
		packets->failed = "the peer does not renew the keys";
	packets->late = ttun_is_renewing(packets->ttun) ? next : 0;
	if (is_begun)
		pump_outward(packets);
	settle(packets);
}

// ---- life

int packets_new(struct loop *loop, struct tun *tun, packets_fn on_lost, void *owner, struct packets **packets)
{
	struct packets *made = calloc(1, sizeof *made);
	if (!made)
		return -ENOMEM;
	made->loop = loop;
	made->tun = tun;
	made->on_lost = on_lost;
	made->owner = owner;
	made->fd = -1;
	coalesce_init(&made->coalesce, on_packet, made);
	made->coalesce.joins_tcp = tun_joins_tcp(tun);
	made->coalesce.joins_udp = tun_joins_udp(tun);
	int result = loop_timer_open(loop, on_renewal, made, &made->renewal);
	if (result == 0)
		result = loop_io_open(loop, tun_descriptor(tun), on_device, made, &made->tun_io);
	if (result < 0) {
		if (made->renewal)
			loop_timer_close(&made->renewal);
		free(made);
		return result;
	}
	want(made);
	*packets = made;
	return 0;
}

void packets_free(struct packets **packets)
{
	if (!*packets)
		return;
	end_session(*packets);
	loop_io_close(&(*packets)->tun_io);
	loop_timer_close(&(*packets)->renewal);
	free(*packets);
	*packets = NULL;
}

void packets_set_renewal(struct packets *packets, uint32_t every_ms)
{
	packets->renew_ms = every_ms;
	if (packets->ttun && ttun_is_hybrid(packets->ttun))
		arm_renewal(packets);
}

void packets_set_clamp(struct packets *packets, uint32_t mtu)
{
	packets->clamp = mtu;
}

int packets_attach(struct packets *packets, int *fd, struct ttun **ttun)
{
	struct loop_io *io = NULL;
	int unsent = LIMIT_FRAMES_UNSENT_BYTES;
	int result = loop_io_open(packets->loop, *fd, on_socket, packets, &io);
	if (result < 0)
		return result;
	end_session(packets);
	(void)setsockopt(*fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof unsent);
	packets->io = io;
	packets->fd = *fd;
	packets->ttun = *ttun;
	*fd = -1;
	*ttun = NULL;
	packets->key_bytes = packets->late = 0;
	atomic_store(&packets->generation, 0);
	if (ttun_is_hybrid(packets->ttun))
		arm_renewal(packets);
	atomic_store(&packets->bytes_outward, 0);
	atomic_store(&packets->bytes_inward, 0);
	atomic_store(&packets->packets_outward, 0);
	atomic_store(&packets->packets_inward, 0);
	want(packets);
	return 0;
}

void packets_detach(struct packets *packets)
{
	end_session(packets);
	want(packets);
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
