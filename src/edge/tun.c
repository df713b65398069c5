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
	int fd;
	bool joins_tcp, joins_udp;
	char name[TUN_NAME_BYTES];
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
		if (ioctl(tun->fd, TUNSETOFFLOAD, wishes[i].flags) != 0)
			continue;
		tun->joins_tcp = wishes[i].joins_tcp;
		tun->joins_udp = wishes[i].joins_udp;
		return;
	}
	log_debug("tun", "%s: the kernel offers no offload: %s", tun->name, outcome_text(-errno));
}

static int attach(struct tun *tun, const struct tun_settings *settings)
{
	struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
	int header_bytes = sizeof(struct virtio_net_hdr);
	if (strlen(settings->name) >= sizeof request.ifr_name)
		return -ENAMETOOLONG;
	snprintf(request.ifr_name, sizeof request.ifr_name, "%s", settings->name);
	// Syscalls at start: openat, ioctl (TUNSETIFF, TUNSETVNETHDRSZ)
	tun->fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (tun->fd < 0 || ioctl(tun->fd, TUNSETIFF, &request) != 0 || ioctl(tun->fd, TUNSETVNETHDRSZ, &header_bytes) != 0)
		return -errno;
	memcpy(tun->name, request.ifr_name, sizeof tun->name);
	tun->name[TUN_NAME_BYTES - 1] = '\0';
	if (settings->offload)
		negotiate(tun);
	else
		(void)ioctl(tun->fd, TUNSETOFFLOAD, 0UL); // a device that outlives its users may still have some
	return 0;
}

int tun_open(const struct tun_settings *settings, struct tun **tun)
{
	struct tun *opened = calloc(1, sizeof *opened);
	if (!opened)
		return -ENOMEM;
	opened->fd = -1;
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
	if ((*tun)->fd >= 0)
		close((*tun)->fd);
	free(*tun);
	*tun = NULL;
}

const char *tun_name(const struct tun *tun)
{
	return tun->name;
}

int tun_descriptor(const struct tun *tun)
{
	return tun->fd;
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

int tun_read(struct tun *tun, uint8_t packet[TUN_PACKET_BYTES], size_t *length, struct offload *offload)
{
	struct virtio_net_hdr header;
	struct iovec pieces[] = {{&header, sizeof header}, {packet, TUN_PACKET_BYTES}};
	// Syscalls: readv
	ssize_t got = readv(tun->fd, pieces, 2);
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

int tun_write(struct tun *tun, const struct offload *offload, const struct iovec *pieces, size_t count)
{
	struct virtio_net_hdr header = to_virtio(offload);
	struct iovec all[TUN_PIECES + 1];
	assert(count <= TUN_PIECES);
	all[0] = (struct iovec){&header, sizeof header};
	memcpy(all + 1, pieces, count * sizeof *pieces);
	// Syscalls: writev
	if (writev(tun->fd, all, (int)count + 1) >= 0)
		return 0;
	// EIO: the device is down, which an administrator may change again. EBADFD: it has been deleted.
	return errno == EBADFD ? -errno : TUN_REFUSED;
}
