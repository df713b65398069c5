// The way of a client to its server past the routes: found at the start, and followed while they change.

#include "cmd/tun_routes_internal.h"

#include "core/log.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

// Changes come in bursts, of which the first sets the time: where they never end, ways are followed all the same.
#define SETTLED_MS 200
// The name of a server that has been down for a while.
#define ASK_FIRST_MS 2000
#define ASK_AGAIN_MS 10000

static bool to_host(const struct address *address, struct netlink_address *host)
{
	char text[ADDRESS_TEXT_BYTES], *end;
	address_format(address, text);
	// "1.2.3.4:80", "[::1]:80", "[fe80::1%eth0]:80"
	end = text[0] == '[' ? strpbrk(text, "]%") : strchr(text, ':');
	if (!end)
		return false;
	// A zone has a route of its own already.
	if (address->any.sa_family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&address->in6.sin6_addr))
		return false;
	*end = '\0';
	return netlink_parse(text[0] == '[' ? text + 1 : text, host) == 0;
}

// The first route or guard that would catch this host; NULL: none.
static const struct netlink_address *covering(const struct tun_routes_plan *plan, const struct netlink_address *host)
{
	for (size_t i = 0; i < (plan->kill_switch ? plan->guard_count : plan->count); i++)
		if (netlink_covers(&plan->networks[i], host))
			return &plan->networks[i];
	return NULL;
}

static void know(struct tun_routes_plan *plan, const struct addrinfo *list)
{
	for (const struct addrinfo *item = list; item && plan->known_count < DIAL_ADDRESSES; item = item->ai_next) {
		struct address *address = &plan->known[plan->known_count];
		if (item->ai_addrlen > sizeof address->storage)
			continue;
		memcpy(&address->storage, item->ai_addr, item->ai_addrlen);
		address->length = item->ai_addrlen;
		plan->known_count++;
	}
}

// A name is asked for before a route can catch the way to those who know it.
static void resolve(struct tun_routes_plan *plan)
{
	char port_text[8];
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG}, *list = NULL;
	snprintf(port_text, sizeof port_text, "%u", plan->port);
	// Syscalls at start: openat, read, socket, connect, sendmmsg, recvfrom, poll (the name service)
	if (getaddrinfo(plan->server, port_text, &hints, &list) == 0)
		know(plan, list);
	if (list)
		freeaddrinfo(list);
}

// Behind the guards of a killed process a name service may be out of reach. What had a route past its device was a
// server: whether it is ours it has to prove.
static void find_left(struct netlink *netlink, struct tun_routes_plan *plan)
{
	struct netlink_address hosts[DIAL_ADDRESSES];
	char text[NETLINK_TEXT_BYTES];
	size_t count;
	if (netlink_left_hosts(netlink, hosts, COUNT_OF(hosts), &count) < 0)
		return;
	for (size_t i = 0; i < count; i++) {
		netlink_format(&hosts[i], text);
		*strchr(text, '/') = '\0';
		if (address_from_ip(text, plan->port, &plan->known[plan->known_count]) == 0)
			plan->known_count++;
	}
	if (plan->known_count > 0)
		log_warn("tun_routes", "%s cannot be resolved: the server is looked for where the killed process had it",
		         plan->server);
}

void tun_routes_find_server(struct netlink *netlink, struct tun_routes_plan *plan)
{
	resolve(plan);
	if (plan->known_count == 0)
		find_left(netlink, plan);
}

static int pin_host(struct tun_routes *routes, const struct tun_routes_plan *plan, const struct netlink_address *host,
                    char *problem)
{
	char text[NETLINK_TEXT_BYTES], route[NETLINK_TEXT_BYTES];
	int result = netlink_pin(routes->netlink, host);
	netlink_format(host, text);
	netlink_format(covering(plan, host), route);
	if (result == 0)
		log_info("tun_routes", "the server %s keeps its way past the tunnel", text);
	else
		snprintf(
			problem, TUN_ROUTES_PROBLEM_BYTES,
			"the route to %s would catch the way to the server %s itself, which cannot have a route of its own: %s",
			route, text, outcome_text(result));
	return result;
}

int tun_routes_pin(struct tun_routes *routes, struct tun_routes_plan *plan, char *problem)
{
	struct netlink_address host;
	// What the server names may catch the way to those who know its name.
	plan->is_pinned = plan->takes_more && plan->known_count > 0;
	for (size_t i = 0; i < plan->known_count; i++) {
		if (!to_host(&plan->known[i], &host))
			continue;
		if (!covering(plan, &host)) {
			if (plan->takes_more)
				(void)!netlink_pin(routes->netlink, &host); // tried again when such a network comes
			continue;
		}
		int result = pin_host(routes, plan, &host, problem);
		if (result < 0)
			return result;
		plan->is_pinned = true;
	}
	if (plan->known_count > 0 || !plan->has_default || !plan->server[0])
		return 0;
	snprintf(problem, TUN_ROUTES_PROBLEM_BYTES,
	         "the name of the server cannot be resolved now, and could not be through a tunnel that is down: with a "
	         "route to everything give its address, or start when names can be resolved");
	return -EHOSTUNREACH;
}

// Pins of `old` that `next` does not need.
void tun_routes_unpin_others(struct tun_routes *routes, const struct tun_routes_plan *old,
                             const struct tun_routes_plan *next)
{
	struct netlink_address host, other;
	for (size_t i = 0; i < old->known_count; i++) {
		bool is_needed = !to_host(&old->known[i], &host);
		for (size_t k = 0; k < next->known_count && !is_needed; k++)
			is_needed = to_host(&next->known[k], &other) && netlink_is_same(&host, &other) &&
			            (next->takes_more || covering(next, &host));
		if (!is_needed)
			netlink_unpin(routes->netlink, &host);
	}
}

bool tun_routes_would_catch(const struct tun_routes *routes, const struct netlink_address *network)
{
	struct netlink_address host;
	for (size_t i = 0; i < routes->plan.known_count; i++)
		if (to_host(&routes->plan.known[i], &host) && netlink_covers(network, &host))
			return true;
	return false;
}

int tun_routes_pin_from(struct tun_routes *routes, const struct netlink_address *network)
{
	struct netlink_address host;
	const struct tun_routes_plan *plan = &routes->plan;
	if (plan->server[0] && plan->known_count == 0)
		return -EHOSTUNREACH;
	for (size_t i = 0; i < plan->known_count; i++) {
		bool is_caught = to_host(&plan->known[i], &host) && netlink_covers(network, &host);
		int result = is_caught ? netlink_pin(routes->netlink, &host) : 0;
		if (result < 0)
			return result;
	}
	return 0;
}

// Whatever names a reload brings are not asked for: a loop that carries packets does not wait for a name service.
void tun_routes_keep_server(const struct tun_routes_plan *old, struct tun_routes_plan *next)
{
	struct address literal;
	if ((next->count == 0 && !next->takes_more) || !next->server[0])
		return; // nothing can catch it: its name is asked for again
	if (address_from_ip(next->server, next->port, &literal) == 0) {
		next->known[0] = literal;
		next->known_count = 1;
	} else if (strcmp(next->server, old->server) == 0 && next->port == old->port) {
		memcpy(next->known, old->known, sizeof next->known);
		next->known_count = old->known_count;
	}
}

size_t tun_routes_pinned(const struct tun_routes *routes, const struct address **list)
{
	*list = routes->plan.known;
	return routes->plan.is_pinned ? routes->plan.known_count : 0;
}

// ---- while it runs

static void on_settled(void *owner)
{
	struct tun_routes *routes = owner;
	routes->is_settling = false;
	unsigned count = netlink_follow(routes->netlink);
	if (count > 0)
		log_info("tun_routes", "the routes of this machine have changed: the server is reached another way");
}

// Of the many changes in a large table only those matter that a known host may be reached by, or that are ours.
static void on_change(void *owner, enum netlink_news_kind kind, const struct netlink_address *to)
{
	struct tun_routes *routes = owner;
	struct netlink_address host;
	bool matters = kind == NETLINK_NEWS_LINK || kind == NETLINK_NEWS_LOST || (to && tun_routes_has(routes, to));
	for (size_t i = 0; to && i < routes->plan.known_count && !matters; i++)
		matters = to_host(&routes->plan.known[i], &host) && netlink_covers(to, &host);
	if (!matters || routes->is_settling)
		return;
	routes->is_settling = true;
	loop_timer_arm(routes->settled, SETTLED_MS, 0);
}

static bool is_known(const struct tun_routes_plan *plan, const struct address *address)
{
	for (size_t i = 0; i < plan->known_count; i++)
		if (address_is_same_host(&plan->known[i], address))
			return true;
	return false;
}

// The addresses of the answer first, then the earlier ones.
static void merge(const struct tun_routes_plan *old, struct tun_routes_plan *next)
{
	for (size_t i = 0; i < old->known_count && next->known_count < DIAL_ADDRESSES; i++)
		if (!is_known(next, &old->known[i]))
			next->known[next->known_count++] = old->known[i];
}

static void on_lookup(void *owner, int error, const struct addrinfo *list)
{
	struct tun_routes *routes = owner;
	struct tun_routes_plan *plan = &routes->plan, next = routes->plan;
	char problem[TUN_ROUTES_PROBLEM_BYTES];
	next.known_count = 0;
	next.is_pinned = false;
	if (error == 0)
		know(&next, list);
	bool is_news = false;
	for (size_t i = 0; i < next.known_count; i++)
		is_news = is_news || !is_known(plan, &next.known[i]);
	if (!is_news)
		return;
	merge(plan, &next);
	if (tun_routes_pin(routes, &next, problem) < 0) {
		log_warn("tun_routes", "%s has a new address, but %s", plan->server, problem);
		tun_routes_unpin_others(routes, &next, plan);
		return;
	}
	tun_routes_unpin_others(routes, plan, &next);
	*plan = next;
	log_info("tun_routes", "%s has a new address", plan->server);
	if (routes->on_moved)
		routes->on_moved(routes->owner);
}

static void on_ask(void *owner)
{
	struct tun_routes *routes = owner;
	char port_text[8];
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
	struct address literal;
	if (routes->lookup || (routes->plan.count == 0 && !routes->plan.takes_more) || !routes->plan.server[0] ||
	    address_from_ip(routes->plan.server, routes->plan.port, &literal) == 0)
		return;
	snprintf(port_text, sizeof port_text, "%u", routes->plan.port);
	int result = loop_lookup_start(routes->loop, routes->plan.server, port_text, &hints, on_lookup, routes,
	                               &routes->lookup);
	if (result < 0)
		log_debug("tun_routes", "%s is not asked for: %s", routes->plan.server, outcome_text(result));
}

int tun_routes_follow(struct tun_routes *routes, struct loop *loop, tun_routes_fn on_moved, void *owner)
{
	routes->loop = loop;
	routes->on_moved = on_moved;
	routes->owner = owner;
	int result = loop_timer_open(loop, on_settled, routes, &routes->settled);
	if (result == 0)
		result = loop_timer_open(loop, on_ask, routes, &routes->ask);
	if (result == 0)
		result = netlink_news_open(loop, on_change, routes, &routes->news);
	if (result == 0 && routes->plan.server[0])
		loop_timer_arm(routes->ask, ASK_FIRST_MS, ASK_AGAIN_MS);
	return result;
}

void tun_routes_note_link(struct tun_routes *routes, bool is_up)
{
	if (!routes->ask || !routes->plan.server[0] || routes->is_up == is_up)
		return;
	routes->is_up = is_up;
	if (is_up)
		loop_timer_disarm(routes->ask);
	else
		loop_timer_arm(routes->ask, ASK_FIRST_MS, ASK_AGAIN_MS);
}

void tun_routes_unfollow(struct tun_routes *routes)
{
	netlink_news_close(&routes->news);
	loop_lookup_cancel(&routes->lookup);
	if (routes->settled)
		loop_timer_close(&routes->settled);
	if (routes->ask)
		loop_timer_close(&routes->ask);
}
