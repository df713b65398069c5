// The device of `qanat vpn`: made, named, addressed; and taken back.

#include "cmd/vpn_internal.h"

#include "core/log.h"
#include "packet/parcel.h"

#include <errno.h>
#include <string.h>

static int fail(const struct vpn *vpn, const char *what, int result)
{
	log_error("vpn", "%s: %s: %s", vpn->tun ? tun_name(vpn->tun) : vpn->config->vpn.device, what, outcome_text(result));
	return 1;
}

static int open_tun(struct vpn *vpn)
{
	struct tun_settings settings = {.name = vpn->config->vpn.device,
	                                .offload = vpn->config->vpn.offload,
	                                .queues = vpn->worker_count};
	int result = tun_open(&settings, &vpn->tun);
	if (result == -EPERM || result == -EACCES)
		return fail(vpn, "making a TUN device needs root or CAP_NET_ADMIN", result);
	if (result == -ENOENT || result == -ENODEV || result == -ENXIO)
		return fail(vpn, "there is no /dev/net/tun here (modprobe tun; a container must be given the device)", result);
	if (result == -EBUSY)
		return fail(vpn, "another program uses this device", result);
	return result < 0 ? fail(vpn, "the TUN device cannot be made", result) : 0;
}

static int add_address(struct vpn *vpn, const char *text)
{
	struct netlink_address address;
	if (!text || !text[0] || strcmp(text, "auto") == 0)
		return 0;
	if (netlink_parse(text, &address) != 0) // has been checked with the configuration
		return -EINVAL;
	return netlink_add_address(vpn->netlink, &address, NULL);
}

int vpn_device_open(struct vpn *vpn)
{
	const struct config_of_vpn *config = &vpn->config->vpn;
	// A parcel of the largest super-packet is one unit.
	uint32_t gso_bytes = LIMIT_UNIT_BYTES - PARCEL_SUPER_HEAD_BYTES - 1;
	if (open_tun(vpn) != 0)
		return 1;
	int result = netlink_open(tun_name(vpn->tun), &vpn->netlink);
	if (result < 0)
		return fail(vpn, "the kernel's network configuration cannot be reached", result);
	result = netlink_bring_up(vpn->netlink, config->mtu, config->mtu > gso_bytes ? 0 : gso_bytes);
	if (result < 0)
		return fail(vpn, "the device cannot be brought up", result);
	result = add_address(vpn, config->ipv4);
	if (result < 0)
		return fail(vpn, "the IPv4 address is refused", result);
	result = add_address(vpn, config->ipv6);
	if (result < 0)
		return fail(vpn, "the IPv6 address is refused", result);
	if (vpn_routes_open(vpn) != 0)
		return 1;
	log_info("vpn", "device %s, mtu %u, addresses %s %s, %u queues; the kernel joins %s", tun_name(vpn->tun),
	         config->mtu, config->ipv4 ? config->ipv4 : "none", config->ipv6 ? config->ipv6 : "none",
	         tun_queue_count(vpn->tun),
	         tun_joins_udp(vpn->tun)   ? "TCP and UDP packets"
	         : tun_joins_tcp(vpn->tun) ? "TCP packets"
	                                   : "no packets");
	return 0;
}

void vpn_device_close(struct vpn *vpn)
{
	netlink_close(&vpn->netlink);
	tun_close(&vpn->tun);
}
