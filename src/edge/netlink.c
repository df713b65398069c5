#include "edge/netlink_private.h"

#include "core/log.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ANSWER_BYTES 32768 // the most that the kernel puts into one answer of a list
// Newer than some kernels' headers.
#define ATTRIBUTE_GSO_MAX_SIZE 41

// ---- asking the kernel

int netlink_open_bare(struct netlink **netlink)
{
	struct netlink *opened = calloc(1, sizeof *opened);
	if (!opened)
		return -ENOMEM;
	// Syscalls: socket, bind, getsockname, sendto, recvmsg
	opened->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	int result = opened->socket && mnl_socket_bind(opened->socket, 0, MNL_SOCKET_AUTOPID) == 0 ? 0 : -errno;
	if (result < 0) {
		netlink_close(&opened);
		return result;
	}
	opened->port = mnl_socket_get_portid(opened->socket);
	opened->sequence = (unsigned)time(NULL);
	*netlink = opened;
	return 0;
}

int netlink_open(const char *device, struct netlink **netlink)
{
	unsigned index = if_nametoindex(device);
	if (index == 0)
		return -errno;
	int result = netlink_open_bare(netlink);
	if (result == 0)
		(*netlink)->index = index;
	return result;
}

struct nlmsghdr *netlink_begin(char buffer[NETLINK_MESSAGE_BYTES], uint16_t type, uint16_t flags)
{
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	message->nlmsg_type = type;
	message->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
	return message;
}

// What is left of an earlier question, that was given up halfway.
static bool is_earlier(const struct netlink *netlink, const char *answer, size_t length)
{
	const struct nlmsghdr *first = (const void *)answer;
	return length < sizeof *first || first->nlmsg_seq != netlink->sequence || first->nlmsg_pid != netlink->port;
}

// A list that changed while it was read is read to its end all the same: until then the kernel begins no other.
static bool take_interruption(char *answer, size_t length)
{
	bool is_found = false;
	int left = (int)length;
	for (struct nlmsghdr *at = (void *)answer; mnl_nlmsg_ok(at, left); at = mnl_nlmsg_next(at, &left)) {
		is_found = is_found || at->nlmsg_flags & NLM_F_DUMP_INTR;
		at->nlmsg_flags &= (uint16_t)~NLM_F_DUMP_INTR;
	}
	return is_found;
}

int netlink_ask(struct netlink *netlink, struct nlmsghdr *message, mnl_cb_t on_answer, void *owner)
{
	_Alignas(struct nlmsghdr) char answer[ANSWER_BYTES];
	bool is_interrupted = false;
	message->nlmsg_seq = ++netlink->sequence;
	if (mnl_socket_sendto(netlink->socket, message, message->nlmsg_len) < 0)
		return -errno;
	for (;;) {
		ssize_t got = mnl_socket_recvfrom(netlink->socket, answer, sizeof answer);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (is_earlier(netlink, answer, (size_t)got))
			continue;
		is_interrupted = take_interruption(answer, (size_t)got) || is_interrupted;
		int state = mnl_cb_run(answer, (size_t)got, netlink->sequence, netlink->port, on_answer, owner);
		if (state < 0)
			return -errno;
		if (state == MNL_CB_STOP)
			return is_interrupted ? -EINTR : 0;
	}
}

int netlink_bring_up(struct netlink *netlink, uint32_t mtu, uint32_t gso_bytes)
{
	char buffer[NETLINK_MESSAGE_BYTES];
	for (int with_gso = gso_bytes > 0; with_gso >= 0; with_gso--) {
		struct nlmsghdr *message = netlink_begin(buffer, RTM_NEWLINK, 0);
		struct ifinfomsg *link = mnl_nlmsg_put_extra_header(message, sizeof *link);
		link->ifi_family = AF_UNSPEC;
		link->ifi_index = (int)netlink->index;
		link->ifi_change = IFF_UP;
		link->ifi_flags = IFF_UP;
		mnl_attr_put_u32(message, IFLA_MTU, mtu);
		if (with_gso)
			mnl_attr_put_u32(message, ATTRIBUTE_GSO_MAX_SIZE, gso_bytes);
		int result = netlink_ask(netlink, message, NULL, NULL);
		if (result == 0 || !with_gso)
			return result;
	}
	return 0;
}

static int change_address(struct netlink *netlink, uint16_t type, uint16_t flags, const struct netlink_change *change)
{
	char buffer[NETLINK_MESSAGE_BYTES];
	const struct netlink_address *address = &change->address;
	size_t bytes = netlink_family_bits(address->family) / 8;
	struct nlmsghdr *message = netlink_begin(buffer, type, flags);
	struct ifaddrmsg *header = mnl_nlmsg_put_extra_header(message, sizeof *header);
	header->ifa_family = (uint8_t)address->family;
	header->ifa_prefixlen = change->has_peer ? change->peer.bits : address->bits;
	// No duplicate address detection: there is nobody else at this end, and the address would be refused meanwhile.
	header->ifa_flags = address->family == AF_INET6 ? IFA_F_NODAD : 0;
	header->ifa_scope = RT_SCOPE_UNIVERSE;
	header->ifa_index = netlink->index;
	mnl_attr_put(message, IFA_LOCAL, bytes, address->bytes);
	mnl_attr_put(message, IFA_ADDRESS, bytes, change->has_peer ? change->peer.bytes : address->bytes);
	return netlink_ask(netlink, message, NULL, NULL);
}

int netlink_change_route(struct netlink *netlink, uint16_t type, uint16_t flags, const struct netlink_change *change)
{
	char buffer[NETLINK_MESSAGE_BYTES];
	const struct netlink_address *to = &change->address;
	const struct netlink_way *way = &change->way;
	size_t bytes = netlink_family_bits(to->family) / 8;
	struct nlmsghdr *message = netlink_begin(buffer, type, flags);
	struct rtmsg *route = mnl_nlmsg_put_extra_header(message, sizeof *route);
	route->rtm_family = (uint8_t)to->family;
	route->rtm_dst_len = to->bits;
	route->rtm_table = RT_TABLE_MAIN;
	route->rtm_protocol = change->kind == NETLINK_IS_ROUTE ? RTPROT_STATIC : NETLINK_PROTOCOL;
	route->rtm_type = way->type;
	bool is_direct = to->family == AF_INET && way->index > 0 && !way->gateway_family;
	route->rtm_scope = is_direct ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
	route->rtm_flags = way->is_onlink ? RTNH_F_ONLINK : 0;
	mnl_attr_put(message, RTA_DST, bytes, to->bytes);
	if (change->metric > 0)
		mnl_attr_put_u32(message, RTA_PRIORITY, change->metric);
	if (way->index > 0)
		mnl_attr_put_u32(message, RTA_OIF, way->index);
	if (way->has_source)
		mnl_attr_put(message, RTA_PREFSRC, bytes, way->source);
	if (way->gateway_family == to->family)
		mnl_attr_put(message, RTA_GATEWAY, bytes, way->gateway);
	if (!way->gateway_family || way->gateway_family == to->family)
		return netlink_ask(netlink, message, NULL, NULL);
	// IPv4 through a gateway with IPv6.
	uint8_t via[sizeof(struct rtvia) + 16];
	memcpy(via, &(struct rtvia){.rtvia_family = way->gateway_family}, sizeof(struct rtvia));
	memcpy(via + sizeof(struct rtvia), way->gateway, 16);
	mnl_attr_put(message, RTA_VIA, sizeof via, via);
	return netlink_ask(netlink, message, NULL, NULL);
}

// ---- changes that are remembered

static int add(struct netlink *netlink, const struct netlink_change *change, uint16_t flags)
{
	flags |= NLM_F_CREATE;
	return change->kind == NETLINK_IS_ADDRESS ? change_address(netlink, RTM_NEWADDR, flags, change)
	                                          : netlink_change_route(netlink, RTM_NEWROUTE, flags, change);
}

// A route to the same network that is not through our device belongs to somebody else: it is left alone, and ours is
// refused. One through our device, or a guard with its index, was left by a killed process.
static int add_route(struct netlink *netlink, struct netlink_change *change)
{
	int result = add(netlink, change, NLM_F_EXCL);
	if (result != -EEXIST || netlink_change_route(netlink, RTM_DELROUTE, 0, change) < 0)
		return result;
	change->was_there = change->kind == NETLINK_IS_PIN || change->kind == NETLINK_IS_GUARD;
	return add(netlink, change, NLM_F_EXCL);
}

static void keep(struct netlink *netlink, struct netlink_change *change)
{
	change->next = netlink->changes;
	change->earlier = NULL;
	*(change->next ? &change->next->earlier : &netlink->oldest) = change;
	netlink->changes = change;
}

static int apply(struct netlink *netlink, const struct netlink_change *wanted)
{
	struct netlink_change *change = malloc(sizeof *change);
	if (!change)
		return -ENOMEM;
	*change = *wanted;
	int result = 0; // a guard that is there is not taken away for a moment
	if (change->kind == NETLINK_IS_ADDRESS)
		result = add(netlink, change, NLM_F_REPLACE);
	else if (!change->was_there)
		result = add_route(netlink, change);
	if (result < 0)
		free(change);
	else
		keep(netlink, change);
	return result;
}

static void forget(struct netlink *netlink, struct netlink_change *change)
{
	*(change->earlier ? &change->earlier->next : &netlink->changes) = change->next;
	*(change->next ? &change->next->earlier : &netlink->oldest) = change->earlier;
	free(change);
}

static void take_back(struct netlink *netlink, struct netlink_change *change)
{
	char text[NETLINK_TEXT_BYTES];
	if (change->was_there && !netlink->is_settled) {
		forget(netlink, change);
		return;
	}
	int result = change->kind == NETLINK_IS_ADDRESS ? change_address(netlink, RTM_DELADDR, 0, change)
	                                                : netlink_change_route(netlink, RTM_DELROUTE, 0, change);
	netlink_format(&change->address, text);
	if (result < 0)
		log_debug("netlink", "%s is gone already: %s", text, outcome_text(result));
	forget(netlink, change);
}

static struct netlink_change *find(struct netlink *netlink, enum netlink_kind kind,
                                   const struct netlink_address *address)
{
	struct netlink_change *change = netlink->changes;
	while (change && !(change->kind == kind && netlink_is_same(&change->address, address)))
		change = change->next;
	return change;
}

static void take_back_one(struct netlink *netlink, enum netlink_kind kind, const struct netlink_address *address)
{
	struct netlink_change *change = find(netlink, kind, address);
	if (change)
		take_back(netlink, change);
}

int netlink_add_address(struct netlink *netlink, const struct netlink_address *address,
                        const struct netlink_address *peer)
{
	struct netlink_change change = {.kind = NETLINK_IS_ADDRESS, .address = *address, .has_peer = peer != NULL};
	if (peer)
		change.peer = *peer;
	if (peer && peer->family != address->family)
		return -EAFNOSUPPORT;
	return apply(netlink, &change);
}

void netlink_remove_address(struct netlink *netlink, const struct netlink_address *address)
{
	take_back_one(netlink, NETLINK_IS_ADDRESS, address);
	netlink_restore(netlink);
}

int netlink_add_route(struct netlink *netlink, const struct netlink_address *to)
{
	struct netlink_change change = {.kind = NETLINK_IS_ROUTE,
	                                .address = *to,
	                                .way = {.type = RTN_UNICAST, .index = netlink->index},
	                                // Before its guard. In IPv4 0 is the first; in IPv6 0 stands for 1024.
	                                .metric = netlink->is_guarding && to->family == AF_INET6};
	netlink_normalise(&change.address);
	return apply(netlink, &change);
}

void netlink_remove_route(struct netlink *netlink, const struct netlink_address *to)
{
	struct netlink_address wanted = *to;
	netlink_normalise(&wanted);
	take_back_one(netlink, NETLINK_IS_ROUTE, &wanted);
}

// ---- past the device

static struct netlink_address one_host(const struct netlink_address *host)
{
	struct netlink_address one = *host;
	one.bits = (uint8_t)netlink_family_bits(host->family);
	return one;
}

int netlink_pin(struct netlink *netlink, const struct netlink_address *host)
{
	struct netlink_change change = {.kind = NETLINK_IS_PIN, .address = one_host(host), .metric = netlink->index};
	if (find(netlink, NETLINK_IS_PIN, &change.address))
		return 0;
	int result = netlink_find_way(netlink, &change.address, &change.way);
	if (result < 0 || change.way.type == RTN_LOCAL)
		return result;
	return apply(netlink, &change);
}

void netlink_unpin(struct netlink *netlink, const struct netlink_address *host)
{
	struct netlink_address one = one_host(host);
	take_back_one(netlink, NETLINK_IS_PIN, &one);
}

// ---- guards

int netlink_guard(struct netlink *netlink, const struct netlink_address *to)
{
	struct netlink_change change = {.kind = NETLINK_IS_GUARD,
	                                .address = *to,
	                                .way = {.type = RTN_UNREACHABLE},
	                                .metric = netlink->index};
	netlink_normalise(&change.address);
	netlink->is_guarding = true;
	if (find(netlink, NETLINK_IS_GUARD, &change.address))
		return 0;
	int result = netlink_find_rival(netlink, &change);
	change.was_there = result == NETLINK_IS_THERE;
	return result < 0 || result == NETLINK_RIVAL ? result : apply(netlink, &change);
}

void netlink_settle(struct netlink *netlink)
{
	netlink->is_settled = true;
}

void netlink_unguard(struct netlink *netlink, const struct netlink_address *to)
{
	struct netlink_address wanted = *to;
	netlink_normalise(&wanted);
	take_back_one(netlink, NETLINK_IS_GUARD, &wanted);
}

void netlink_leave_guards(struct netlink *netlink)
{
	for (struct netlink_change *change = netlink->changes, *next; change; change = next) {
		next = change->next;
		if (change->kind == NETLINK_IS_GUARD || change->kind == NETLINK_IS_PIN)
			forget(netlink, change);
	}
}

// ---- what others took away

static void restore(struct netlink *netlink, const struct netlink_change *change)
{
	char text[NETLINK_TEXT_BYTES];
	int result = add(netlink, change, NLM_F_EXCL);
	netlink_format(&change->address, text);
	if (result == 0)
		log_info("netlink", "%s was taken away: it is put back", text);
	else if (result != -EEXIST)
		log_debug("netlink", "%s was taken away and cannot be put back now: %s", text, outcome_text(result));
}

void netlink_restore(struct netlink *netlink)
{
	for (const struct netlink_change *change = netlink->oldest; change; change = change->earlier)
		restore(netlink, change);
}

static bool is_same_way(const struct netlink_way *a, const struct netlink_way *b)
{
	return a->type == b->type && a->index == b->index && a->is_onlink == b->is_onlink &&
	       a->has_source == b->has_source && a->gateway_family == b->gateway_family &&
	       memcmp(a->gateway, b->gateway, sizeof a->gateway) == 0 &&
	       memcmp(a->source, b->source, sizeof a->source) == 0;
}

// What has no other way keeps the one that it had.
static bool follow(struct netlink *netlink, struct netlink_change *change)
{
	struct netlink_change moved = *change;
	if (netlink_find_way(netlink, &change->address, &moved.way) < 0 || moved.way.type != RTN_UNICAST ||
	    is_same_way(&change->way, &moved.way))
		return false;
	(void)!netlink_change_route(netlink, RTM_DELROUTE, 0, change); // it may have gone with its device
	if (add(netlink, &moved, NLM_F_EXCL) < 0)
		return false;
	change->way = moved.way;
	return true;
}

unsigned netlink_follow(struct netlink *netlink)
{
	unsigned count = 0;
	for (struct netlink_change *change = netlink->changes; change; change = change->next)
		count += change->kind == NETLINK_IS_PIN && follow(netlink, change);
	for (const struct netlink_change *change = netlink->oldest; change; change = change->earlier)
		if (change->kind == NETLINK_IS_PIN || netlink->is_guarding)
			restore(netlink, change);
	return count;
}

void netlink_close(struct netlink **netlink)
{
	struct netlink *closing = *netlink;
	if (!closing)
		return;
	*netlink = NULL;
	while (closing->changes)
		take_back(closing, closing->changes);
	if (closing->socket)
		(void)mnl_socket_close(closing->socket);
	free(closing);
}
