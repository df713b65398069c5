// Addresses and networks as text, and what lies in what.

#include "edge/netlink_private.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

unsigned netlink_family_bits(int family)
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
	unsigned most = netlink_family_bits(parsed.family), bits = most;
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
	for (unsigned i = address->bits; i < netlink_family_bits(address->family); i++)
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
