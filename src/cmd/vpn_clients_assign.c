// What a client gets, by its name: addresses that are written down for it, or of the pool; networks behind it; a limit.

#include "cmd/vpn_clients.h"

#include "core/clock.h"
#include "core/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAY(...) (void)snprintf(text, LIMIT_REASON_BYTES + 1, __VA_ARGS__)

static bool is_given(const char *text)
{
	return text && text[0];
}

bool vpn_clients_are_for(const struct config *config)
{
	return config->vpn.client_count > 0 || is_given(config->vpn.pool_ipv4) || is_given(config->vpn.pool_ipv6);
}

// NULL: it is not written down.
static const struct config_vpn_client *entry_of(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->vpn.client_count; i++)
		if (strcmp(config->vpn.clients[i].name, name) == 0)
			return &config->vpn.clients[i];
	return NULL;
}

bool vpn_clients_knows(const struct vpn *vpn, const char *name)
{
	return vpn->clients->leases || entry_of(vpn->config, name);
}

uint64_t vpn_clients_limit(const struct config *config, const char *name)
{
	const struct config_vpn_client *entry = entry_of(config, name);
	return entry && entry->bandwidth_limit ? entry->bandwidth_limit : config->vpn.bandwidth_limit;
}

// ---- the pool

// Addresses of a pool without the network itself and, of IPv4, its broadcast address.
static uint32_t size_of(const struct grant_network *pool)
{
	unsigned bits = (pool->version == 4 ? 32u : 128u) - pool->bits;
	if (bits >= 20)
		return LIMIT_VPN_LEASES;
	uint32_t size = (1u << bits) - (pool->version == 4 ? 2 : 1);
	return size < LIMIT_VPN_LEASES ? size : LIMIT_VPN_LEASES;
}

int vpn_clients_pool(struct vpn *vpn)
{
	struct vpn_clients *clients = vpn->clients;
	const struct config_of_vpn *config = &vpn->config->vpn;
	uint32_t count = LIMIT_VPN_LEASES;
	// Both have been checked with the configuration.
	if (is_given(config->pool_ipv4) && grant_parse(config->pool_ipv4, &clients->pool4))
		count = size_of(&clients->pool4);
	if (is_given(config->pool_ipv6) && grant_parse(config->pool_ipv6, &clients->pool6) &&
	    size_of(&clients->pool6) < count)
		count = size_of(&clients->pool6);
	if (!clients->pool4.version && !clients->pool6.version)
		return 0;
	clients->pool_count = count;
	return leases_new(count, &clients->leases);
}

static struct grant_network address_of(const struct grant_network *pool, uint32_t number)
{
	struct grant_network address = *pool;
	size_t last = pool->version == 4 ? 3 : 15;
	for (unsigned i = 0; pool->version != 0 && i < 4; i++)
		address.bytes[last - i] |= (uint8_t)(number >> (8 * i));
	return address;
}

// The number of an address within a pool; 0: it is not in it, or beyond what is leased.
static uint32_t number_of(const struct vpn_clients *clients, const struct grant_network *pool, const char *text)
{
	struct grant_network address;
	if (!is_given(text) || pool->version == 0 || !grant_parse(text, &address) || address.version != pool->version)
		return 0;
	address.bits = pool->version == 4 ? 32 : 128;
	if (!grant_covers(pool, &address))
		return 0;
	size_t last = pool->version == 4 ? 3 : 15;
	uint32_t number = 0;
	for (size_t i = 4; i > 0; i--)
		number = number << 8 | (uint32_t)(address.bytes[last + 1 - i] ^ pool->bytes[last + 1 - i]);
	struct grant_network again = address_of(pool, number);
	again.bits = address.bits;
	return number <= clients->pool_count && grant_is_same_network(&again, &address) ? number : 0;
}

static void reserve(struct vpn_clients *clients, const struct grant_network *pool, const char *text)
{
	uint32_t number = number_of(clients, pool, text);
	if (number > 0)
		leases_reserve(clients->leases, number, true);
}

void vpn_clients_reserve(struct vpn *vpn)
{
	struct vpn_clients *clients = vpn->clients;
	const struct config_of_vpn *config = &vpn->config->vpn;
	for (uint32_t i = 1; i <= clients->pool_count; i++)
		leases_reserve(clients->leases, i, false);
	reserve(clients, &clients->pool4, config->ipv4);
	reserve(clients, &clients->pool6, config->ipv6);
	for (size_t i = 0; i < config->client_count; i++) {
		reserve(clients, &clients->pool4, config->clients[i].ipv4);
		reserve(clients, &clients->pool6, config->clients[i].ipv6);
	}
}

// ---- one client

enum control_reason vpn_clients_name(const struct config *config, const struct link_peer *peer, char name[NAMING_BYTES],
                                     char text[LIMIT_REASON_BYTES + 1])
{
	static const char *const usual[] = {"URI:urn:qanat:device:*", "DNS:*", "CN=*"};
	bool has_rules = config->vpn.name_rule_count > 0;
	const char *const *rules = has_rules ? (const char *const *)config->vpn.name_rules : usual;
	int r = naming_find(peer->x509, rules, has_rules ? config->vpn.name_rule_count : COUNT_OF(usual), "", name);
	if (r == 0)
		return CONTROL_REASON_NONE;
	if (r == NAMING_SEVERAL)
		SAY("the certificate has several names: vpn.name_rules must tell which is meant");
	else
		SAY("the certificate has no name that vpn.name_rules makes a client's name of");
	return CONTROL_REASON_PEER_POLICY;
}

static void push_routes(const struct config *config, struct grant *given)
{
	for (size_t i = 0; i < config->vpn.push_route_count && given->route_count < LIMIT_GRANT_ROUTES; i++) {
		struct grant_network *route = &given->routes[given->route_count];
		if (!grant_parse(config->vpn.push_routes[i], route)) // has been checked with the configuration
			continue;
		grant_normalise(route);
		given->route_count++;
	}
}

static enum control_reason lease(struct vpn *vpn, struct vpn_assignment *assignment, char text[LIMIT_REASON_BYTES + 1])
{
	struct vpn_clients *clients = vpn->clients;
	bool needs4 = assignment->given.ipv4.version == 0 && clients->pool4.version != 0;
	bool needs6 = assignment->given.ipv6.version == 0 && clients->pool6.version != 0;
	if (!needs4 && !needs6)
		return CONTROL_REASON_NONE;
	int r = leases_take(clients->leases, assignment->name, clock_ms(), &assignment->lease);
	if (r != 0) {
		SAY("%s", r == LEASES_FULL ? "no address of the pool is free" : outcome_text(r));
		return r == LEASES_FULL ? CONTROL_REASON_LIMIT : CONTROL_REASON_INTERNAL;
	}
	if (needs4)
		assignment->given.ipv4 = address_of(&clients->pool4, assignment->lease);
	if (needs6)
		assignment->given.ipv6 = address_of(&clients->pool6, assignment->lease);
	return CONTROL_REASON_NONE;
}

enum control_reason vpn_clients_assign(struct vpn *vpn, struct vpn_assignment *assignment,
                                       char text[LIMIT_REASON_BYTES + 1])
{
	const struct config_vpn_client *entry = entry_of(vpn->config, assignment->name);
	assignment->lease = 0;
	assignment->given = (struct grant){.is_given = true};
	if (entry && is_given(entry->ipv4))
		(void)!grant_parse(entry->ipv4, &assignment->given.ipv4);
	if (entry && is_given(entry->ipv6))
		(void)!grant_parse(entry->ipv6, &assignment->given.ipv6);
	push_routes(vpn->config, &assignment->given);
	return lease(vpn, assignment, text);
}

// ---- the table

static size_t add_place(struct lanes_place *places, size_t count, struct lanes_peer *peer, struct grant_network network,
                        bool is_host)
{
	if (network.version == 0)
		return count;
	if (is_host)
		network.bits = network.version == 4 ? 32 : 128;
	places[count] = (struct lanes_place){.network = grant_to_cidr(&network), .peer = peer};
	return count + 1;
}

static size_t add_client(const struct config *config, struct lanes_place *places, size_t count,
                         const struct vpn_client *client)
{
	const struct config_vpn_client *entry = entry_of(config, client->name);
	struct grant_network route;
	for (size_t i = 0; entry && i < entry->route_count; i++)
		if (grant_parse(entry->routes[i], &route))
			count = add_place(places, count, client->peer, route, false);
	count = add_place(places, count, client->peer, client->given.ipv4, true);
	return add_place(places, count, client->peer, client->given.ipv6, true);
}

int vpn_clients_table(struct vpn *vpn, struct lanes_table **table)
{
	size_t most = 2 * (size_t)LIMIT_VPN_CLIENTS, count = 0;
	for (size_t i = 0; i < vpn->config->vpn.client_count; i++)
		most += vpn->config->vpn.clients[i].route_count;
	struct lanes_place *places = calloc(most, sizeof *places);
	if (!places)
		return -ENOMEM;
	for (uint32_t i = 0; i < LIMIT_VPN_CLIENTS; i++)
		if (vpn->clients->slots[i])
			count = add_client(vpn->config, places, count, vpn->clients->slots[i]);
	int result = lanes_table_new(places, count, LIMIT_VPN_CLIENTS, table);
	free(places);
	return result;
}

// ---- the kernel's routes to them

static bool is_listed(const struct netlink_address *list, size_t count, const struct netlink_address *network)
{
	for (size_t i = 0; i < count; i++)
		if (netlink_is_same(&list[i], network))
			return true;
	return false;
}

static bool is_on_device(const char *own, const struct netlink_address *network)
{
	struct netlink_address ours;
	return is_given(own) && netlink_parse(own, &ours) == 0 && netlink_covers(&ours, network);
}

static size_t want(const struct config *config, struct netlink_address *list, size_t count, const char *text,
                   bool is_host)
{
	struct netlink_address network;
	if (!is_given(text) || netlink_parse(text, &network) != 0)
		return count;
	if (is_host)
		network.bits = network.family == AF_INET ? 32 : 128;
	netlink_normalise(&network);
	if (is_on_device(config->vpn.ipv4, &network) || is_on_device(config->vpn.ipv6, &network) ||
	    is_listed(list, count, &network))
		return count;
	for (size_t i = 0; i < config->vpn.route_count; i++) {
		struct netlink_address route;
		if (netlink_parse(config->vpn.routes[i], &route) == 0 && netlink_covers(&route, &network))
			return count;
	}
	list[count] = network;
	return count + 1;
}

static size_t want_all(const struct config *config, struct netlink_address **list)
{
	size_t most = 2, count = 0;
	for (size_t i = 0; i < config->vpn.client_count; i++)
		most += 2 + config->vpn.clients[i].route_count;
	*list = calloc(most, sizeof **list);
	if (!*list)
		return 0;
	count = want(config, *list, count, config->vpn.pool_ipv4, false);
	count = want(config, *list, count, config->vpn.pool_ipv6, false);
	for (size_t i = 0; i < config->vpn.client_count; i++) {
		const struct config_vpn_client *entry = &config->vpn.clients[i];
		for (size_t j = 0; j < entry->route_count; j++)
			count = want(config, *list, count, entry->routes[j], false);
		count = want(config, *list, count, entry->ipv4, true);
		count = want(config, *list, count, entry->ipv6, true);
	}
	return count;
}

// The routes stand whether a client is there or not: what is for one that is away goes nowhere else.
int vpn_clients_routes(struct vpn *vpn)
{
	struct vpn_clients *clients = vpn->clients;
	struct netlink_address *list = NULL;
	char text[NETLINK_TEXT_BYTES];
	size_t count = want_all(vpn->config, &list), kept = 0;
	int status = 0;
	if (!list)
		return 1;
	for (size_t i = 0; i < clients->route_count; i++)
		if (!is_listed(list, count, &clients->routes[i]))
			tun_routes_remove(vpn->routes, &clients->routes[i]);
	for (size_t i = 0; i < count; i++) {
		int result = is_listed(clients->routes, clients->route_count, &list[i]) ? 0
		                                                                        : tun_routes_add(vpn->routes, &list[i]);
		if (result == 0) {
			list[kept++] = list[i];
			continue;
		}
		netlink_format(&list[i], text);
		log_error("vpn", "the route to %s, which clients have, cannot be: %s", text,
		          result == -EEXIST ? "there is one that is not ours" : outcome_text(result));
		status = 1;
	}
	free(clients->routes);
	clients->routes = list;
	clients->route_count = kept; // the next reload tries the others again
	return status;
}
