#include "link/grant.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HAS_IPV4 = 1, HAS_IPV6 = 2, ASKS_IPV4 = 4, ASKS_IPV6 = 8 };

static size_t bytes_of(unsigned version)
{
	return version == 4 ? 4 : 16;
}

// ---- out

static void write_address(struct writer *writer, const struct grant_network *address)
{
	if (address->version == 0)
		return;
	writer_bytes(writer, address->bytes, bytes_of(address->version));
	writer_u8(writer, address->bits);
}

void grant_encode(const struct grant *grant, struct writer *writer)
{
	uint8_t value[GRANT_VALUE_BYTES];
	struct writer inner;
	if (!grant->is_given)
		return;
	writer_init(&inner, value, sizeof value);
	writer_u8(&inner, (uint8_t)((grant->ipv4.version ? HAS_IPV4 : 0) | (grant->ipv6.version ? HAS_IPV6 : 0) |
	                            (grant->asks4 ? ASKS_IPV4 : 0) | (grant->asks6 ? ASKS_IPV6 : 0)));
	write_address(&inner, &grant->ipv4);
	write_address(&inner, &grant->ipv6);
	writer_u8(&inner, (uint8_t)grant->route_count);
	for (unsigned i = 0; i < grant->route_count; i++) {
		const struct grant_network *route = &grant->routes[i];
		writer_u8(&inner, route->version);
		writer_u8(&inner, route->bits);
		writer_bytes(&inner, route->bytes, bytes_of(route->version));
	}
	writer_u16(writer, GRANT_TYPE);
	writer_u16(writer, (uint16_t)writer_length(&inner));
	writer_bytes(writer, value, writer_length(&inner));
}

// ---- in

static bool is_host4(const uint8_t *bytes)
{
	return bytes[0] != 0 && bytes[0] != 127 && bytes[0] < 224 && !(bytes[0] == 169 && bytes[1] == 254);
}

static bool is_host6(const uint8_t *bytes)
{
	static const uint8_t zeros[10];
	bool is_link_local = bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80;
	// ::, ::1, IPv4 within IPv6
	return memcmp(bytes, zeros, sizeof zeros) != 0 && bytes[0] != 0xff && !is_link_local;
}

// Hostile: prefixes of no bits would be a route to everything.
bool grant_is_host(const struct grant_network *address)
{
	if (address->bits == 0 || address->bits > bytes_of(address->version) * 8)
		return false;
	return address->version == 4 ? is_host4(address->bytes) : is_host6(address->bytes);
}

static bool read_address(struct reader *reader, unsigned version, struct grant_network *address)
{
	address->version = (uint8_t)version;
	reader_copy(reader, address->bytes, bytes_of(version));
	address->bits = reader_u8(reader);
	return !reader->bad && grant_is_host(address);
}

bool grant_is_network(const struct grant_network *network)
{
	struct grant_network normal = *network;
	grant_normalise(&normal);
	return grant_is_same_network(&normal, network);
}

static bool read_route(struct reader *reader, struct grant_network *route)
{
	route->version = reader_u8(reader);
	route->bits = reader_u8(reader);
	if (reader->bad || (route->version != 4 && route->version != 6) || route->bits > bytes_of(route->version) * 8)
		return false;
	reader_copy(reader, route->bytes, bytes_of(route->version));
	return !reader->bad && grant_is_network(route);
}

// A later version may append to it; flags that we do not know are ignored.
bool grant_decode(const uint8_t *value, size_t length, struct grant *grant)
{
	struct reader reader;
	struct grant decoded = {.is_given = true};
	reader_init(&reader, value, length);
	unsigned flags = reader_u8(&reader);
	decoded.asks4 = flags & ASKS_IPV4;
	decoded.asks6 = flags & ASKS_IPV6;
	if (flags & HAS_IPV4 && !read_address(&reader, 4, &decoded.ipv4))
		return false;
	if (flags & HAS_IPV6 && !read_address(&reader, 6, &decoded.ipv6))
		return false;
	decoded.route_count = reader_u8(&reader);
	if (reader.bad || decoded.route_count > LIMIT_GRANT_ROUTES)
		return false;
	for (unsigned i = 0; i < decoded.route_count; i++)
		if (!read_route(&reader, &decoded.routes[i]))
			return false;
	*grant = decoded;
	return true;
}

// ---- networks

bool grant_parse(const char *text, struct grant_network *network)
{
	char host[INET6_ADDRSTRLEN + 1];
	struct grant_network parsed = {0};
	size_t length = strcspn(text, "/");
	if (length >= sizeof host)
		return false;
	memcpy(host, text, length);
	host[length] = '\0';
	parsed.version = strchr(host, ':') ? 6 : 4;
	if (inet_pton(parsed.version == 4 ? AF_INET : AF_INET6, host, parsed.bytes) != 1)
		return false;
	unsigned most = (unsigned)bytes_of(parsed.version) * 8, bits = most;
	if (text[length] == '/') {
		const char *digits = text + length + 1;
		size_t count = strspn(digits, "0123456789");
		if (count == 0 || count > 3 || digits[count])
			return false;
		bits = (unsigned)strtoul(digits, NULL, 10);
	}
	if (bits > most)
		return false;
	parsed.bits = (uint8_t)bits;
	*network = parsed;
	return true;
}

void grant_normalise(struct grant_network *network)
{
	for (unsigned i = network->bits; i < bytes_of(network->version) * 8; i++)
		network->bytes[i / 8] &= (uint8_t)(0xff ^ (0x80 >> i % 8));
}

bool grant_covers(const struct grant_network *network, const struct grant_network *address)
{
	struct grant_network wide = *network, narrow = *address;
	if (wide.version != narrow.version || wide.bits > narrow.bits)
		return false;
	narrow.bits = wide.bits;
	grant_normalise(&wide);
	grant_normalise(&narrow);
	return grant_is_same_network(&wide, &narrow);
}

struct cidr grant_to_cidr(const struct grant_network *network)
{
	struct cidr cidr = {.bits = network->bits};
	if (network->version == 6) {
		memcpy(cidr.address, network->bytes, 16);
		return cidr;
	}
	memset(cidr.address + 10, 0xff, 2);
	memcpy(cidr.address + 12, network->bytes, 4);
	cidr.bits = (uint8_t)(cidr.bits + 96);
	return cidr;
}

// ---- both

bool grant_is_same_network(const struct grant_network *a, const struct grant_network *b)
{
	return a->version == b->version &&
	       (a->version == 0 || (a->bits == b->bits && memcmp(a->bytes, b->bytes, bytes_of(a->version)) == 0));
}

bool grant_is_same(const struct grant *a, const struct grant *b)
{
	if (a->is_given != b->is_given || a->asks4 != b->asks4 || a->asks6 != b->asks6 || a->route_count != b->route_count)
		return false;
	for (unsigned i = 0; i < a->route_count; i++)
		if (!grant_is_same_network(&a->routes[i], &b->routes[i]))
			return false;
	return grant_is_same_network(&a->ipv4, &b->ipv4) && grant_is_same_network(&a->ipv6, &b->ipv6);
}

void grant_format(const struct grant_network *network, char text[GRANT_TEXT_BYTES])
{
	char host[INET6_ADDRSTRLEN] = "none";
	if (network->version == 0) {
		snprintf(text, GRANT_TEXT_BYTES, "none");
		return;
	}
	(void)inet_ntop(network->version == 4 ? AF_INET : AF_INET6, network->bytes, host, sizeof host);
	snprintf(text, GRANT_TEXT_BYTES, "%s/%u", host, network->bits);
}

// The length of the prefix is each side's own business.
static bool agree(const char *key, bool asks, const struct grant_network *has, const struct grant_network *gets,
                  char text[LIMIT_REASON_BYTES + 1])
{
	char one[GRANT_TEXT_BYTES], other[GRANT_TEXT_BYTES];
	if (has->version == 0 && !(asks && gets->version == 0))
		return true;
	if (has->version != 0 && gets->version == has->version &&
	    memcmp(has->bytes, gets->bytes, bytes_of(has->version)) == 0)
		return true;
	grant_format(gets, one);
	grant_format(has, other);
	if (has->version == 0)
		snprintf(text, LIMIT_REASON_BYTES + 1, "%s: the initiator asks for an address, the responder assigns none",
		         key);
	else
		snprintf(text, LIMIT_REASON_BYTES + 1,
		         "%s: the responder assigns %s, the initiator has %s; set the same, or leave it to the responder "
		         "(\"auto\")",
		         key, one, other);
	return false;
}

bool grant_agree(const struct grant *initiator, const struct grant *responder, char text[LIMIT_REASON_BYTES + 1])
{
	static const struct grant_network none;
	// A responder that assigns nothing leaves the initiator what it has.
	const struct grant_network *has4 = responder->is_given ? &initiator->ipv4 : &none;
	const struct grant_network *has6 = responder->is_given ? &initiator->ipv6 : &none;
	return agree("ipv4", initiator->asks4, has4, &responder->ipv4, text) &&
	       agree("ipv6", initiator->asks6, has6, &responder->ipv6, text);
}
