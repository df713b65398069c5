// Reading the kernel's routes: the way to a host but for our own, and what ended processes left.

#include "edge/netlink_private.h"

#include "core/log.h"
#include "limits.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

// A list that changed while it was read is read again so often.
#define LIST_TRIES 5

// ---- one route

static void read_gateway(const struct nlattr *attribute, int family, struct netlink_way *way)
{
	const uint8_t *bytes = mnl_attr_get_payload(attribute);
	size_t length = mnl_attr_get_payload_len(attribute);
	struct rtvia via;
	if (mnl_attr_get_type(attribute) == RTA_VIA) {
		if (length < sizeof via)
			return;
		memcpy(&via, bytes, sizeof via);
		family = via.rtvia_family;
		bytes += sizeof via;
		length -= sizeof via;
	}
	if (length > sizeof way->gateway)
		return;
	way->gateway_family = (uint8_t)family;
	memcpy(way->gateway, bytes, length);
}

static int on_attribute(const struct nlattr *attribute, void *owner);

// The first next hop that lives.
static void read_hops(const struct nlattr *attribute, struct netlink_route *route)
{
	const uint8_t *at = mnl_attr_get_payload(attribute), *end = at + mnl_attr_get_payload_len(attribute);
	struct rtnexthop hop;
	route->is_dead = true;
	while ((size_t)(end - at) >= sizeof hop) {
		memcpy(&hop, at, sizeof hop);
		size_t length = (hop.rtnh_len + RTNH_ALIGNTO - 1U) & ~(RTNH_ALIGNTO - 1U);
		if (hop.rtnh_len < sizeof hop || hop.rtnh_len > (size_t)(end - at))
			return;
		if (!(hop.rtnh_flags & (RTNH_F_DEAD | RTNH_F_LINKDOWN))) {
			route->is_dead = false;
			route->way.index = (uint32_t)hop.rtnh_ifindex;
			route->way.is_onlink = hop.rtnh_flags & RTNH_F_ONLINK;
			(void)mnl_attr_parse_payload(at + sizeof hop, hop.rtnh_len - sizeof hop, on_attribute, route);
			return;
		}
		at += length < (size_t)(end - at) ? length : (size_t)(end - at);
	}
}

static int on_attribute(const struct nlattr *attribute, void *owner)
{
	struct netlink_route *route = owner;
	size_t length = mnl_attr_get_payload_len(attribute), bytes = netlink_family_bits(route->to.family) / 8;
	switch (mnl_attr_get_type(attribute)) {
	case RTA_DST:
		if (length == bytes)
			memcpy(route->to.bytes, mnl_attr_get_payload(attribute), length);
		break;
	case RTA_PREFSRC:
		route->way.has_source = length == bytes;
		if (length == bytes)
			memcpy(route->way.source, mnl_attr_get_payload(attribute), length);
		break;
	case RTA_OIF:
		route->way.index = length == 4 ? mnl_attr_get_u32(attribute) : 0;
		break;
	case RTA_PRIORITY:
		route->metric = length == 4 ? mnl_attr_get_u32(attribute) : 0;
		break;
	case RTA_TABLE:
		route->table = length == 4 ? mnl_attr_get_u32(attribute) : 0;
		break;
	case RTA_GATEWAY:
	case RTA_VIA:
		read_gateway(attribute, route->to.family, &route->way);
		break;
	case RTA_MULTIPATH:
		read_hops(attribute, route);
		break;
	default:
		break;
	}
	return MNL_CB_OK;
}

bool netlink_read_route(const struct nlmsghdr *message, struct netlink_route *route)
{
	if (mnl_nlmsg_get_payload_len(message) < sizeof(struct rtmsg))
		return false;
	const struct rtmsg *head = mnl_nlmsg_get_payload(message);
	if (head->rtm_family != AF_INET && head->rtm_family != AF_INET6)
		return false;
	*route = (struct netlink_route){.to = {.family = head->rtm_family, .bits = head->rtm_dst_len},
	                                .way = {.type = head->rtm_type, .is_onlink = head->rtm_flags & RTNH_F_ONLINK},
	                                .protocol = head->rtm_protocol,
	                                .table = head->rtm_table,
	                                .is_dead = head->rtm_flags & (RTNH_F_DEAD | RTNH_F_LINKDOWN),
	                                .is_clone = head->rtm_flags & RTM_F_CLONED};
	return mnl_attr_parse(message, sizeof *head, on_attribute, route) >= 0;
}

// ---- all of them

static int list(struct netlink *netlink, int family, mnl_cb_t on_route, void *owner)
{
	char buffer[NETLINK_MESSAGE_BYTES];
	int result = -EINTR;
	for (unsigned i = 0; i < LIST_TRIES && result == -EINTR; i++) {
		struct nlmsghdr *message = netlink_begin(buffer, RTM_GETROUTE, NLM_F_DUMP);
		struct rtmsg *route = mnl_nlmsg_put_extra_header(message, sizeof *route);
		route->rtm_family = (uint8_t)family;
		result = netlink_ask(netlink, message, on_route, owner);
	}
	return result;
}

struct search {
	const struct netlink *netlink;
	const struct netlink_change *change;
	struct netlink_route best;
	bool is_found, is_there;
};

static bool is_candidate(const struct search *search, const struct netlink_route *route)
{
	return route->table == RT_TABLE_MAIN && !route->is_clone && !route->is_dead &&
	       route->protocol != NETLINK_PROTOCOL && route->way.index != search->netlink->index;
}

// ---- the way to a host

static int on_way(const struct nlmsghdr *message, void *owner)
{
	struct search *search = owner;
	struct netlink_route route;
	if (!netlink_read_route(message, &route) || !is_candidate(search, &route) ||
	    !netlink_covers(&route.to, &search->change->address))
		return MNL_CB_OK;
	if (search->is_found && (route.to.bits < search->best.to.bits ||
	                         (route.to.bits == search->best.to.bits && route.metric >= search->best.metric)))
		return MNL_CB_OK;
	search->is_found = true;
	search->best = route;
	return MNL_CB_OK;
}

static int on_answer(const struct nlmsghdr *message, void *owner)
{
	struct search *search = owner;
	search->is_found = netlink_read_route(message, &search->best);
	return MNL_CB_OK;
}

// The kernel's own answer, which knows rules and other tables as well.
static bool ask_way(struct netlink *netlink, struct search *search)
{
	char buffer[NETLINK_MESSAGE_BYTES];
	const struct netlink_address *to = &search->change->address;
	struct nlmsghdr *message = netlink_begin(buffer, RTM_GETROUTE, 0);
	struct rtmsg *route = mnl_nlmsg_put_extra_header(message, sizeof *route);
	route->rtm_family = (uint8_t)to->family;
	route->rtm_dst_len = to->bits;
	route->rtm_flags = RTM_F_FIB_MATCH;
	mnl_attr_put(message, RTA_DST, netlink_family_bits(to->family) / 8, to->bytes);
	if (netlink_ask(netlink, message, on_answer, search) < 0 || !search->is_found)
		return false;
	bool is_local = search->best.way.type == RTN_LOCAL;
	return is_local || (search->best.way.type == RTN_UNICAST && search->best.protocol != NETLINK_PROTOCOL &&
	                    search->best.way.index > 0 && search->best.way.index != netlink->index);
}

int netlink_find_way(struct netlink *netlink, const struct netlink_address *host, struct netlink_way *way)
{
	struct netlink_change wanted = {.address = *host};
	struct search search = {.netlink = netlink, .change = &wanted};
	if (!ask_way(netlink, &search)) {
		search.is_found = false;
		int result = list(netlink, host->family, on_way, &search);
		if (result < 0)
			return result;
		if (!search.is_found || search.best.way.type != RTN_UNICAST || search.best.way.index == 0)
			return -ENETUNREACH;
	}
	*way = search.best.way;
	return 0;
}

// ---- rivals of a guard

static bool is_guard(const struct netlink_route *route)
{
	return route->way.type == RTN_UNREACHABLE;
}

static int on_rival(const struct nlmsghdr *message, void *owner)
{
	struct search *search = owner;
	struct netlink_route route;
	if (!netlink_read_route(message, &route) || !netlink_is_same(&route.to, &search->change->address))
		return MNL_CB_OK;
	if (is_candidate(search, &route) && route.metric < search->change->metric)
		search->is_found = true;
	if (is_guard(&route) && route.table == RT_TABLE_MAIN && route.protocol == NETLINK_PROTOCOL &&
	    route.metric == search->change->metric)
		search->is_there = true;
	return MNL_CB_OK;
}

int netlink_find_rival(struct netlink *netlink, const struct netlink_change *change)
{
	struct search search = {.netlink = netlink, .change = change};
	int result = list(netlink, change->address.family, on_rival, &search);
	if (result < 0)
		return result;
	return search.is_found ? NETLINK_RIVAL : search.is_there ? NETLINK_IS_THERE : 0;
}

// ---- what other devices have

struct others {
	const struct netlink *netlink;
	struct netlink_address host, network;
	int found;
};

static int on_other(const struct nlmsghdr *message, void *owner)
{
	struct others *others = owner;
	struct netlink_route route;
	if (!netlink_read_route(message, &route) || route.is_clone || route.protocol == NETLINK_PROTOCOL ||
	    route.way.index == 0 || route.way.index == others->netlink->index || route.to.bits <= 1)
		return MNL_CB_OK;
	bool is_local = route.way.type == RTN_LOCAL;
	if (is_local && netlink_covers(&route.to, &others->host))
		others->found = NETLINK_TAKEN;
	if ((is_local || route.way.type == RTN_UNICAST) && others->found == 0 &&
	    (netlink_covers(&route.to, &others->network) || netlink_covers(&others->network, &route.to)))
		others->found = NETLINK_OVERLAPS;
	return MNL_CB_OK;
}

int netlink_find_others(struct netlink *netlink, const struct netlink_address *address)
{
	struct others others = {.netlink = netlink, .host = *address, .network = *address};
	others.host.bits = (uint8_t)netlink_family_bits(address->family);
	int result = list(netlink, address->family, on_other, &others);
	return result < 0 ? result : others.found;
}

// ---- what ended processes left

struct leftovers {
	const struct netlink *netlink;
	size_t count;
	struct netlink_route routes[LIMIT_LEFT_ROUTES];
};

// A list that is read again tells the same once more.
static bool is_among(const struct leftovers *left, const struct netlink_route *route)
{
	for (size_t i = 0; i < left->count; i++)
		if (left->routes[i].metric == route->metric && netlink_is_same(&left->routes[i].to, &route->to))
			return true;
	return false;
}

static int on_left(const struct nlmsghdr *message, void *owner)
{
	struct leftovers *left = owner;
	struct netlink_route route;
	if (!netlink_read_route(message, &route) || route.protocol != NETLINK_PROTOCOL || route.table != RT_TABLE_MAIN ||
	    route.is_clone || route.metric == left->netlink->index || left->count == COUNT_OF(left->routes) ||
	    is_among(left, &route))
		return MNL_CB_OK;
	left->routes[left->count++] = route;
	return MNL_CB_OK;
}

static int on_carrier(const struct nlattr *attribute, void *owner)
{
	if (mnl_attr_get_type(attribute) == IFLA_CARRIER && mnl_attr_get_payload_len(attribute) == 1)
		*(bool *)owner = mnl_attr_get_u8(attribute) != 0;
	return MNL_CB_OK;
}

static int on_link(const struct nlmsghdr *message, void *owner)
{
	return mnl_attr_parse(message, sizeof(struct ifinfomsg), on_carrier, owner);
}

// A TUN device has a carrier while a process holds it, also when somebody made it beforehand to stay. Whatever cannot
// be known may be alive: its guards are not ours to open.
static bool is_alive(struct netlink *netlink, uint32_t index)
{
	char buffer[NETLINK_MESSAGE_BYTES];
	bool has_carrier = false;
	struct nlmsghdr *message = netlink_begin(buffer, RTM_GETLINK, 0);
	struct ifinfomsg *link = mnl_nlmsg_put_extra_header(message, sizeof *link);
	link->ifi_family = AF_UNSPEC;
	link->ifi_index = (int)index;
	int result = index > 0 ? netlink_ask(netlink, message, on_link, &has_carrier) : -ENODEV;
	return result < 0 ? result != -ENODEV : has_carrier;
}

// Gives NULL and negative when that fails.
static int read_leftovers(struct netlink *netlink, struct leftovers **leftovers)
{
	struct leftovers *left = calloc(1, sizeof *left);
	size_t kept = 0;
	*leftovers = NULL;
	if (!left)
		return -ENOMEM;
	left->netlink = netlink;
	int result = list(netlink, AF_INET, on_left, left);
	if (result == 0)
		result = list(netlink, AF_INET6, on_left, left);
	if (result < 0) {
		free(left);
		return result;
	}
	for (size_t i = 0; i < left->count; i++)
		if (!is_alive(netlink, left->routes[i].metric))
			left->routes[kept++] = left->routes[i];
	left->count = kept;
	*leftovers = left;
	return 0;
}

static bool remove_left(struct netlink *netlink, const struct netlink_route *route)
{
	struct netlink_change change = {.kind = NETLINK_IS_PIN,
	                                .address = route->to,
	                                .metric = route->metric,
	                                .way = route->way};
	char text[NETLINK_TEXT_BYTES];
	if (is_guard(route))
		change.way = (struct netlink_way){.type = RTN_UNREACHABLE};
	int result = netlink_change_route(netlink, RTM_DELROUTE, 0, &change);
	netlink_format(&route->to, text);
	if (result < 0)
		log_warn("netlink", "%s, left by a process that has ended, cannot be taken back: %s", text,
		         outcome_text(result));
	return result == 0;
}

int netlink_sweep(struct netlink *netlink, netlink_release_fn releases, void *owner, struct netlink_swept *swept)
{
	struct leftovers *left;
	*swept = (struct netlink_swept){0};
	int result = read_leftovers(netlink, &left);
	for (size_t i = 0; result == 0 && i < left->count; i++) {
		const struct netlink_route *route = &left->routes[i];
		bool stays = is_guard(route) && releases && !releases(owner, &route->to);
		bool is_gone = !stays && remove_left(netlink, route);
		swept->left += is_guard(route) && !is_gone;
		swept->guards += is_guard(route) && is_gone;
		swept->pins += !is_guard(route) && is_gone;
	}
	free(left);
	return result;
}

int netlink_release(struct netlink_swept *swept)
{
	struct netlink *netlink = NULL;
	int result = netlink_open_bare(&netlink);
	if (result == 0)
		result = netlink_sweep(netlink, NULL, NULL, swept);
	netlink_close(&netlink);
	return result;
}

int netlink_left_hosts(struct netlink *netlink, struct netlink_address *hosts, size_t room, size_t *count)
{
	struct leftovers *left;
	*count = 0;
	int result = read_leftovers(netlink, &left);
	for (size_t i = 0; result == 0 && i < left->count && *count < room; i++)
		if (!is_guard(&left->routes[i]))
			hosts[(*count)++] = left->routes[i].to;
	free(left);
	return result;
}
