// From the session's socket to the device, on the loop of the last queue.
//
// `rx` is filled by one receive, all whole frames in it are opened in place, joined by `coalesce`, written to the
// device, and the part of a frame that is left moves to the front. The socket is polled through a duplicate of its own,
// so that either thread can let go of it by itself.

#include "flow/packets_internal.h"

#include "core/log.h"
#include "packet/mss.h"
#include "packet/packet.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

// ---- to the device

// The kernel sends the answers of a flow to the queue into which its packets were written. Those of a device with two
// queues go to the first, so that each direction has a thread; with more they are spread over all but the last.
static unsigned choose_queue(const struct packets *packets, const struct iovec *pieces)
{
	const uint8_t *ip = pieces[0].iov_base;
	unsigned spread = packets->queue_count - 1;
	uint32_t sum = 0;
	if (spread < 2)
		return 0;
	size_t from = ip[0] >> 4 == 4 ? 12 : 8, to = ip[0] >> 4 == 4 ? 24 : 44;
	for (size_t i = from; i < to && i + 4 <= pieces[0].iov_len; i += 4)
		sum = sum * 31 + packet_read32(ip + i);
	return (sum ^ sum >> 16) % spread;
}

static void on_packet(void *owner, const struct offload *offload, const struct iovec *pieces, size_t count)
{
	struct packets *packets = owner;
	bool is_super = offload->kind != OFFLOAD_NONE, is_udp = offload->kind == OFFLOAD_UDP;
	int result = tun_write(packets->tun, choose_queue(packets, pieces), offload, pieces, count);
	counter_add(COUNTER_SUPER_INWARD, is_super);
	if (result == 0)
		return;
	counter_add(COUNTER_PACKET_REFUSED, 1);
	if (result < 0)
		packets_lose_device(packets);
	if (!is_super || result != TUN_UNFIT)
		return;
	// What a device agreed to and then never takes: its packets go one by one from now on.
	*(is_udp ? &packets->inward.coalesce.joins_udp : &packets->inward.coalesce.joins_tcp) = false;
	log_warn("packets", "%s does not take joined %s packets; they are no longer joined", tun_name(packets->tun),
	         is_udp ? "UDP" : "TCP");
}

// ---- what a frame holds

static bool is_syn(const uint8_t *bytes, const struct packet *packet)
{
	return packet->protocol == PACKET_TCP && packet_transport_bytes(bytes, packet) > 0 &&
	       (bytes[packet->header_bytes + 13] & 2) != 0;
}

static bool is_source_allowed(const struct packets_inward *inward, const uint8_t *bytes)
{
	struct sockaddr_in four = {.sin_family = AF_INET};
	struct sockaddr_in6 six = {.sin6_family = AF_INET6};
	bool is_four = bytes[0] >> 4 == 4;
	memcpy(&four.sin_addr, bytes + 12, sizeof four.sin_addr);
	if (!is_four)
		memcpy(&six.sin6_addr, bytes + 8, sizeof six.sin6_addr);
	return cidr_list_allows(inward->sources, inward->source_count, is_four ? (void *)&four : (void *)&six);
}

// Hostile: whoever holds the key may send anything in a frame. What is no IP packet is left out and counted; it does
// not end the session.
static void take_packet(struct packets *packets, const struct ttun_packet *opened)
{
	uint32_t clamp = atomic_load_explicit(&packets->clamp, memory_order_relaxed);
	struct packet parsed;
	if (packet_parse(opened->bytes, opened->length, &parsed) != 0) {
		counter_add(COUNTER_PACKET_MALFORMED, 1);
		return;
	}
	if (packets->inward.source_count > 0 && !is_source_allowed(&packets->inward, opened->bytes)) {
		counter_add(COUNTER_PACKET_SOURCE, 1);
		return;
	}
	if (clamp && is_syn(opened->bytes, &parsed))
		mss_clamp(opened->bytes, opened->length, clamp);
	coalesce_add(&packets->inward.coalesce, opened->bytes, opened->length);
}

// ---- from the socket, with `opens`

static int hear_control(struct packets *packets, const struct ttun_packet *opened)
{
	pthread_mutex_lock(&packets->sends);
	int result = ttun_hear_control(packets->ttun, opened);
	packets_note_keys(packets, 0);
	packets_outward_wake(&packets->queues[0]); // which says what there is to say
	pthread_mutex_unlock(&packets->sends);
	return result;
}

static void note_opened(struct packets *packets, uint64_t count, uint64_t bytes)
{
	counter_add(COUNTER_PACKETS_INWARD, count);
	counter_add(COUNTER_BYTES_INWARD, bytes);
	atomic_fetch_add_explicit(&packets->packets_inward, count, memory_order_relaxed);
	atomic_fetch_add_explicit(&packets->bytes_inward, bytes, memory_order_relaxed);
	pthread_mutex_lock(&packets->sends);
	packets_note_keys(packets, bytes);
	if (ttun_has_control(packets->ttun))
		packets_outward_wake(&packets->queues[0]);
	pthread_mutex_unlock(&packets->sends);
}

// 0, or how it failed.
static int open_frames(struct packets *packets)
{
	struct packets_inward *inward = &packets->inward;
	struct ttun_packet opened;
	size_t at = 0;
	uint64_t count = 0, bytes = 0;
	int result = 0;
	while (result == 0 && !atomic_load_explicit(&packets->is_gone, memory_order_relaxed)) {
		result = ttun_open(inward->ttun, inward->rx + at, inward->used - at, &opened);
		if (result != 0 && result != TTUN_CONTROL)
			break;
		at += opened.used;
		if (result == TTUN_CONTROL) {
			result = hear_control(packets, &opened);
			continue;
		}
		take_packet(packets, &opened);
		bytes += opened.length;
		count++;
	}
	coalesce_flush(&inward->coalesce);
	memmove(inward->rx, inward->rx + at, inward->used - at);
	inward->used -= at;
	note_opened(packets, count, bytes);
	return result == TTUN_MORE ? 0 : result;
}

// 1: there may be more. 0: none now. Otherwise the session has failed, `reason` says why.
static int receive(struct packets *packets, const char **reason)
{
	struct packets_inward *inward = &packets->inward;
	size_t room = sizeof inward->rx - inward->used;
	// Syscalls: recvfrom
	ssize_t got = recv(inward->fd, inward->rx + inward->used, room, 0);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (got <= 0) {
		*reason = got == 0 ? "the peer has closed the connection" : outcome_text(-errno);
		return -ECONNRESET;
	}
	inward->used += (size_t)got;
	int result = open_frames(packets);
	if (result != 0) {
		*reason = result == TTUN_REFUSED ? "what arrived is damaged or forged" : outcome_text(result);
		return -EBADMSG;
	}
	return (size_t)got == room;
}

static void on_socket(void *owner, int events)
{
	struct packets *packets = owner;
	struct packets_inward *inward = &packets->inward;
	int result = 1;
	(void)events;
	for (unsigned i = 0; i < LIMIT_FRAMES_PER_TURN && result == 1; i++) {
		const char *reason = NULL;
		pthread_mutex_lock(&packets->opens);
		// Another session has come, or there is none any more: refresh() is on its way.
		result = inward->ttun && !inward->is_refreshing ? receive(packets, &reason) : 0;
		// Before the lock is given back: the next session must not fail for this one.
		if (reason)
			packets_fail(packets, reason);
		pthread_mutex_unlock(&packets->opens);
	}
	if (result < 0 || atomic_load(&packets->is_gone))
		loop_io_want(inward->io, 0);
}

// ---- sessions come and go

// On the inward loop: lets go of an earlier socket and takes the one there is now.
static void refresh(struct loop_task *task)
{
	struct packets_inward *inward = CONTAINER_OF(task, struct packets_inward, refresh);
	struct packets *packets = CONTAINER_OF(inward, struct packets, inward);
	int result = 0;
	pthread_mutex_lock(&packets->opens);
	inward->is_refreshing = false;
	loop_io_close(&inward->io);
	if (inward->fd >= 0)
		close(inward->fd);
	inward->fd = inward->next_fd;
	inward->next_fd = -1;
	if (inward->fd >= 0 && inward->loop)
		result = loop_io_open(inward->loop, inward->fd, on_socket, packets, &inward->io);
	if (result < 0)
		packets_fail(packets, outcome_text(result));
	pthread_mutex_unlock(&packets->opens);
	if (inward->io)
		loop_io_want(inward->io, LOOP_READ);
}

void packets_inward_attach(struct packets *packets, struct ttun *ttun, int fd)
{
	struct packets_inward *inward = &packets->inward;
	if (inward->next_fd >= 0)
		close(inward->next_fd);
	inward->next_fd = fd;
	inward->ttun = ttun;
	inward->used = 0;
	if (!inward->is_refreshing && inward->loop)
		packets_run(inward->loop, &inward->refresh);
	inward->is_refreshing = inward->loop != NULL;
}

void packets_inward_open(struct packets *packets, struct loop *loop)
{
	packets->inward.loop = loop;
}

void packets_inward_close(struct packets *packets)
{
	struct packets_inward *inward = &packets->inward;
	pthread_mutex_lock(&packets->opens);
	inward->loop = NULL;
	inward->ttun = NULL;
	loop_io_close(&inward->io);
	for (int i = 0; i < 2; i++) {
		int *fd = i == 0 ? &inward->fd : &inward->next_fd;
		if (*fd >= 0)
			close(*fd);
		*fd = -1;
	}
	pthread_mutex_unlock(&packets->opens);
}

void packets_inward_init(struct packets *packets)
{
	struct packets_inward *inward = &packets->inward;
	inward->fd = inward->next_fd = -1;
	inward->refresh.run = refresh;
	coalesce_init(&inward->coalesce, on_packet, packets);
	inward->coalesce.joins_tcp = tun_joins_tcp(packets->tun);
	inward->coalesce.joins_udp = tun_joins_udp(packets->tun);
}

void packets_inward_fini(struct packets *packets)
{
	free(packets->inward.sources);
	packets->inward.sources = NULL;
}
