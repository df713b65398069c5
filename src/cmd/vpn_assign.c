// What the server assigns to this client: addresses of the device, and routes when they are wanted. They stay while the
// link is down, and change when a later link says otherwise.

#include "cmd/vpn_internal.h"

#include "core/log.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static struct netlink_address to_netlink(const struct grant_network *network)
{
	struct netlink_address address = {.family = network->version == 4 ? AF_INET : AF_INET6, .bits = network->bits};
	memcpy(address.bytes, network->bytes, sizeof address.bytes);
	return address;
}

static bool is_private(const struct grant_network *address)
{
	static const char *const ranges[] = {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"};
	struct grant_network range;
	for (size_t i = 0; i < COUNT_OF(ranges); i++)
		if (grant_parse(ranges[i], &range) && grant_covers(&range, address))
			return true;
	return false;
}

// "192.0.2.1:1107", "[2001:db8::1]:1107": whether the server is in that network.
static bool holds(const struct grant_network *network, const char *server)
{
	char host[ADDRESS_TEXT_BYTES];
	struct grant_network address;
	snprintf(host, sizeof host, "%s", server[0] == '[' ? server + 1 : server);
	char *end = server[0] == '[' ? strpbrk(host, "]%") : strrchr(host, ':');
	if (end)
		*end = '\0';
	return grant_parse(host, &address) && grant_covers(network, &address);
}

// Hostile: an address brings a route to its network. That must not catch the way to the server, and without
// --accept-routes it may be a private one only.
static struct grant_network as_taken(const struct vpn *vpn, const struct link_peer *server,
                                     const struct grant_network *given)
{
	struct grant_network taken = *given;
	struct netlink_address network = to_netlink(given);
	char text[GRANT_TEXT_BYTES];
	if (taken.version == 0)
		return taken;
	bool catches = holds(given, server->address) || tun_routes_would_catch(vpn->routes, &network);
	if (!catches && (vpn->config->vpn.accept_routes || is_private(given)))
		return taken;
	taken.bits = taken.version == 4 ? 32 : 128;
	grant_format(given, text);
	log_warn("vpn", "assigned %s: its network %s, and is not routed", text,
	         catches ? "is that of the server itself" : "is not private (--accept-routes takes it)");
	return taken;
}

static bool set_address(struct vpn *vpn, const struct link_peer *server, struct grant_network *now,
                        const struct grant_network *given)
{
	struct grant_network wanted = as_taken(vpn, server, given);
	char text[GRANT_TEXT_BYTES];
	if (grant_is_same_network(now, &wanted))
		return true;
	struct netlink_address address = to_netlink(&wanted), before = to_netlink(now);
	grant_format(&wanted, text);
	// The new one first: with the last address the kernel takes the routes away.
	int result = wanted.version ? netlink_add_address(vpn->netlink, &address, NULL) : 0;
	if (result < 0) {
		log_error("vpn", "the assigned address %s is refused: %s", text, outcome_text(result));
		return false;
	}
	if (now->version)
		netlink_remove_address(vpn->netlink, &before);
	netlink_restore(vpn->netlink);
	*now = wanted;
	log_info("vpn", "the server assigns %s", text);
	return true;
}

static bool is_listed(const struct grant *list, const struct grant_network *route)
{
	for (unsigned i = 0; i < list->route_count; i++)
		if (grant_is_same_network(&list->routes[i], route))
			return true;
	return false;
}

static void set_routes(struct vpn *vpn, const struct grant *given)
{
	struct grant *now = &vpn->assigned;
	char text[GRANT_TEXT_BYTES];
	struct grant had = *now;
	now->route_count = 0;
	for (unsigned i = 0; i < had.route_count; i++) {
		struct netlink_address route = to_netlink(&had.routes[i]);
		if (!is_listed(given, &had.routes[i]))
			tun_routes_remove(vpn->routes, &route);
	}
	for (unsigned i = 0; i < given->route_count; i++) {
		struct netlink_address route = to_netlink(&given->routes[i]);
		int result = is_listed(&had, &given->routes[i]) ? 0 : tun_routes_add(vpn->routes, &route);
		grant_format(&given->routes[i], text);
		if (result < 0) {
			log_warn("vpn", "the route to %s, which the server names, is left out: %s", text, outcome_text(result));
			continue;
		}
		now->routes[now->route_count++] = given->routes[i];
	}
}

bool vpn_assign(struct vpn *vpn, const struct link_peer *server)
{
	const struct grant *given = server->grant;
	static const struct grant_network none;
	const struct config_of_vpn *config = &vpn->config->vpn;
	bool is_set4 = config->ipv4 && config->ipv4[0] && strcmp(config->ipv4, "auto") != 0;
	bool is_set6 = config->ipv6 && config->ipv6[0] && strcmp(config->ipv6, "auto") != 0;
	// A server that assigns nothing leaves everything as it is.
	if (!given->is_given)
		return true;
	bool is_done = set_address(vpn, server, &vpn->assigned.ipv4, is_set4 ? &none : &given->ipv4) &&
	               set_address(vpn, server, &vpn->assigned.ipv6, is_set6 ? &none : &given->ipv6);
	if (is_done && config->accept_routes)
		set_routes(vpn, given);
	return is_done;
}
