#include "edge/tun.h"

#include "core/log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

// Newer than some kernels' headers; the running kernel says whether it knows them.
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif
#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

_Static_assert(TUN_NAME_BYTES == IFNAMSIZ, "the kernel's length of a name");

struct tun {
	bool joins_tcp, joins_udp;
	char name[TUN_NAME_BYTES];
	unsigned queue_count;
	int queues[]; // their descriptors
};

// From the most that we can take down to nothing.
static void negotiate(struct tun *tun)
{
	static const struct {
		unsigned long flags;
		bool joins_tcp, joins_udp;
	} wishes[] = {
		{TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN | TUN_F_USO4 | TUN_F_USO6, true, true},
		{TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN, true, false},
		{TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6, true, false},
		{TUN_F_CSUM, false, false},
	};
	for (size_t i = 0; i < COUNT_OF(wishes); i++) {
		// Syscalls: ioctl (TUNSETOFFLOAD)
		if (ioctl(tun->queues[0], TUNSETOFFLOAD, wishes[i].flags) != 0)
			continue;
		tun->joins_tcp = wishes[i].joins_tcp;
		tun->joins_udp = wishes[i].joins_udp;
		return;
	}
	log_debug("tun", "%s: the kernel offers no offload: %s", tun->name, outcome_text(-errno));
}

// One more queue of the device that `request` names. Its flags must be those of the other queues.
static int open_queue(struct tun *tun, struct ifreq *request)
{
	// Syscalls at start: openat, ioctl (TUNSETIFF, TUNSETVNETHDRSZ, TUNSETOFFLOAD)
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || ioctl(fd, TUNSETIFF, request) != 0) {
		int failed = -errno;
		if (fd >= 0)
			close(fd);
		return failed;
	}
	tun->queues[tun->queue_count++] = fd;
	return 0;
}

// A device of several queues lets anybody in who may; but one that has a reader already is somebody's.
static bool is_taken(const char *name)
{
	struct ifreq request = {0};
	snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
	// Syscalls at start: socket, ioctl (SIOCGIFFLAGS)
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool is_running = fd >= 0 && ioctl(fd, SIOCGIFFLAGS, &request) == 0 && (request.ifr_flags & IFF_RUNNING) != 0;
	if (fd >= 0)
		close(fd);
	return is_running;
}

// EINVAL says that a device which is there already was made for one queue, or for several: it gets what it was made
// for. Several queues need not be used.
static int open_first(struct tun *tun, struct ifreq *request)
{
	int result = open_queue(tun, request);
	if (result != -EINVAL)
		return result;
	request->ifr_flags ^= IFF_MULTI_QUEUE;
	return open_queue(tun, request);
}

static int attach(struct tun *tun, const struct tun_settings *settings)
{
	bool wants_more = settings->queues > 1;
	struct ifreq request = {
		.ifr_flags = (short)(IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | (wants_more ? IFF_MULTI_QUEUE : 0))};
	int header_bytes = sizeof(struct virtio_net_hdr);
	if (strlen(settings->name) >= sizeof request.ifr_name)
		return -ENAMETOOLONG;
	snprintf(request.ifr_name, sizeof request.ifr_name, "%s", settings->name);
	int result = is_taken(settings->name) ? -EBUSY : open_first(tun, &request);
	if (result < 0)
		return result;
	if (ioctl(tun->queues[0], TUNSETVNETHDRSZ, &header_bytes) != 0)
		return -errno;
	memcpy(tun->name, request.ifr_name, sizeof tun->name);
	tun->name[TUN_NAME_BYTES - 1] = '\0';
	if (settings->offload)
		negotiate(tun);
	else
		(void)ioctl(tun->queues[0], TUNSETOFFLOAD, 0UL); // a device that outlives its users may still have some
	if (wants_more && !(request.ifr_flags & IFF_MULTI_QUEUE))
		log_warn("tun", "%s was made with one queue: one thread serves it", tun->name);
	while ((request.ifr_flags & IFF_MULTI_QUEUE) && tun->queue_count < settings->queues) {
		result = open_queue(tun, &request);
		if (result == 0)
			continue;
		log_warn("tun", "%s: only %u queues: %s", tun->name, tun->queue_count, outcome_text(result));
		break;
	}
	return 0;
}

int tun_open(const struct tun_settings *settings, struct tun **tun)
{
	assert(settings->queues <= TUN_QUEUES);
	unsigned most = settings->queues > 1 ? settings->queues : 1;
	struct tun *opened = calloc(1, sizeof *opened + most * sizeof *opened->queues);
	if (!opened)
		return -ENOMEM;
	int result = attach(opened, settings);
	if (result < 0) {
		tun_close(&opened);
		return result;
	}
	*tun = opened;
	return 0;
}

void tun_close(struct tun **tun)
{
	if (!*tun)
		return;
	for (unsigned i = 0; i < (*tun)->queue_count; i++)
		close((*tun)->queues[i]);
	free(*tun);
	*tun = NULL;
}

const char *tun_name(const struct tun *tun)
{
	return tun->name;
}

unsigned tun_queue_count(const struct tun *tun)
{
	return tun->queue_count;
}

int tun_descriptor(const struct tun *tun, unsigned queue)
{
	assert(queue < tun->queue_count);
	return tun->queues[queue];
}

int tun_queue_rest(struct tun *tun, unsigned queue, bool rests)
{
	struct ifreq request = {.ifr_flags = rests ? IFF_DETACH_QUEUE : IFF_ATTACH_QUEUE};
	assert(queue < tun->queue_count);
	// Syscalls: ioctl (TUNSETQUEUE)
	return ioctl(tun->queues[queue], TUNSETQUEUE, &request) == 0 ? 0 : -errno;
}

bool tun_joins_tcp(const struct tun *tun)
{
	return tun->joins_tcp;
}

bool tun_joins_udp(const struct tun *tun)
{
	return tun->joins_udp;
}

// ---- packets

// False: a kind that is not among our wishes.
static bool from_virtio(const struct virtio_net_hdr *header, struct offload *offload)
{
	*offload = (struct offload){
		.has_ecn = (header->gso_type & VIRTIO_NET_HDR_GSO_ECN) != 0,
		.needs_checksum = (header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) != 0,
		.segment_bytes = header->gso_size,
		.header_bytes = header->hdr_len,
		.checksum_start = header->csum_start,
		.checksum_offset = header->csum_offset,
	};
	switch (header->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_NONE:
		return true;
	case VIRTIO_NET_HDR_GSO_TCPV4:
		offload->kind = OFFLOAD_TCP4;
		return true;
	case VIRTIO_NET_HDR_GSO_TCPV6:
		offload->kind = OFFLOAD_TCP6;
		return true;
	case VIRTIO_NET_HDR_GSO_UDP_L4:
		offload->kind = OFFLOAD_UDP;
		return true;
	default:
		return false;
	}
}

static struct virtio_net_hdr to_virtio(const struct offload *offload)
{
	static const uint8_t kinds[] = {
		[OFFLOAD_NONE] = VIRTIO_NET_HDR_GSO_NONE,
		[OFFLOAD_TCP4] = VIRTIO_NET_HDR_GSO_TCPV4,
		[OFFLOAD_TCP6] = VIRTIO_NET_HDR_GSO_TCPV6,
		[OFFLOAD_UDP] = VIRTIO_NET_HDR_GSO_UDP_L4,
	};
	return (struct virtio_net_hdr){
		.flags = offload->needs_checksum ? VIRTIO_NET_HDR_F_NEEDS_CSUM : 0,
		.gso_type = (uint8_t)(kinds[offload->kind] | (offload->has_ecn ? VIRTIO_NET_HDR_GSO_ECN : 0)),
		.hdr_len = offload->header_bytes,
		.gso_size = offload->segment_bytes,
		.csum_start = offload->checksum_start,
		.csum_offset = offload->checksum_offset,
	};
}

int tun_read(struct tun *tun, unsigned queue, uint8_t packet[TUN_PACKET_BYTES], size_t *length, struct offload *offload)
{
	struct virtio_net_hdr header;
	struct iovec pieces[] = {{&header, sizeof header}, {packet, TUN_PACKET_BYTES}};
	// Syscalls: readv
	ssize_t got = readv(tun->queues[queue], pieces, 2);
	// EINVAL: one packet that the kernel cannot describe in a header; it has dropped it.
	if (got < 0 && errno == EINVAL)
		return TUN_STRANGE;
	if (got < 0)
		return errno == EAGAIN || errno == EINTR ? TUN_NONE : -errno;
	if ((size_t)got <= sizeof header || !from_virtio(&header, offload))
		return TUN_STRANGE;
	*length = (size_t)got - sizeof header;
	return 0;
}

int tun_write(struct tun *tun, unsigned queue, const struct offload *offload, const struct iovec *pieces, size_t count)
{
	struct virtio_net_hdr header = to_virtio(offload);
	struct iovec all[TUN_PIECES + 1];
	assert(count <= TUN_PIECES);
	all[0] = (struct iovec){&header, sizeof header};
	memcpy(all + 1, pieces, count * sizeof *pieces);
	// Syscalls: writev
	if (writev(tun->queues[queue], all, (int)count + 1) >= 0)
		return 0;
	// EBADFD: it has been deleted. EIO: the device is down, which an administrator may change again; so may memory come
	// back. The others are said of the packet itself.
	if (errno == EBADFD)
		return -errno;
	return errno == EINVAL || errno == EMSGSIZE || errno == EOPNOTSUPP ? TUN_UNFIT : TUN_REFUSED;
}
