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

static struct grant_network host_of(const struct grant_network *address)
{
	struct grant_network host = *address;
	host.bits = host.version == 4 ? 32 : 128;
	return host;
}

// Hostile: with the address of the server the way there would end on this machine for ever, and with one of this
// machine what is said to another device would come to the tunnel. NULL: it may be taken.
static const char *why_not(struct vpn *vpn, const struct link_peer *server, const struct grant_network *now,
                           const struct grant_network *given)
{
	struct grant_network host = host_of(given), had = host_of(now);
	struct netlink_address address = to_netlink(&host);
	if (holds(&host, server->address) || tun_routes_would_catch(vpn->routes, &address))
		return "it is that of the server itself";
	if (!grant_is_same_network(&host, &had) && netlink_find_others(vpn->netlink, &address) == NETLINK_TAKEN)
		return "another device of this machine has it";
	return NULL;
}

// Why the network is not routed. NULL: it is.
static const char *why_alone(const struct vpn *vpn, const struct link_peer *server, const struct grant_network *given)
{
	struct netlink_address network = to_netlink(given);
	if (holds(given, server->address) || tun_routes_would_catch(vpn->routes, &network))
		return "is that of the server itself, and is not routed";
	if (vpn->config->vpn.accept_routes)
		return NULL;
	if (!is_private(given))
		return "is not private, and is not routed (--accept-routes takes it)";
	// When that cannot be asked it is left out as well.
	if (netlink_find_others(vpn->netlink, &network) != 0)
		return "overlaps what this machine reaches otherwise, and is not routed (--accept-routes takes it)";
	return NULL;
}

// Hostile: an address brings a route to its network. That must not catch the way to the server, and without
// --accept-routes it may be a private one only, in which nothing else of this machine is.
static struct grant_network as_taken(const struct vpn *vpn, const struct link_peer *server,
                                     const struct grant_network *given)
{
	struct grant_network taken = *given;
	char text[GRANT_TEXT_BYTES];
	const char *why = taken.version != 0 && taken.bits < host_of(given).bits ? why_alone(vpn, server, given) : NULL;
	if (!why)
		return taken;
	grant_format(given, text);
	log_warn("vpn", "assigned %s: its network %s", text, why);
	return host_of(given);
}

static void drop(struct vpn *vpn, struct grant_network *now)
{
	struct netlink_address before = to_netlink(now);
	if (now->version)
		netlink_remove_address(vpn->netlink, &before);
	*now = (struct grant_network){0};
}

static bool set_address(struct vpn *vpn, const struct link_peer *server, struct grant_network *now,
                        const struct grant_network *given)
{
	struct grant_network wanted = as_taken(vpn, server, given);
	char text[GRANT_TEXT_BYTES];
	const char *why = given->version ? why_not(vpn, server, now, given) : NULL;
	if (why) {
		grant_format(given, text);
		log_error("vpn", "the assigned address %s is refused: %s", text, why);
		return false;
	}
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

// A family that nobody asked for is done without: IPv6 is off in many a container.
static bool set_family(struct vpn *vpn, const struct link_peer *server, struct grant_network *now,
                       const struct grant_network *given)
{
	bool is4 = now == &vpn->assigned.ipv4;
	const char *own = is4 ? vpn->config->vpn.ipv4 : vpn->config->vpn.ipv6;
	static const struct grant_network none;
	bool is_own = own && own[0], is_auto = is_own && strcmp(own, "auto") == 0;
	if (set_address(vpn, server, now, is_own && !is_auto ? &none : given))
		return true;
	drop(vpn, now);
	if (is_auto)
		return false;
	log_warn("vpn", "going on without IPv%d in the tunnel", is4 ? 4 : 6);
	return true;
}

bool vpn_assign(struct vpn *vpn, const struct link_peer *server)
{
	const struct grant *given = server->grant;
	// A server that assigns nothing leaves everything as it is.
	if (!given->is_given)
		return true;
	bool is_done = set_family(vpn, server, &vpn->assigned.ipv4, &given->ipv4) &&
	               set_family(vpn, server, &vpn->assigned.ipv6, &given->ipv6);
	if (is_done && vpn->config->vpn.accept_routes)
		set_routes(vpn, given);
	return is_done;
}
