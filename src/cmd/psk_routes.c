// The routes through the tunnel, and the one past it: a route that covers the server would catch the tunnel's own
// connection, so a client first gives the server a route of its own, through the gateway that leads there now.

#include "cmd/psk_internal.h"

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

static struct halves halves_of(const char *text)
{
	struct halves halves = {0};
	if (netlink_parse(text, &halves.networks[0]) != 0)
		return halves; // has been checked with the configuration
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

static void remove_route(struct psk *psk, const char *text)
{
	struct halves halves = halves_of(text);
	for (unsigned i = 0; i < halves.count; i++)
		netlink_remove_route(psk->netlink, &halves.networks[i]);
}

// All of it or nothing.
static int add_route(struct psk *psk, const char *text)
{
	struct halves halves = halves_of(text);
	int result = halves.count > 0 ? 0 : -EINVAL;
	for (unsigned i = 0; i < halves.count && result == 0; i++) {
		result = netlink_add_route(psk->netlink, &halves.networks[i]);
		if (result < 0 && i > 0)
			netlink_remove_route(psk->netlink, &halves.networks[0]);
	}
	return result;
}

static bool has_route(const struct config *config, const char *text)
{
	struct netlink_address wanted, other;
	if (netlink_parse(text, &wanted) != 0)
		return false;
	netlink_normalise(&wanted);
	for (size_t i = 0; i < config->psk.route_count; i++) {
		if (netlink_parse(config->psk.routes[i], &other) != 0)
			continue;
		netlink_normalise(&other);
		if (netlink_is_same(&wanted, &other))
			return true;
	}
	return false;
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
	for (size_t i = 0; i < config->psk.route_count; i++)
		if (netlink_parse(config->psk.routes[i], &to) == 0 && netlink_covers(&to, host))
			return config->psk.routes[i];
	return NULL;
}

// At the start: a name is asked for before a route can catch the way to those who know it.
static void find_server(struct psk *psk)
{
	char host[256], port_text[8];
	uint16_t port;
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG}, *list = NULL;
	psk->way.count = 0;
	if (address_split(psk->config->psk.server, host, sizeof host, &port) != 0)
		return;
	snprintf(port_text, sizeof port_text, "%u", port);
	// Syscalls at start: openat, read, socket, connect, sendmmsg, recvfrom, poll (the name service)
	if (getaddrinfo(host, port_text, &hints, &list) != 0)
		return;
	for (const struct addrinfo *item = list; item && psk->way.count < DIAL_ADDRESSES; item = item->ai_next) {
		struct address *address = &psk->way.known[psk->way.count];
		if (item->ai_addrlen > sizeof address->storage)
			continue;
		memcpy(&address->storage, item->ai_addr, item->ai_addrlen);
		address->length = item->ai_addrlen;
		psk->way.count++;
	}
	freeaddrinfo(list);
}

static bool has_default(const struct config *config)
{
	struct netlink_address to;
	for (size_t i = 0; i < config->psk.route_count; i++)
		if (netlink_parse(config->psk.routes[i], &to) == 0 && to.bits <= 1)
			return true;
	return false;
}

// 0; otherwise `problem` says why the routes of `config` cannot be.
static int pin_server(struct psk *psk, const struct config *config, char *problem, size_t size)
{
	struct netlink_address host;
	char text[NETLINK_TEXT_BYTES];
	psk->way.is_pinned = false;
	for (size_t i = 0; i < psk->way.count; i++) {
		const char *route = to_host(&psk->way.known[i], &host) ? covering(config, &host) : NULL;
		if (!route)
			continue;
		int result = netlink_pin(psk->netlink, &host);
		netlink_format(&host, text);
		if (result < 0) {
			snprintf(problem, size,
			         "the route to %s would catch the way to the server %s itself, which cannot have a route of its "
			         "own: %s",
			         route, text, outcome_text(result));
			return result;
		}
		psk->way.is_pinned = true;
		log_info("psk", "the server %s keeps its way past the tunnel", text);
	}
	if (psk->way.count > 0 || !has_default(config))
		return 0;
	snprintf(problem, size,
	         "the name of the server cannot be resolved now, and could not be through a tunnel that is down: with a "
	         "route to everything give its address, or start when names can be resolved");
	return -EHOSTUNREACH;
}

// ---- start and reload

static int refuse(const char *problem)
{
	log_error("psk", "%s", problem);
	return 1;
}

int psk_routes_open(struct psk *psk)
{
	char problem[512];
	if (!psk->is_server && psk->config->psk.route_count > 0) {
		find_server(psk);
		if (pin_server(psk, psk->config, problem, sizeof problem) < 0)
			return refuse(problem);
	}
	for (size_t i = 0; i < psk->config->psk.route_count; i++) {
		const char *text = psk->config->psk.routes[i];
		int result = add_route(psk, text);
		if (result == 0)
			continue;
		if (result == -EEXIST)
			snprintf(problem, sizeof problem,
			         "the route to %s exists already and is not ours: it stays, and this program does not start", text);
		else
			snprintf(problem, sizeof problem, "%s: the route to %s: %s", tun_name(psk->tun), text,
			         outcome_text(result));
		return refuse(problem);
	}
	return 0;
}

static void remove_routes(struct psk *psk, const struct config *from, size_t count, const struct config *but)
{
	for (size_t i = 0; i < count; i++)
		if (!has_route(but, from->psk.routes[i]))
			remove_route(psk, from->psk.routes[i]);
}

// Whatever names a reload brings are not asked for: a loop that carries packets does not wait for a name service.
static int prepare_pins(struct psk *psk, const struct config *next, char *problem, size_t size)
{
	struct address literal;
	bool is_same = strcmp(next->psk.server, psk->config->psk.server) == 0;
	if (address_parse(next->psk.server, &literal) == 0) {
		psk->way.known[0] = literal;
		psk->way.count = 1;
	} else if (!is_same) {
		psk->way.count = 0;
	}
	return pin_server(psk, next, problem, size);
}

static int change_routes(struct psk *psk, const struct config *next, char *problem, size_t size)
{
	for (size_t i = 0; i < next->psk.route_count; i++) {
		const char *text = next->psk.routes[i];
		int result = has_route(psk->config, text) ? 0 : add_route(psk, text);
		if (result == 0)
			continue;
		snprintf(problem, size, "the route to %s: %s", text, outcome_text(result));
		remove_routes(psk, next, i, psk->config);
		return result;
	}
	remove_routes(psk, psk->config, psk->config->psk.route_count, next);
	return 0;
}

int psk_routes_set(struct psk *psk, const struct config *next, char *problem, size_t size)
{
	struct psk_way before = psk->way;
	int result = 0;
	if (!psk->is_server && next->psk.route_count > 0)
		result = prepare_pins(psk, next, problem, size);
	else
		psk->way = (struct psk_way){0}; // nothing can catch it: its name is asked for again
	if (result == 0)
		result = change_routes(psk, next, problem, size);
	if (result < 0)
		psk->way = before;
	return result;
}
