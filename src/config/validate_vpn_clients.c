// A vpn server's clients: every one has addresses of its own, and nobody has another's.

#include "config/validate_vpn.h"
#include "fleet/naming.h"
#include "link/grant.h"

#include <string.h>

// Larger pools than this are a mistake, smaller ones have no address to give.
#define POOL4_LEAST_BITS 8
#define POOL4_MOST_BITS 30
#define POOL6_LEAST_BITS 32
#define POOL6_MOST_BITS 126

static bool is_given(const char *text)
{
	return text && text[0];
}

static struct tree_place place_of(struct load *load, const char *path, size_t item)
{
	const struct load_setting *setting = load_setting(load, path);
	return setting->item_places ? setting->item_places[item] : setting->place;
}

// ---- pools

static void check_pool(struct load *load, const char *path, const char *text, unsigned version)
{
	struct grant_network pool;
	unsigned least = version == 4 ? POOL4_LEAST_BITS : POOL6_LEAST_BITS;
	unsigned most = version == 4 ? POOL4_MOST_BITS : POOL6_MOST_BITS;
	if (!is_given(text))
		return;
	struct tree_place place = place_of(load, path, 0);
	if (!grant_parse(text, &pool) || pool.version != version || !grant_is_network(&pool))
		problem_add(&load->problems, place, path, "must be a network without host bits such as %s",
		            version == 4 ? "192.168.3.0/24" : "fd03::/64");
	else if (pool.bits < least || pool.bits > most)
		problem_add(&load->problems, place, path, "must have a prefix of %u to %u bits", least, most);
	if (version == 6 && load->config->vpn.mtu < 1280)
		problem_add(&load->problems, place, path, "IPv6 needs vpn.mtu of 1280 or more");
}

// ---- one client

static bool is_own(const char *own, const struct grant_network *address)
{
	struct grant_network ours;
	return is_given(own) && grant_parse(own, &ours) && ours.version == address->version &&
	       memcmp(ours.bytes, address->bytes, sizeof ours.bytes) == 0;
}

static const char *address_problem(const struct config *config, const char *text, unsigned version)
{
	struct grant_network address;
	if (!grant_parse(text, &address) || address.version != version || !grant_is_host(&address))
		return version == 4 ? "must be an IPv4 address such as 192.168.3.7/24"
		                    : "must be an IPv6 address such as fd03::7/64";
	if (is_own(version == 4 ? config->vpn.ipv4 : config->vpn.ipv6, &address))
		return "is the server's own address";
	return NULL;
}

static void check_client(struct load *load, size_t number)
{
	const struct config *config = load->config;
	const struct config_vpn_client *client = &config->vpn.clients[number];
	struct tree_place place = place_of(load, "vpn.clients", number);
	const char *problem = is_given(client->ipv4) ? address_problem(config, client->ipv4, 4) : NULL;
	if (client->name && !naming_is_good(client->name))
		problem_add(&load->problems, place, "vpn.clients",
		            "\"%s\": a name has letters, digits, '.', '_' and '-', and begins with one of the first two",
		            client->name);
	if (problem)
		problem_add(&load->problems, place, "vpn.clients.ipv4", "%s", problem);
	problem = is_given(client->ipv6) ? address_problem(config, client->ipv6, 6) : NULL;
	if (problem)
		problem_add(&load->problems, place, "vpn.clients.ipv6", "%s", problem);
	if (is_given(client->ipv6) && config->vpn.mtu < 1280)
		problem_add(&load->problems, place, "vpn.clients.ipv6", "IPv6 needs vpn.mtu of 1280 or more");
	bool has_pool = is_given(config->vpn.pool_ipv4) || is_given(config->vpn.pool_ipv6);
	if (!has_pool && !is_given(client->ipv4) && !is_given(client->ipv6))
		problem_add(&load->problems, place, "vpn.clients", "needs ipv4 or ipv6: there is no pool to take them from");
	struct grant_network route;
	for (size_t i = 0; i < client->route_count; i++)
		if (!grant_parse(client->routes[i], &route) || route.bits == 0)
			problem_add(&load->problems, place, "vpn.clients.routes", "\"%s\" is not a network such as 10.7.0.0/16",
			            client->routes[i]);
}

// ---- two clients

static bool is_same_text(const char *a, const char *b)
{
	return a && b && strcmp(a, b) == 0;
}

static bool is_same_host(const char *a, const char *b)
{
	struct grant_network one, other;
	return is_given(a) && is_given(b) && grant_parse(a, &one) && grant_parse(b, &other) &&
	       one.version == other.version && memcmp(one.bytes, other.bytes, sizeof one.bytes) == 0;
}

static bool share_a_route(const struct config_vpn_client *a, const struct config_vpn_client *b)
{
	struct grant_network one, other;
	for (size_t i = 0; i < a->route_count; i++)
		for (size_t j = 0; j < b->route_count; j++) {
			if (!grant_parse(a->routes[i], &one) || !grant_parse(b->routes[j], &other))
				continue;
			grant_normalise(&one);
			grant_normalise(&other);
			if (grant_is_same_network(&one, &other))
				return true;
		}
	return false;
}

static void check_two(struct load *load, size_t number, size_t earlier)
{
	const struct config_vpn_client *a = &load->config->vpn.clients[number], *b = &load->config->vpn.clients[earlier];
	struct tree_place place = place_of(load, "vpn.clients", number);
	if (is_same_text(a->name, b->name)) {
		problem_add(&load->problems, place, "vpn.clients", "\"%s\" is listed twice", a->name);
		return;
	}
	if (is_same_host(a->ipv4, b->ipv4) || is_same_host(a->ipv6, b->ipv6))
		problem_add(&load->problems, place, "vpn.clients", "has an address that \"%s\" has as well", b->name);
	if (share_a_route(a, b))
		problem_add(&load->problems, place, "vpn.clients.routes", "has a network that \"%s\" has as well", b->name);
}

// ---- all

static void check_lists(struct load *load)
{
	const struct config_of_vpn *vpn = &load->config->vpn;
	struct grant_network route;
	for (size_t i = 0; i < vpn->push_route_count; i++)
		if (!grant_parse(vpn->push_routes[i], &route))
			problem_add(&load->problems, place_of(load, "vpn.push_routes", i), "vpn.push_routes",
			            "\"%s\" is not a network such as 10.0.0.0/8 or fd00:7::/64", vpn->push_routes[i]);
	for (size_t i = 0; i < vpn->name_rule_count; i++) {
		const char *problem = naming_rule_problem(vpn->name_rules[i]);
		if (problem)
			problem_add(&load->problems, place_of(load, "vpn.name_rules", i), "vpn.name_rules", "\"%s\": %s",
			            vpn->name_rules[i], problem);
	}
}

void validate_vpn_clients(struct load *load)
{
	const struct config_of_vpn *vpn = &load->config->vpn;
	bool assigns = vpn->client_count > 0 || is_given(vpn->pool_ipv4) || is_given(vpn->pool_ipv6);
	check_pool(load, "vpn.pool_ipv4", vpn->pool_ipv4, 4);
	check_pool(load, "vpn.pool_ipv6", vpn->pool_ipv6, 6);
	check_lists(load);
	for (size_t i = 0; i < vpn->client_count; i++) {
		check_client(load, i);
		for (size_t j = 0; j < i; j++)
			check_two(load, i, j);
	}
	if (vpn->max_clients > 1 && !assigns)
		problem_add(&load->problems, place_of(load, "vpn.max_clients", 0), "vpn.max_clients",
		            "more than one client needs addresses for each: vpn.clients, vpn.pool_ipv4 or vpn.pool_ipv6");
	if (vpn->client_to_client && !assigns)
		problem_add(
			&load->problems, place_of(load, "vpn.client_to_client", 0), "vpn.client_to_client",
			"needs clients that the server knows the addresses of: vpn.clients, vpn.pool_ipv4 or vpn.pool_ipv6");
	if (vpn->push_route_count > 0 && !assigns)
		problem_add(&load->problems, place_of(load, "vpn.push_routes", 0), "vpn.push_routes",
		            "are told together with addresses: needs vpn.clients, vpn.pool_ipv4 or vpn.pool_ipv6");
}
