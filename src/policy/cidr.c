#include "policy/cidr.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAPPED_BITS 96
static const uint8_t mapped[MAPPED_BITS / 8] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static bool bit(const uint8_t address[16], unsigned i)
{
	return address[i / 8] >> (7 - i % 8) & 1;
}

// A decimal number without sign or leading zero, at most max. -1 when it is none.
static int parse_bits(const char *text, int max)
{
	int value = 0;
	if (!*text || (text[0] == '0' && text[1]))
		return -1;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -1;
		value = value * 10 + (*text - '0');
		if (value > max)
			return -1;
	}
	return value;
}

int cidr_parse(const char *text, struct cidr *out)
{
	char host[INET6_ADDRSTRLEN + 1];
	struct cidr cidr = {0};
	const char *slash = strchr(text, '/');
	size_t length = slash ? (size_t)(slash - text) : strlen(text);
	if (length >= sizeof host)
		return CIDR_BAD;
	memcpy(host, text, length);
	host[length] = '\0';
	int first = 0;
	if (inet_pton(AF_INET, host, cidr.address + 12) == 1) {
		memcpy(cidr.address, mapped, sizeof mapped);
		first = MAPPED_BITS;
	} else if (inet_pton(AF_INET6, host, cidr.address) != 1) {
		return CIDR_BAD;
	}
	int bits = slash ? parse_bits(slash + 1, 128 - first) : 128 - first;
	if (bits < 0)
		return CIDR_BAD;
	cidr.bits = (uint8_t)(first + bits);
	for (unsigned i = cidr.bits; i < 128; i++)
		if (bit(cidr.address, i))
			return CIDR_BAD;
	*out = cidr;
	return 0;
}

// The 16-byte form; false when it is not an IP address.
static bool address_bytes(const struct sockaddr *address, uint8_t out[16])
{
	if (address->sa_family == AF_INET) {
		const struct sockaddr_in *in4 = (const void *)address;
		memcpy(out, mapped, sizeof mapped);
		memcpy(out + 12, &in4->sin_addr, 4);
		return true;
	}
	if (address->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const void *)address;
		memcpy(out, &in6->sin6_addr, 16);
		return true;
	}
	return false;
}

bool cidr_contains(const struct cidr *cidr, const struct sockaddr *address)
{
	uint8_t bytes[16];
	if (!address_bytes(address, bytes))
		return false;
	// Hostile: a list that allows all of IPv6 says nothing about IPv4, whatever form its addresses take on a socket.
	if (cidr->bits < MAPPED_BITS && memcmp(bytes, mapped, sizeof mapped) == 0)
		return false;
	unsigned whole = cidr->bits / 8, rest = cidr->bits % 8;
	if (memcmp(cidr->address, bytes, whole) != 0)
		return false;
	return rest == 0 || (cidr->address[whole] ^ bytes[whole]) >> (8 - rest) == 0;
}

bool cidr_list_allows(const struct cidr *list, size_t count, const struct sockaddr *address)
{
	uint8_t bytes[16];
	if (count == 0 || !address_bytes(address, bytes))
		return true;
	for (size_t i = 0; i < count; i++)
		if (cidr_contains(&list[i], address))
			return true;
	return false;
}
