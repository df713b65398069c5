// The routes through the tunnel, and the one past it: a route that covers the server would catch the tunnel's own
// connection, so a client first gives the server a route of its own, through the gateway that leads there now.

#include "cmd/vpn_internal.h"

#include "core/log.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

// "0.0.0.0/0" and "::/0" go in as two halves, which come before a default route there may be without replacing it.
struct halves {
	struct netlink_address networks[2];
	unsigned count;
};

static struct halves halves_of(const struct netlink_address *to)
{
	struct halves halves = {.networks = {*to}};
	netlink_normalise(&halves.networks[0]);
	halves.count = 1;
	if (halves.networks[0].bits > 0)
		return halves;
	halves.networks[0].bits = 1;
	halves.networks[1] = halves.networks[0];
	halves.networks[1].bytes[0] = 0x80;
	halves.count = 2;
	return halves;
}

// All of it or nothing.
static int add_network(struct vpn *vpn, const struct netlink_address *to)
{
	struct halves halves = halves_of(to);
	int result = 0;
	for (unsigned i = 0; i < halves.count && result == 0; i++) {
		result = netlink_add_route(vpn->netlink, &halves.networks[i]);
		if (result < 0 && i > 0)
			netlink_remove_route(vpn->netlink, &halves.networks[0]);
	}
	return result;
}

static int add_route(struct vpn *vpn, const char *text)
{
	struct netlink_address to;
	// Has been checked with the configuration.
	return netlink_parse(text, &to) == 0 ? add_network(vpn, &to) : -EINVAL;
}

// ---- the server's own way

static bool to_host(const struct address *address, struct netlink_address *host)
{
	char text[ADDRESS_TEXT_BYTES], *end;
	address_format(address, text);
	// "1.2.3.4:80", "[::1]:80", "[fe80::1%eth0]:80"
	end = text[0] == '[' ? strpbrk(text, "]%") : strchr(text, ':');
	if (!end)
		return false;
	*end = '\0';
	return netlink_parse(text[0] == '[' ? text + 1 : text, host) == 0;
}

// The first route that would catch this host; NULL: none.
static const char *covering(const struct config *config, const struct netlink_address *host)
{
	struct netlink_address to;
	for (size_t i = 0; i < config->vpn.route_count; i++)
		if (netlink_parse(config->vpn.routes[i], &to) == 0 && netlink_covers(&to, host))
			return config->vpn.routes[i];
	return NULL;
}

// At the start: a name is asked for before a route can catch the way to those who know it.
static void find_server(struct vpn *vpn)
{
	char port_text[8];
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG}, *list = NULL;
	vpn->known_count = 0;
	snprintf(port_text, sizeof port_text, "%u", vpn->config->vpn.control_port);
	// Syscalls at start: openat, read, socket, connect, sendmmsg, recvfrom, poll (the name service)
	if (getaddrinfo(vpn->config->vpn.server, port_text, &hints, &list) != 0)
		return;
	for (const struct addrinfo *item = list; item && vpn->known_count < DIAL_ADDRESSES; item = item->ai_next) {
		struct address *address = &vpn->known[vpn->known_count];
		if (item->ai_addrlen > sizeof address->storage)
			continue;
		memcpy(&address->storage, item->ai_addr, item->ai_addrlen);
		address->length = item->ai_addrlen;
		// Syscalls at start: socket, ioctl (the name of an IPv6 zone)
		if (getnameinfo(item->ai_addr, item->ai_addrlen, vpn->known_text[vpn->known_count], NI_MAXHOST, NULL, 0,
		                NI_NUMERICHOST) != 0)
			continue;
		vpn->known_count++;
	}
	freeaddrinfo(list);
}

static bool has_default(const struct config *config)
{
	struct netlink_address to;
	for (size_t i = 0; i < config->vpn.route_count; i++)
		if (netlink_parse(config->vpn.routes[i], &to) == 0 && to.bits <= 1)
			return true;
	return false;
}

// 0; otherwise `problem` says why the routes of `config` cannot be.
static int pin_server(struct vpn *vpn, const struct config *config, char *problem, size_t size)
{
	struct netlink_address host;
	char text[NETLINK_TEXT_BYTES];
	vpn->is_pinned = false;
	for (size_t i = 0; i < vpn->known_count; i++) {
		const char *route = to_host(&vpn->known[i], &host) ? covering(config, &host) : NULL;
		if (!route)
			continue;
		int result = netlink_pin(vpn->netlink, &host);
		netlink_format(&host, text);
		if (result < 0) {
			snprintf(problem, size,
			         "the route to %s would catch the way to the server %s itself, which cannot have a route of its "
			         "own: %s",
			         route, text, outcome_text(result));
			return result;
		}
		vpn->is_pinned = true;
		log_info("vpn", "the server %s keeps its way past the tunnel", text);
	}
	if (vpn->known_count > 0 || !has_default(config))
		return 0;
	snprintf(problem, size,
	         "the name of the server cannot be resolved now, and could not be through a tunnel that is down: with a "
	         "route to everything give its address, or start when names can be resolved");
	return -EHOSTUNREACH;
}

// ---- start and reload

static int refuse(const char *problem)
{
	log_error("vpn", "%s", problem);
	return 1;
}

int vpn_routes_add(struct vpn *vpn, const struct netlink_address *to)
{
	struct netlink_address host;
	if (vpn->known_count == 0)
		return -EHOSTUNREACH;
	for (size_t i = 0; i < vpn->known_count; i++) {
		bool is_caught = to_host(&vpn->known[i], &host) && netlink_covers(to, &host);
		int result = is_caught ? netlink_pin(vpn->netlink, &host) : 0;
		if (result < 0)
			return result;
	}
	return add_network(vpn, to);
}

void vpn_routes_remove(struct vpn *vpn, const struct netlink_address *to)
{
	struct halves halves = halves_of(to);
	for (unsigned i = 0; i < halves.count; i++)
		netlink_remove_route(vpn->netlink, &halves.networks[i]);
}

bool vpn_routes_would_catch(const struct vpn *vpn, const struct netlink_address *network)
{
	struct netlink_address host;
	for (size_t i = 0; i < vpn->known_count; i++)
		if (to_host(&vpn->known[i], &host) && netlink_covers(network, &host))
			return true;
	return false;
}

int vpn_routes_open(struct vpn *vpn)
{
	char problem[512];
	if (!vpn->is_server && vpn->config->vpn.accept_routes)
		find_server(vpn);
	if (!vpn->is_server && vpn->config->vpn.route_count > 0) {
		find_server(vpn);
		if (pin_server(vpn, vpn->config, problem, sizeof problem) < 0)
			return refuse(problem);
	}
	// What the server names may catch the way to those who know its name.
	if (!vpn->is_server && vpn->config->vpn.accept_routes && vpn->known_count > 0)
		vpn->is_pinned = true;
	for (size_t i = 0; i < vpn->config->vpn.route_count; i++) {
		const char *text = vpn->config->vpn.routes[i];
		int result = add_route(vpn, text);
		if (result == 0)
			continue;
		if (result == -EEXIST)
			snprintf(problem, sizeof problem,
			         "the route to %s exists already and is not ours: it stays, and this program does not start", text);
		else
			snprintf(problem, sizeof problem, "%s: the route to %s: %s", tun_name(vpn->tun), text,
			         outcome_text(result));
		return refuse(problem);
	}
	return 0;
}
