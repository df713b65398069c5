#include "edge/netlink.h"

#include "core/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MESSAGE_BYTES 1024
#define ANSWER_BYTES 8192
// Newer than some kernels' headers.
#define ATTRIBUTE_GSO_MAX_SIZE 41

// Marks routes past the device, which outlive a killed process, so that the next one knows them. Unassigned.
#define PROTOCOL_PIN 113

// Through which device and gateway a host is reached.
struct way {
	uint8_t type; // RTN_
	uint32_t index;
	bool has_gateway;
	uint8_t gateway[16];
};

struct change { // what is to be taken back
	struct change *next;
	bool is_route, has_peer;
	bool is_pin; // a route, past the device
	struct way way;
	struct netlink_address address, peer;
};

struct netlink {
	struct mnl_socket *socket;
	unsigned index, port, sequence;
	struct change *changes; // the latest first
};

// ---- addresses as text

static unsigned family_bits(int family)
{
	return family == AF_INET ? 32 : 128;
}

int netlink_parse(const char *text, struct netlink_address *address)
{
	char host[INET6_ADDRSTRLEN + 1];
	struct netlink_address parsed = {0};
	size_t length = strcspn(text, "/");
	if (length >= sizeof host)
		return NETLINK_BAD;
	memcpy(host, text, length);
	host[length] = '\0';
	parsed.family = strchr(host, ':') ? AF_INET6 : AF_INET;
	if (inet_pton(parsed.family, host, parsed.bytes) != 1)
		return NETLINK_BAD;
	unsigned most = family_bits(parsed.family), bits = most;
	if (text[length] == '/') {
		const char *digits = text + length + 1;
		size_t count = strspn(digits, "0123456789");
		if (count == 0 || count > 3 || digits[count])
			return NETLINK_BAD;
		bits = (unsigned)strtoul(digits, NULL, 10);
	}
	if (bits > most)
		return NETLINK_BAD;
	parsed.bits = (uint8_t)bits;
	*address = parsed;
	return 0;
}

void netlink_normalise(struct netlink_address *address)
{
	for (unsigned i = address->bits; i < family_bits(address->family); i++)
		address->bytes[i / 8] &= (uint8_t)(0xff ^ (0x80 >> i % 8));
}

bool netlink_is_same(const struct netlink_address *a, const struct netlink_address *b)
{
	return a->family == b->family && a->bits == b->bits && memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

bool netlink_covers(const struct netlink_address *network, const struct netlink_address *address)
{
	struct netlink_address wide = *network, narrow = *address;
	netlink_normalise(&wide);
	narrow.bits = wide.bits;
	if (wide.family == narrow.family)
		netlink_normalise(&narrow);
	return netlink_is_same(&wide, &narrow) && address->bits >= network->bits;
}

void netlink_format(const struct netlink_address *address, char text[NETLINK_TEXT_BYTES])
{
	char host[INET6_ADDRSTRLEN] = "";
	inet_ntop(address->family, address->bytes, host, sizeof host);
	snprintf(text, NETLINK_TEXT_BYTES, "%s/%u", host, address->bits);
}

// ---- asking the kernel

int netlink_open(const char *device, struct netlink **netlink)
{
	struct netlink *opened = calloc(1, sizeof *opened);
	if (!opened)
		return -ENOMEM;
	opened->index = if_nametoindex(device);
	int result = opened->index == 0 ? -errno : 0;
	if (result == 0) {
		// Syscalls: socket, bind, getsockname, sendto, recvmsg
		opened->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
		result = opened->socket && mnl_socket_bind(opened->socket, 0, MNL_SOCKET_AUTOPID) == 0 ? 0 : -errno;
	}
	if (result < 0) {
		netlink_close(&opened);
		return result;
	}
	opened->port = mnl_socket_get_portid(opened->socket);
	opened->sequence = (unsigned)time(NULL);
	*netlink = opened;
	return 0;
}

static struct nlmsghdr *begin(char *buffer, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	message->nlmsg_type = type;
	message->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
	return message;
}

// `on_answer` may be NULL.
static int ask_for(struct netlink *netlink, struct nlmsghdr *message, mnl_cb_t on_answer, void *owner)
{
	char answer[ANSWER_BYTES];
	message->nlmsg_seq = ++netlink->sequence;
	if (mnl_socket_sendto(netlink->socket, message, message->nlmsg_len) < 0)
		return -errno;
	for (;;) {
		ssize_t got = mnl_socket_recvfrom(netlink->socket, answer, sizeof answer);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		int state = mnl_cb_run(answer, (size_t)got, netlink->sequence, netlink->port, on_answer, owner);
		if (state < 0)
			return -errno;
		if (state == MNL_CB_STOP)
			return 0;
	}
}

static int ask(struct netlink *netlink, struct nlmsghdr *message)
{
	return ask_for(netlink, message, NULL, NULL);
}

int netlink_bring_up(struct netlink *netlink, uint32_t mtu, uint32_t gso_bytes)
{
	char buffer[MESSAGE_BYTES];
	for (int with_gso = gso_bytes > 0; with_gso >= 0; with_gso--) {
		struct nlmsghdr *message = begin(buffer, RTM_NEWLINK, 0);
		struct ifinfomsg *link = mnl_nlmsg_put_extra_header(message, sizeof *link);
		link->ifi_family = AF_UNSPEC;
		link->ifi_index = (int)netlink->index;
		link->ifi_change = IFF_UP;
		link->ifi_flags = IFF_UP;
		mnl_attr_put_u32(message, IFLA_MTU, mtu);
		if (with_gso)
			mnl_attr_put_u32(message, ATTRIBUTE_GSO_MAX_SIZE, gso_bytes);
		int result = ask(netlink, message);
		if (result == 0 || !with_gso)
			return result;
	}
	return 0;
}

static int change_address(struct netlink *netlink, uint16_t type, uint16_t flags, const struct change *change)
{
	char buffer[MESSAGE_BYTES];
	const struct netlink_address *address = &change->address;
	size_t bytes = family_bits(address->family) / 8;
	struct nlmsghdr *message = begin(buffer, type, flags);
	struct ifaddrmsg *header = mnl_nlmsg_put_extra_header(message, sizeof *header);
	header->ifa_family = (uint8_t)address->family;
	header->ifa_prefixlen = change->has_peer ? change->peer.bits : address->bits;
	// No duplicate address detection: there is nobody else at this end, and the address would be refused meanwhile.
	header->ifa_flags = address->family == AF_INET6 ? IFA_F_NODAD : 0;
	header->ifa_scope = RT_SCOPE_UNIVERSE;
	header->ifa_index = netlink->index;
	mnl_attr_put(message, IFA_LOCAL, bytes, address->bytes);
	mnl_attr_put(message, IFA_ADDRESS, bytes, change->has_peer ? change->peer.bytes : address->bytes);
	return ask(netlink, message);
}

static int change_route(struct netlink *netlink, uint16_t type, uint16_t flags, const struct change *change)
{
	char buffer[MESSAGE_BYTES];
	const struct netlink_address *to = &change->address;
	struct nlmsghdr *message = begin(buffer, type, flags);
	struct rtmsg *route = mnl_nlmsg_put_extra_header(message, sizeof *route);
	route->rtm_family = (uint8_t)to->family;
	route->rtm_dst_len = to->bits;
	route->rtm_table = RT_TABLE_MAIN;
	route->rtm_protocol = change->is_pin ? PROTOCOL_PIN : RTPROT_STATIC;
	bool is_direct = to->family == AF_INET && !(change->is_pin && change->way.has_gateway);
	route->rtm_scope = is_direct ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
	route->rtm_type = RTN_UNICAST;
	mnl_attr_put(message, RTA_DST, family_bits(to->family) / 8, to->bytes);
	if (!change->is_pin)
		mnl_attr_put_u32(message, RTA_OIF, netlink->index);
	else if (change->way.index > 0)
		mnl_attr_put_u32(message, RTA_OIF, change->way.index);
	else
		route->rtm_scope = RT_SCOPE_NOWHERE; // to be deleted: wherever it leads
	if (change->is_pin && change->way.has_gateway)
		mnl_attr_put(message, RTA_GATEWAY, family_bits(to->family) / 8, change->way.gateway);
	return ask(netlink, message);
}

// ---- the way to a host

static int on_way(const struct nlattr *attribute, void *owner)
{
	struct way *way = owner;
	size_t length = mnl_attr_get_payload_len(attribute);
	if (mnl_attr_get_type(attribute) == RTA_OIF && length == sizeof way->index)
		way->index = mnl_attr_get_u32(attribute);
	if (mnl_attr_get_type(attribute) != RTA_GATEWAY || length > sizeof way->gateway)
		return MNL_CB_OK;
	way->has_gateway = true;
	memcpy(way->gateway, mnl_attr_get_payload(attribute), length);
	return MNL_CB_OK;
}

static int on_route(const struct nlmsghdr *message, void *owner)
{
	struct way *way = owner;
	const struct rtmsg *route = mnl_nlmsg_get_payload(message);
	way->type = route->rtm_type;
	return mnl_attr_parse(message, sizeof *route, on_way, way);
}

static int find_way(struct netlink *netlink, const struct netlink_address *to, struct way *way)
{
	char buffer[MESSAGE_BYTES];
	struct nlmsghdr *message = begin(buffer, RTM_GETROUTE, 0);
	struct rtmsg *route = mnl_nlmsg_put_extra_header(message, sizeof *route);
	route->rtm_family = (uint8_t)to->family;
	route->rtm_dst_len = (uint8_t)family_bits(to->family);
	mnl_attr_put(message, RTA_DST, family_bits(to->family) / 8, to->bytes);
	*way = (struct way){0};
	return ask_for(netlink, message, on_route, way);
}

// ---- changes that are remembered

// A route to the same network that is not through our device belongs to somebody else: it is left alone, and ours is
// refused. One through our device was left by a killed process.
static int add_route(struct netlink *netlink, const struct change *change)
{
	int result = change_route(netlink, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, change);
	if (result != -EEXIST || change->is_pin || change_route(netlink, RTM_DELROUTE, 0, change) < 0)
		return result;
	return change_route(netlink, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, change);
}

static int apply(struct netlink *netlink, const struct change *wanted)
{
	struct change *change = malloc(sizeof *change);
	if (!change)
		return -ENOMEM;
	*change = *wanted;
	int result = change->is_route ? add_route(netlink, change)
	                              : change_address(netlink, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, change);
	if (result < 0) {
		free(change);
		return result;
	}
	change->next = netlink->changes;
	netlink->changes = change;
	return 0;
}

static void undo(struct netlink *netlink, const struct change *change)
{
	char text[NETLINK_TEXT_BYTES];
	int result = change->is_route ? change_route(netlink, RTM_DELROUTE, 0, change)
	                              : change_address(netlink, RTM_DELADDR, 0, change);
	netlink_format(&change->address, text);
	if (result < 0)
		log_debug("netlink", "%s is gone already: %s", text, outcome_text(result));
}

int netlink_add_address(struct netlink *netlink, const struct netlink_address *address,
                        const struct netlink_address *peer)
{
	struct change change = {.address = *address, .has_peer = peer != NULL};
	if (peer)
		change.peer = *peer;
	if (peer && peer->family != address->family)
		return -EAFNOSUPPORT;
	return apply(netlink, &change);
}

int netlink_add_route(struct netlink *netlink, const struct netlink_address *to)
{
	struct change change = {.is_route = true, .address = *to};
	netlink_normalise(&change.address);
	return apply(netlink, &change);
}

int netlink_pin(struct netlink *netlink, const struct netlink_address *host)
{
	struct change change = {.is_route = true, .is_pin = true, .address = *host};
	change.address.bits = (uint8_t)family_bits(host->family);
	for (const struct change *other = netlink->changes; other; other = other->next)
		if (other->is_pin && netlink_is_same(&other->address, &change.address))
			return 0;
	(void)change_route(netlink, RTM_DELROUTE, 0, &change); // a killed process's
	int result = find_way(netlink, &change.address, &change.way);
	if (result < 0)
		return result;
	if (change.way.type == RTN_LOCAL)
		return 0;
	if (change.way.type != RTN_UNICAST || change.way.index == 0 || change.way.index == netlink->index)
		return -ENETUNREACH;
	result = apply(netlink, &change);
	return result == -EEXIST ? 0 : result;
}

static void take_back(struct netlink *netlink, bool is_route, const struct netlink_address *wanted)
{
	for (struct change **at = &netlink->changes; *at; at = &(*at)->next) {
		struct change *change = *at;
		if (change->is_route != is_route || change->is_pin || !netlink_is_same(&change->address, wanted))
			continue;
		*at = change->next;
		undo(netlink, change);
		free(change);
		return;
	}
}

void netlink_remove_route(struct netlink *netlink, const struct netlink_address *to)
{
	struct netlink_address wanted = *to;
	netlink_normalise(&wanted);
	take_back(netlink, true, &wanted);
}

// With the first IPv4 address of a network the kernel takes the others of it away, and with the last one all routes.
static void put_back(struct netlink *netlink)
{
	int result = 0;
	for (const struct change *change = netlink->changes; change && result == 0; change = change->next)
		if (!change->is_route)
			result = change_address(netlink, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, change);
	for (const struct change *change = netlink->changes; change && result == 0; change = change->next)
		if (change->is_route && change_route(netlink, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, change) != -EEXIST)
			log_debug("netlink", "a route that went with an address is put back");
	if (result < 0)
		log_warn("netlink", "an address that went with another one cannot be put back: %s", outcome_text(result));
}

void netlink_remove_address(struct netlink *netlink, const struct netlink_address *address)
{
	take_back(netlink, false, address);
	put_back(netlink);
}

void netlink_close(struct netlink **netlink)
{
	struct netlink *closing = *netlink;
	if (!closing)
		return;
	*netlink = NULL;
	while (closing->changes) {
		struct change *change = closing->changes;
		closing->changes = change->next;
		undo(closing, change);
		free(change);
	}
	if (closing->socket)
		(void)mnl_socket_close(closing->socket);
	free(closing);
}
