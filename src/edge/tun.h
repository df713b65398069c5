// A TUN device: IP packets out of and into the kernel, as super-packets where the kernel can (checksum, TCP and UDP
// segmentation left to us on reading, to the kernel on writing). The only door to /dev/net/tun. Linux only.
//
// A device made here lives as long as it is open: when the process ends, however it ends, the device goes, and with it
// its addresses and routes.
//
// Several queues let several threads read and write at once, each its own; packets of one flow stay in one queue. Which
// one: that into which the last packet of the flow was written, or the kernel's choice. Offloads are the device's, the
// same for all queues.

#pragma once

#include "core/outcome.h"
#include "packet/offload.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define TUN_NAME_BYTES 16 // IFNAMSIZ
// What tun_read may give at most.
#define TUN_PACKET_BYTES 65536
// The most pieces of a packet that tun_write takes.
#define TUN_PIECES 256
#define TUN_QUEUES 256 // the kernel's own limit

struct tun;

struct tun_settings {
	const char *name; // a name, or a pattern such as "ttun%d": the first number that is free
	bool offload;     // false: one packet at a time, with its checksum
	unsigned queues;  // 0: one
};

// Non-blocking. Negative: -EBUSY somebody uses it, -EPERM no right, -ENODEV or -ENOENT no TUN in this kernel.
// A kernel, or a device that somebody made beforehand, with room for fewer queues gives fewer, and at least one.
MUST_USE int tun_open(const struct tun_settings *settings, struct tun **tun);
void tun_close(struct tun **tun);

const char *tun_name(const struct tun *tun);
unsigned tun_queue_count(const struct tun *tun);
int tun_descriptor(const struct tun *tun, unsigned queue);
// A queue at rest gets nothing from the kernel, which gives it to the others, and must not be read, written or polled
// for events. From any thread. Negative: the kernel refuses; nothing has changed.
MUST_USE int tun_queue_rest(struct tun *tun, unsigned queue, bool rests);
// What the kernel agreed to take and to give: super-packets of TCP, of UDP. An older kernel knows fewer.
bool tun_joins_tcp(const struct tun *tun);
bool tun_joins_udp(const struct tun *tun);

// One packet or super-packet. May be called for different queues from different threads. TUN_NONE: nothing there.
// TUN_STRANGE: read, but of a kind that was not asked for; to be left out. Negative: the device is gone.
enum { TUN_NONE = 1, TUN_STRANGE = 2, TUN_REFUSED = 3, TUN_UNFIT = 4 };
MUST_USE int tun_read(struct tun *tun, unsigned queue, uint8_t packet[TUN_PACKET_BYTES], size_t *length,
                      struct offload *offload);
// Gives the kernel one packet. TUN_REFUSED: it does not take this one now (the device is down, memory is short).
// TUN_UNFIT: it never takes such a one: what it says of itself is wrong, or not supported. Negative: the device is
// gone.
MUST_USE int tun_write(struct tun *tun, unsigned queue, const struct offload *offload, const struct iovec *pieces,
                       size_t count);
