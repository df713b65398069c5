// For tests of lanes: a device in memory, and a far end by hand, which sees what comes on which data connection and
// says what it likes.

#pragma once

#include "flow/lanes.h"

#include "link/link_rig.h"
#include "packet/packet_rig.h"
#include "packet/parcel.h"

// ---- a device: this program's own edge/tun

#define RIG_QUEUES 2
#define RIG_WRITTEN 512

struct tun {
	unsigned queues;
	int fds[RIG_QUEUES][2]; // the lanes read the first; one message is offload and packet
	bool refuses_super;
	void (*on_empty)(unsigned queue); // once, when a queue is found empty
	unsigned written;                 // packets that the lanes wrote
	struct {
		unsigned queue;
		struct offload offload;
		size_t length;
		uint8_t bytes[2048];
	} * list;
};

unsigned tun_queue_count(const struct tun *tun)
{
	return tun->queues;
}

int tun_descriptor(const struct tun *tun, unsigned queue)
{
	return tun->fds[queue][0];
}

bool tun_joins_tcp(const struct tun *tun)
{
	return !tun->refuses_super;
}

bool tun_joins_udp(const struct tun *tun)
{
	return !tun->refuses_super;
}

int tun_read(struct tun *tun, unsigned queue, uint8_t packet[TUN_PACKET_BYTES], size_t *length, struct offload *offload)
{
	struct iovec pieces[] = {{offload, sizeof *offload}, {packet, TUN_PACKET_BYTES}};
	struct msghdr message = {.msg_iov = pieces, .msg_iovlen = 2};
	ssize_t got = recvmsg(tun->fds[queue][0], &message, MSG_DONTWAIT);
	if (got >= (ssize_t)sizeof *offload) {
		*length = (size_t)got - sizeof *offload;
		return 0;
	}
	void (*on_empty)(unsigned queue) = tun->on_empty;
	tun->on_empty = NULL;
	if (on_empty)
		on_empty(queue);
	return TUN_NONE;
}

int tun_write(struct tun *tun, unsigned queue, const struct offload *offload, const struct iovec *pieces, size_t count)
{
	if (tun->refuses_super && offload->kind != OFFLOAD_NONE)
		return TUN_UNFIT;
	assert_true(tun->written < RIG_WRITTEN);
	size_t length = 0;
	for (size_t i = 0; i < count; i++) {
		size_t room = sizeof tun->list->bytes - (length < sizeof tun->list->bytes ? length : sizeof tun->list->bytes);
		memcpy(tun->list[tun->written].bytes + sizeof tun->list->bytes - room, pieces[i].iov_base,
		       pieces[i].iov_len < room ? pieces[i].iov_len : room);
		length += pieces[i].iov_len;
	}
	tun->list[tun->written].queue = queue;
	tun->list[tun->written].offload = *offload;
	tun->list[tun->written++].length = length;
	return 0;
}

static inline void device_open(struct tun *tun, unsigned queues)
{
	*tun = (struct tun){.queues = queues, .list = calloc(RIG_WRITTEN, sizeof *tun->list)};
	assert_non_null(tun->list);
	for (unsigned i = 0; i < queues; i++)
		assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, tun->fds[i]), 0);
}

static inline void device_close(struct tun *tun)
{
	for (unsigned i = 0; i < tun->queues; i++) {
		close(tun->fds[i][0]);
		close(tun->fds[i][1]);
	}
	free(tun->list);
}

// What the kernel has for that queue. False: it is full.
static inline bool device_give_as(struct tun *tun, unsigned queue, const struct offload *offload, const uint8_t *packet,
                                  size_t length)
{
	struct iovec pieces[] = {{(void *)offload, sizeof *offload}, {(void *)packet, length}};
	struct msghdr message = {.msg_iov = pieces, .msg_iovlen = 2};
	return sendmsg(tun->fds[queue][1], &message, MSG_DONTWAIT | MSG_NOSIGNAL) > 0;
}

static inline bool device_give(struct tun *tun, unsigned queue, const uint8_t *packet, size_t length)
{
	return device_give_as(tun, queue, &(struct offload){0}, packet, length);
}

// ---- a far end

#define FAR_LANES 8

// A data connection as the far end has it. What came waits in `bytes`, of which `at` have been looked at.
struct far {
	struct stream *stream;
	unsigned number; // from 0
	bool is_confirmed, is_deaf, is_ended, is_broken;
	size_t at, used;
	uint8_t *bytes;
};

#define FAR_BYTES (4 << 20)
#define FARS 64
static struct far fars[FARS];
static unsigned far_count;
static bool far_decides_later; // headers are not answered until far_confirm

static inline void far_listen(struct far *far)
{
	size_t got;
	int result = 0;
	while (!far->is_deaf && !far->is_ended && far->is_confirmed &&
	       (result = stream_recv(far->stream, far->bytes + far->used, FAR_BYTES - far->used, &got)) == 0)
		far->used += got;
	far->is_ended = far->is_ended || result == STREAM_END;
	far->is_broken = far->is_broken || stream_is_broken(far->stream);
}

static inline void far_on_ready(void *owner, int events)
{
	(void)events;
	far_listen(owner);
}

static const struct stream_ops far_ops = {.on_ready = far_on_ready};

static inline void far_confirm(struct far *far)
{
	assert_int_equal(stream_confirm(far->stream), 0);
	far->is_confirmed = true;
	stream_want_read(far->stream, true);
	far_listen(far);
}

static inline void far_on_header(void *owner, struct stream *stream, const struct header *header)
{
	(void)owner;
	assert_int_equal(header->kind, HEADER_PACKETS);
	assert_true(far_count < FARS && header->port >= 1 && header->port <= FAR_LANES);
	struct far *far = &fars[far_count++];
	*far = (struct far){.stream = stream, .number = header->port - 1u, .bytes = malloc(FAR_BYTES)};
	assert_non_null(far->bytes);
	stream_own(stream, &far_ops, far);
	if (!far_decides_later)
		far_confirm(far);
}

// To be deaf, or to listen again.
static inline void far_set_deaf(struct far *far, bool is_deaf)
{
	far->is_deaf = is_deaf;
	stream_want_read(far->stream, !is_deaf);
	far_listen(far);
}

// The next packet that has come on that data connection. False: none is complete.
static inline bool far_next(struct far *far, bool is_super, struct parcel *parcel)
{
	int result = parcel_read(far->bytes + far->at, far->used - far->at, is_super, parcel);
	assert_int_not_equal(result, PARCEL_BAD);
	if (result != 0)
		return false;
	far->at += parcel->used;
	return true;
}

static inline void far_say(struct far *far, bool is_super, const struct offload *offload, const uint8_t *packet,
                           size_t length)
{
	static uint8_t parcel[PARCEL_BYTES];
	size_t head = parcel_head_bytes(is_super);
	parcel_write_head(parcel, is_super, length, offload);
	memcpy(parcel + head, packet, length);
	assert_true(head + length <= LIMIT_UNIT_BYTES && stream_has_room(far->stream));
	assert_int_equal(stream_send(far->stream, parcel, head + length), 0);
}

static inline void far_fini(void)
{
	for (unsigned i = 0; i < far_count; i++) {
		stream_close(&fars[i].stream);
		free(fars[i].bytes);
	}
	far_count = 0;
	far_decides_later = false;
}
