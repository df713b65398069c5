// Shared by packets.c (the session and its life), packets_outward.c and packets_inward.c.
//
// Locks: `opens` before `sends`. Both are taken for slices of packets, not for packets.

#pragma once

#include "flow/packets.h"

#include "core/counter.h"
#include "limits.h"
#include "packet/coalesce.h"
#include "packet/segment.h"

#include <pthread.h>
#include <stdatomic.h>

// One queue of the device, on its loop's thread.
struct packets_queue {
	struct packets *packets;
	struct loop *loop; // NULL: not open
	unsigned index;
	struct loop_io *io;
	struct loop_task wake;
	atomic_bool is_woken; // `wake` is on its way

	bool is_cutting; // `cut` has something left
	struct segment cut;
	// Frames: laid, then sealed. While the queue holds the socket (packets.holder) they belong to the lock `sends`.
	size_t tx_used, tx_sent;
	uint64_t tx_packets, tx_bytes; // in the slice that is laid
	uint8_t super[TUN_PACKET_BYTES];
	uint8_t tx[LIMIT_FRAMES_BYTES];
};

// On the loop of the last queue, all under `opens`.
struct packets_inward {
	struct loop *loop;
	struct loop_io *io;
	struct loop_task refresh;
	bool is_refreshing;
	int fd, next_fd;   // duplicates of the session's socket: the one in `io`, the one to come
	struct ttun *ttun; // the session's, NULL without one
	struct cidr *sources;
	size_t source_count;
	struct coalesce coalesce;
	size_t used;
	uint8_t rx[LIMIT_FRAMES_BYTES];
};

struct packets {
	struct loop *home;
	struct tun *tun;
	packets_fn on_lost;
	void *owner;
	_Atomic uint32_t clamp;
	atomic_bool is_gone; // the device has been deleted

	pthread_mutex_t opens, sends;
	// Under `sends`: the session.
	int fd; // -1: none
	struct ttun *ttun;
	struct packets_queue *holder; // has sealed bytes that the socket did not take yet; nobody else may seal
	bool is_failed;               // the session, or the device
	char failed[128];             // why

	// On the loop of queue 0.
	struct loop_io *io; // for LOOP_WRITE, while there is a holder
	struct loop_timer *renewal;
	struct loop_task settle;
	atomic_bool is_settling;
	uint32_t renew_ms;
	uint64_t late; // the generation after that whose renewal was under way at the last tick; 0: none

	_Atomic uint64_t renew_bytes, key_bytes; // key_bytes: carried under the present keys
	_Atomic uint32_t generation;
	_Atomic uint64_t bytes_outward, bytes_inward, packets_outward, packets_inward;

	unsigned queue_count;
	struct packets_inward inward;
	struct packets_queue queues[];
};

_Static_assert(LIMIT_FRAMES_BYTES >= 2 * TTUN_FRAME_BYTES, "a frame fits beside the part of another");

// ---- packets.c

// The task runs on that loop's thread, soon. From any thread.
void packets_run(struct loop *loop, struct loop_task *task);
// From any thread, without `sends`: the session is to end.
void packets_fail(struct packets *packets, const char *reason);
void packets_lose_device(struct packets *packets);
// From any thread: the loop of queue 0 is to look at `is_failed` and `holder`.
void packets_settle_soon(struct packets *packets);
// With `sends`: after so many bytes the keys have done enough, whatever the clock says.
void packets_note_keys(struct packets *packets, uint64_t bytes);

// ---- packets_outward.c

MUST_USE int packets_outward_open(struct packets_queue *queue);
// With `sends`, or on the loop of queue 0: the queue is to try again.
void packets_outward_wake(struct packets_queue *queue);
// With `sends`: what the holder still has. Wakes everybody when it is out.
void packets_outward_resume(struct packets *packets);

// ---- packets_inward.c

void packets_inward_init(struct packets *packets);
void packets_inward_fini(struct packets *packets);
void packets_inward_open(struct packets *packets, struct loop *loop);
void packets_inward_close(struct packets *packets);
// With `opens`: another session, *fd a duplicate of its socket, which is taken; or none: NULL and -1.
void packets_inward_attach(struct packets *packets, struct ttun *ttun, int fd);
