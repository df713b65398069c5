#include "cmd/tun_routes_internal.h"

#include "core/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static void plan_fini(struct tun_routes_plan *plan)
{
	free(plan->networks);
	*plan = (struct tun_routes_plan){0};
}

static void add_network(struct tun_routes_plan *plan, struct netlink_address network)
{
	plan->networks[plan->count++] = network;
	if (network.bits > 0)
		return;
	plan->has_default = true;
	plan->networks[plan->count - 1].bits = 1;
	plan->networks[plan->count] = plan->networks[plan->count - 1];
	plan->networks[plan->count++].bytes[0] = 0x80;
}

static bool has_network(const struct tun_routes_plan *plan, const struct netlink_address *network)
{
	for (size_t i = 0; i < plan->count; i++)
		if (netlink_is_same(&plan->networks[i], network))
			return true;
	return false;
}

static const struct netlink_address halves[2][2] = {
	{{.family = AF_INET, .bits = 1}, {.family = AF_INET, .bits = 1, .bytes = {0x80}}},
	{{.family = AF_INET6, .bits = 1}, {.family = AF_INET6, .bits = 1, .bytes = {0x80}}},
};

static bool has_all(const struct tun_routes_plan *plan, const struct netlink_address all[2])
{
	return has_network(plan, &all[0]) && has_network(plan, &all[1]);
}

// Whoever sends everything through the tunnel does not mean: but for the version of IP that was forgotten.
static void add_others(struct tun_routes_plan *plan)
{
	plan->guard_count = plan->count;
	for (unsigned i = 0; i < 2; i++) {
		if (!has_all(plan, halves[i]) || has_all(plan, halves[1 - i]))
			continue;
		for (unsigned k = 0; k < 2; k++)
			if (!has_network(plan, &halves[1 - i][k]))
				plan->networks[plan->guard_count++] = halves[1 - i][k];
	}
}

static int plan_init(struct tun_routes_plan *plan, const struct tun_routes_settings *settings)
{
	struct netlink_address network;
	*plan = (struct tun_routes_plan){.port = settings->port,
	                                 .kill_switch = settings->kill_switch,
	                                 .takes_more = settings->takes_more,
	                                 .networks = calloc(2 * settings->count + 2, sizeof *plan->networks)};
	if (!plan->networks)
		return -ENOMEM;
	snprintf(plan->server, sizeof plan->server, "%s", settings->server ? settings->server : "");
	for (size_t i = 0; i < settings->count; i++) {
		if (netlink_parse(settings->networks[i], &network) != 0)
			continue; // has been checked with the configuration
		netlink_normalise(&network);
		plan->has_default = plan->has_default || network.bits <= 1;
		add_network(plan, network);
	}
	add_others(plan);
	return 0;
}

// ---- start and reload

static bool is_more(const struct tun_routes *routes, const struct netlink_address *network)
{
	for (size_t i = 0; i < routes->more_count; i++)
		if (netlink_is_same(&routes->more[i], network))
			return true;
	return false;
}

static bool has_guard(const struct tun_routes_plan *plan, const struct netlink_address *network)
{
	for (size_t i = 0; i < plan->guard_count && plan->kill_switch; i++)
		if (netlink_is_same(&plan->networks[i], network))
			return true;
	return false;
}

static void remove_others(struct tun_routes *routes, const struct tun_routes_plan *from, size_t count,
                          const struct tun_routes_plan *but)
{
	for (size_t i = 0; i < count; i++)
		if (!has_network(but, &from->networks[i]) && !is_more(routes, &from->networks[i]))
			netlink_remove_route(routes->netlink, &from->networks[i]);
}

// Guarded for being of the other version of IP than everything that is routed, perhaps by what was added.
static bool is_other(const struct tun_routes *routes, const struct tun_routes_plan *plan,
                     const struct netlink_address *network)
{
	const struct netlink_address *all = halves[network->family == AF_INET], *own = halves[network->family == AF_INET6];
	if (!netlink_is_same(network, &own[0]) && !netlink_is_same(network, &own[1]))
		return false;
	for (unsigned i = 0; i < 2; i++)
		if (!has_network(plan, &all[i]) && !is_more(routes, &all[i]))
			return false;
	return plan->kill_switch;
}

static void remove_other_guards(struct tun_routes *routes, const struct tun_routes_plan *from,
                                const struct tun_routes_plan *but)
{
	for (size_t i = 0; i < from->guard_count && from->kill_switch; i++)
		if (!has_guard(but, &from->networks[i]) && !is_more(routes, &from->networks[i]) &&
		    !is_other(routes, but, &from->networks[i]))
			netlink_unguard(routes->netlink, &from->networks[i]);
}

// A machine without this version of IP has nothing to guard.
static bool has_no_such_ip(int result)
{
	return result == -EAFNOSUPPORT || result == -EOPNOTSUPP || result == -EACCES || result == -ENODEV;
}

static int add_guards(struct tun_routes *routes, const struct tun_routes_plan *next, char *problem)
{
	char text[NETLINK_TEXT_BYTES];
	for (size_t i = 0; i < next->guard_count && next->kill_switch; i++) {
		int result = netlink_guard(routes->netlink, &next->networks[i]);
		if (result == 0 || (i >= next->count && has_no_such_ip(result)))
			continue;
		netlink_format(&next->networks[i], text);
		snprintf(problem, TUN_ROUTES_PROBLEM_BYTES, "the kill switch cannot guard %s: %s", text,
		         result == NETLINK_RIVAL ? "there is another route to it, which would be used when this process ended"
		                                 : outcome_text(result));
		return result < 0 ? result : -EEXIST;
	}
	return 0;
}

static int add_routes(struct tun_routes *routes, const struct tun_routes_plan *next, char *problem)
{
	char text[NETLINK_TEXT_BYTES];
	for (size_t i = 0; i < next->count; i++) {
		bool is_there = has_network(&routes->plan, &next->networks[i]) || is_more(routes, &next->networks[i]);
		int result = is_there ? 0 : netlink_add_route(routes->netlink, &next->networks[i]);
		if (result == 0)
			continue;
		netlink_format(&next->networks[i], text);
		if (result == -EEXIST)
			snprintf(problem, TUN_ROUTES_PROBLEM_BYTES, "the route to %s exists already and is not ours: it stays",
			         text);
		else
			snprintf(problem, TUN_ROUTES_PROBLEM_BYTES, "%s: the route to %s: %s",
			         tun_name(tun_device_tun(routes->device)), text, outcome_text(result));
		remove_others(routes, next, i, &routes->plan);
		return result;
	}
	return 0;
}

static bool is_routed(const struct tun_routes *routes, const struct netlink_address *network)
{
	return has_network(&routes->plan, network) || is_more(routes, network);
}

// With what was added as well.
static void guard_others(struct tun_routes *routes)
{
	for (unsigned i = 0; i < 2 && routes->plan.kill_switch; i++) {
		const struct netlink_address *all = halves[i], *other = halves[1 - i];
		bool is_all = is_routed(routes, &all[0]) && is_routed(routes, &all[1]);
		for (unsigned k = 0; k < 2; k++) {
			if (is_routed(routes, &other[k]))
				continue;
			int result = is_all ? netlink_guard(routes->netlink, &other[k]) : 0;
			if (!is_all)
				netlink_unguard(routes->netlink, &other[k]);
			if (result != 0 && !has_no_such_ip(result))
				log_error("tun_routes", "kill switch: the other version of IP cannot be guarded: %s",
				          outcome_text(result));
		}
	}
}

// Takes what is in `next`.
static int put_into_force(struct tun_routes *routes, struct tun_routes_plan *next, char *problem)
{
	int result = tun_routes_pin(routes, next, problem);
	if (result == 0)
		result = add_guards(routes, next, problem);
	if (result == 0)
		result = add_routes(routes, next, problem);
	if (result < 0) {
		remove_other_guards(routes, next, &routes->plan);
		tun_routes_unpin_others(routes, next, &routes->plan);
		plan_fini(next);
		guard_others(routes);
		return result;
	}
	remove_others(routes, &routes->plan, routes->plan.count, next);
	remove_other_guards(routes, &routes->plan, next);
	tun_routes_unpin_others(routes, &routes->plan, next);
	plan_fini(&routes->plan);
	routes->plan = *next;
	guard_others(routes);
	return 0;
}

// ---- what killed processes left

bool tun_routes_has(const struct tun_routes *routes, const struct netlink_address *network)
{
	for (size_t i = 0; i < routes->plan.guard_count; i++)
		if (netlink_is_same(&routes->plan.networks[i], network))
			return true;
	return is_more(routes, network);
}

static bool is_ours(void *owner, const struct netlink_address *to)
{
	return tun_routes_has(owner, to);
}

static void sweep(struct tun_routes *routes)
{
	struct netlink_swept swept;
	int result = netlink_sweep(routes->netlink, is_ours, routes, &swept);
	if (result < 0)
		log_warn("tun_routes", "what killed processes left cannot be looked for: %s", outcome_text(result));
	if (swept.pins + swept.guards > 0)
		log_info("tun_routes", "taken back from killed processes: %u routes past their device, %u guards", swept.pins,
		         swept.guards);
	if (swept.left > 0 && !routes->has_left)
		log_warn("tun_routes",
		         "%u networks that are not routed here are unreachable by the kill switch of a killed process: "
		         "\"qanat vpn release\" takes that back",
		         swept.left);
	routes->has_left = swept.left > 0;
}

// ---- added later

// But for a guard that something else wants.
static void unguard(struct tun_routes *routes, const struct netlink_address *network)
{
	if (!tun_routes_has(routes, network) && !is_other(routes, &routes->plan, network))
		netlink_unguard(routes->netlink, network);
}

static int add_more(struct tun_routes *routes, const struct netlink_address *network)
{
	if (routes->more_count == routes->more_room) {
		size_t room = routes->more_room ? routes->more_room * 2 : 16;
		struct netlink_address *more = reallocarray(routes->more, room, sizeof *more);
		if (!more)
			return -ENOMEM;
		routes->more = more;
		routes->more_room = room;
	}
	int result = tun_routes_pin_from(routes, network);
	if (result == 0 && routes->plan.kill_switch)
		result = netlink_guard(routes->netlink, network) == 0 ? 0 : -EEXIST;
	if (result == 0 && !is_routed(routes, network))
		result = netlink_add_route(routes->netlink, network);
	if (result < 0)
		unguard(routes, network);
	else
		routes->more[routes->more_count++] = *network;
	return result;
}

static void remove_more(struct tun_routes *routes, const struct netlink_address *network)
{
	for (size_t i = 0; i < routes->more_count; i++) {
		if (!netlink_is_same(&routes->more[i], network))
			continue;
		routes->more[i] = routes->more[--routes->more_count];
		if (is_routed(routes, network))
			return;
		netlink_remove_route(routes->netlink, network);
		unguard(routes, network);
		return;
	}
}

static unsigned split(const struct netlink_address *network, struct netlink_address parts[2])
{
	parts[0] = *network;
	netlink_normalise(&parts[0]);
	if (parts[0].bits > 0)
		return 1;
	memcpy(parts, halves[network->family == AF_INET6], 2 * sizeof *parts);
	return 2;
}

int tun_routes_add(struct tun_routes *routes, const struct netlink_address *network)
{
	struct netlink_address parts[2];
	unsigned count = split(network, parts);
	for (unsigned i = 0; i < count; i++) {
		int result = add_more(routes, &parts[i]);
		if (result == 0)
			continue;
		if (i > 0)
			remove_more(routes, &parts[0]);
		guard_others(routes);
		return result;
	}
	guard_others(routes);
	if (routes->has_left) // perhaps this one's, which the killed process was given as well
		sweep(routes);
	return 0;
}

void tun_routes_remove(struct tun_routes *routes, const struct netlink_address *network)
{
	struct netlink_address parts[2];
	unsigned count = split(network, parts);
	for (unsigned i = 0; i < count; i++)
		remove_more(routes, &parts[i]);
	guard_others(routes);
}

static void tell_guards(const struct tun_routes_plan *plan)
{
	if (!plan->kill_switch || plan->guard_count == 0)
		return;
	log_info("tun_routes", "kill switch: %zu networks are unreachable but through the tunnel%s", plan->guard_count,
	         plan->guard_count > plan->count ? ", with all of the version of IP that has no route" : "");
}

int tun_routes_open(struct tun_device *device, const struct tun_routes_settings *settings, struct tun_routes **routes,
                    char problem[TUN_ROUTES_PROBLEM_BYTES])
{
	struct tun_routes_plan plan;
	struct tun_routes *opened = calloc(1, sizeof *opened);
	int result = opened ? plan_init(&plan, settings) : -ENOMEM;
	if (result < 0) {
		free(opened);
		snprintf(problem, TUN_ROUTES_PROBLEM_BYTES, "no memory for routes");
		return result;
	}
	opened->device = device;
	opened->netlink = tun_device_netlink(device);
	if ((plan.count > 0 || plan.takes_more) && plan.server[0])
		tun_routes_find_server(opened->netlink, &plan);
	result = put_into_force(opened, &plan, problem);
	if (result < 0) {
		tun_routes_close(&opened);
		return result;
	}
	tell_guards(&opened->plan);
	*routes = opened;
	return 0;
}

void tun_routes_settle(struct tun_routes *routes)
{
	netlink_settle(routes->netlink);
	sweep(routes);
}

int tun_routes_set(struct tun_routes *routes, const struct tun_routes_settings *settings,
                   char problem[TUN_ROUTES_PROBLEM_BYTES])
{
	struct tun_routes_plan next;
	int result = plan_init(&next, settings);
	if (result < 0) {
		snprintf(problem, TUN_ROUTES_PROBLEM_BYTES, "no memory for routes");
		return result;
	}
	tun_routes_keep_server(&routes->plan, &next);
	loop_lookup_cancel(&routes->lookup); // it may be for an earlier name
	return put_into_force(routes, &next, problem);
}

void tun_routes_leave_guards(struct tun_routes *routes)
{
	if (!routes || !routes->plan.kill_switch || routes->plan.guard_count == 0)
		return;
	netlink_leave_guards(routes->netlink);
	log_warn("tun_routes", "kill switch: the routed networks stay unreachable until the next start; "
	                       "\"qanat vpn release\" takes that back");
}

void tun_routes_close(struct tun_routes **routes)
{
	struct tun_routes *closing = *routes;
	if (!closing)
		return;
	*routes = NULL;
	tun_routes_unfollow(closing);
	free(closing->more);
	plan_fini(&closing->plan);
	free(closing);
}
