#include "edge/tun_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <unistd.h>

void tun_probe(struct findings *findings)
{
	static const char only[] = "only layer-3 tunnels want one; source and dest do not";
	unsigned features = 0;
	int file = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK), error = errno;

	if (file < 0) {
		finding_add(findings, FINDING_NOTE, "TUN device",
		            error == ENOENT || error == ENODEV
		                ? "for layer-3 tunnels: modprobe tun; in a container also --device /dev/net/tun"
		                : "for layer-3 tunnels: run as root, or give access to /dev/net/tun and CAP_NET_ADMIN",
		            "/dev/net/tun cannot be opened (%s); %s", outcome_text(-error), only);
		return;
	}
	if (ioctl(file, TUNGETFEATURES, &features) != 0)
		finding_add(findings, FINDING_NOTE, "TUN device", "for layer-3 tunnels: load the kernel's own tun module",
		            "/dev/net/tun is there, but no TUN driver answers (%s); %s", outcome_text(-errno), only);
	else
		finding_add(findings, FINDING_OK, "TUN device", NULL, "/dev/net/tun answers%s%s",
		            features & IFF_VNET_HDR ? ", with offloads" : "",
		            features & IFF_MULTI_QUEUE ? ", with queues" : "");
	close(file);
}
