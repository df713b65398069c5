#include "config/validate_vpn.h"
#include "config/text.h"
#include "edge/netlink.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

// Spec: RFC 8200 5, the least that a link must carry for IPv6.
#define IPV6_LEAST_MTU 1280

static void add(struct load *load, const char *path, const char *message)
{
	struct tree_place place = {0};
	if (load_is_given(load, path))
		place = load_setting(load, path)->place;
	problem_add(&load->problems, place, path, "%s", message);
}

// ---- defaults that depend

static void complete_path(char **path, const char *initial)
{
	if (!*path)
		*path = text_copy(initial);
}

void validate_vpn_complete(struct load *load)
{
	struct config *config = load->config;
	bool is_server = load->command == CONFIG_VPN_SERVER;
	complete_path(&config->auth.ca_cert_path, "ca.pem");
	complete_path(&config->auth.cert_path, is_server ? "server.pem" : "client.pem");
	complete_path(&config->auth.key_path, is_server ? "server.key" : "client.key");
	// A tool of one line should not open a port that nobody has asked for.
	if (!load_is_given(load, "metrics.enabled") && !load_is_given(load, "metrics.metrics_port") &&
	    !load_is_given(load, "metrics.metrics_bind_ip"))
		config->metrics.enabled = false;
	if (!config->vpn.peer_cn || config->auth.allowed_peer_count > 0)
		return;
	free(config->auth.allowed_peers);
	config->auth.allowed_peers = text_calloc(1, sizeof *config->auth.allowed_peers);
	config->auth.allowed_peers[0] = text_format("CN=%s", config->vpn.peer_cn);
	config->auth.allowed_peer_count = 1;
}

// ---- the peer

static void check_peer(struct load *load)
{
	const struct config *config = load->config;
	if (!config->vpn.peer_cn)
		return;
	if (load_is_given(load, "auth.allowed_peers"))
		add(load, "vpn.peer_cn", "says the same as auth.allowed_peers = [\"CN=...\"]; give one of them");
	if (strchr(config->vpn.peer_cn, '*'))
		add(load, "vpn.peer_cn", "is one name; auth.allowed_peers takes patterns");
}

// ---- the device

static void check_address(struct load *load, const char *path, const char *text, int family)
{
	struct netlink_address address;
	if (!text || !text[0] || (load->command == CONFIG_VPN_CLIENT && strcmp(text, "auto") == 0))
		return;
	if (netlink_parse(text, &address) != 0 || address.family != family)
		add(load, path,
		    family == AF_INET ? "must be an IPv4 address such as 192.168.3.1/24"
		                      : "must be an IPv6 address such as 2001:db8::1/64");
}

static void check_routes(struct load *load)
{
	const struct config *config = load->config;
	const struct load_setting *setting = load_setting(load, "vpn.routes");
	struct netlink_address to;
	for (size_t i = 0; i < config->vpn.route_count; i++)
		if (netlink_parse(config->vpn.routes[i], &to) != 0)
			problem_add(&load->problems, setting->item_places ? setting->item_places[i] : setting->place, "vpn.routes",
			            "\"%s\" is not a network such as 10.0.0.0/8 or fd00:7::/64", config->vpn.routes[i]);
}

static void check_device(struct load *load)
{
	const char *name = load->config->vpn.device, *percent = name ? strchr(name, '%') : NULL;
	if (!name)
		return;
	if (strchr(name, '/') || strchr(name, ':') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		add(load, "vpn.device", "is not a name of a network device");
	else if (percent && (strncmp(percent, "%d", 2) != 0 || strchr(percent + 1, '%')))
		add(load, "vpn.device", "may have one %d, which stands for a number, and no other %");
}

void validate_vpn(struct load *load)
{
	const struct config *config = load->config;
	check_peer(load);
	check_device(load);
	check_address(load, "vpn.ipv4", config->vpn.ipv4, AF_INET);
	check_address(load, "vpn.ipv6", config->vpn.ipv6, AF_INET6);
	check_routes(load);
	if (load->command == CONFIG_VPN_SERVER)
		validate_vpn_clients(load);
	if (config->vpn.ipv6 && config->vpn.ipv6[0] && config->vpn.mtu < IPV6_LEAST_MTU)
		add(load, "vpn.mtu", "is too small for IPv6, which needs 1280");
	if (config->vpn.initial_reconnect_delay_ms > config->vpn.max_reconnect_delay_ms)
		add(load, "vpn.initial_reconnect_delay_ms", "is longer than vpn.max_reconnect_delay_ms");
}
