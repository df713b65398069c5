// The device of `qanat vpn` with its addresses and routes, from the configuration.

#include "cmd/vpn_internal.h"

#include "cmd/tunnel_reload.h"
#include "core/log.h"
#include "packet/parcel.h"

#include <string.h>

_Static_assert(TUNNEL_RELOAD_PROBLEM_BYTES >= TUN_ROUTES_PROBLEM_BYTES, "a problem of routes is one of the reload");

static struct tun_routes_settings routes_of(const struct vpn *vpn, const struct config *config)
{
	return (struct tun_routes_settings){.networks = (const char *const *)config->vpn.routes,
	                                    .count = config->vpn.route_count,
	                                    .server = vpn->is_server ? NULL : config->vpn.server,
	                                    .port = config->vpn.control_port,
	                                    .takes_more = config->vpn.accept_routes,
	                                    .kill_switch = config->vpn.kill_switch};
}

// "auto": the server says which.
static const char *written(const char *address)
{
	return address && strcmp(address, "auto") != 0 ? address : NULL;
}

static int set_addresses(struct vpn *vpn, char *problem)
{
	struct tun_device_address list[] = {{.text = written(vpn->config->vpn.ipv4)},
	                                    {.text = written(vpn->config->vpn.ipv6)}};
	return tun_device_set_addresses(vpn->device, list, COUNT_OF(list), problem, TUN_ROUTES_PROBLEM_BYTES);
}

// The server has moved: a link that stands is not touched, the next one is dialled there.
static void on_moved(void *owner)
{
	struct vpn *vpn = owner;
	if (vpn->initiator)
		vpn_client_set(vpn);
}

int vpn_device_open(struct vpn *vpn)
{
	const struct config_of_vpn *config = &vpn->config->vpn;
	// A parcel of the largest super-packet is one unit.
	uint32_t gso_bytes = LIMIT_UNIT_BYTES - PARCEL_SUPER_HEAD_BYTES - 1;
	char problem[TUN_ROUTES_PROBLEM_BYTES];
	struct tun_device_settings settings = {.name = config->device,
	                                       .offload = config->offload,
	                                       .queues = vpn->worker_count,
	                                       .mtu = config->mtu,
	                                       .gso_bytes = config->mtu > gso_bytes ? 0 : gso_bytes};
	if (tun_device_open(&settings, &vpn->device) != 0)
		return 1;
	vpn->tun = tun_device_tun(vpn->device);
	vpn->netlink = tun_device_netlink(vpn->device);
	struct tun_routes_settings routes = routes_of(vpn, vpn->config);
	if (set_addresses(vpn, problem) < 0 || tun_routes_open(vpn->device, &routes, &vpn->routes, problem) < 0) {
		log_error("vpn", "%s", problem);
		return 1;
	}
	int result = tun_routes_follow(vpn->routes, workers_loop(vpn->workers, 0), on_moved, vpn);
	if (result < 0)
		log_error("vpn", "changes of routes cannot be followed: %s", outcome_text(result));
	return result < 0;
}

int vpn_routes_set(struct vpn *vpn, const struct config *next, char *problem)
{
	struct tun_routes_settings settings = routes_of(vpn, next);
	return tun_routes_set(vpn->routes, &settings, problem);
}

void vpn_device_close(struct vpn *vpn)
{
	tun_routes_close(&vpn->routes);
	tun_device_close(&vpn->device);
}
