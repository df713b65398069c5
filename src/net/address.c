#include "net/address.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const char unix_prefix[] = "unix:";

// Copies `text` up to `length` bytes into out[size]; false when it does not fit.
static bool copy_span(const char *text, size_t length, char *out, size_t size)
{
	if (length >= size)
		return false;
	memcpy(out, text, length);
	out[length] = '\0';
	return true;
}

static void set_in4(struct address *address, struct in_addr ip, uint16_t port)
{
	*address = (struct address){.length = sizeof(struct sockaddr_in)};
	address->in4.sin_family = AF_INET;
	address->in4.sin_addr = ip;
	address->in4.sin_port = htons(port);
}

static void set_in6(struct address *address, struct in6_addr ip, uint32_t zone, uint16_t port)
{
	*address = (struct address){.length = sizeof(struct sockaddr_in6)};
	address->in6.sin6_family = AF_INET6;
	address->in6.sin6_addr = ip;
	address->in6.sin6_scope_id = zone;
	address->in6.sin6_port = htons(port);
}

// "fe80::1%eth0": the zone is an interface's name.
static int parse_in6(const char *host, uint16_t port, struct address *address)
{
	char literal[INET6_ADDRSTRLEN];
	struct in6_addr ip;
	uint32_t zone = 0;
	const char *percent = strchr(host, '%');
	size_t length = percent != NULL ? (size_t)(percent - host) : strlen(host);
	if (!copy_span(host, length, literal, sizeof(literal)) || inet_pton(AF_INET6, literal, &ip) != 1)
		return ADDRESS_BAD;
	if (percent != NULL) {
		zone = if_nametoindex(percent + 1);
		if (zone == 0)
			return ADDRESS_BAD;
	}
	set_in6(address, ip, zone, port);
	return 0;
}

int address_from_ip(const char *host, uint16_t port, struct address *address)
{
	char inner[INET6_ADDRSTRLEN + IF_NAMESIZE];
	struct in_addr ip;
	size_t length = strlen(host);
	if (length >= 2 && host[0] == '[' && host[length - 1] == ']') {
		if (!copy_span(host + 1, length - 2, inner, sizeof(inner)))
			return ADDRESS_BAD;
		return parse_in6(inner, port, address);
	}
	if (inet_pton(AF_INET, host, &ip) == 1) {
		set_in4(address, ip, port);
		return 0;
	}
	return parse_in6(host, port, address);
}

static int parse_unix(const char *path, struct address *address)
{
	size_t length = strlen(path);
	if (length == 0 || length >= sizeof(address->un.sun_path))
		return ADDRESS_BAD;
	*address = (struct address){.length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + 1)};
	address->un.sun_family = AF_UNIX;
	memcpy(address->un.sun_path, path, length + 1);
	return 0;
}

int address_parse(const char *text, struct address *address)
{
	char host[INET6_ADDRSTRLEN + IF_NAMESIZE];
	uint16_t port;
	if (strncmp(text, unix_prefix, sizeof(unix_prefix) - 1) == 0)
		return parse_unix(text + sizeof(unix_prefix) - 1, address);
	if (address_split(text, host, sizeof(host), &port) != 0)
		return ADDRESS_BAD;
	if (text[0] == '[')
		return parse_in6(host, port, address);
	// Without brackets nobody can say where an IPv6 literal ends and its port begins.
	if (strchr(host, ':') != NULL)
		return ADDRESS_BAD;
	return address_from_ip(host, port, address);
}

static void format_unix(const struct address *address, char text[ADDRESS_TEXT_BYTES])
{
	size_t head = offsetof(struct sockaddr_un, sun_path);
	size_t room = address->length > head ? address->length - head : 0;
	int length = (int)strnlen(address->un.sun_path, room);
	if (length == 0 && room > 1) // abstract: a peer's choice, its name begins with a NUL
		snprintf(text, ADDRESS_TEXT_BYTES, "unix:@%.*s", (int)strnlen(address->un.sun_path + 1, room - 1),
		         address->un.sun_path + 1);
	else
		snprintf(text, ADDRESS_TEXT_BYTES, "unix:%.*s", length, length > 0 ? address->un.sun_path : "");
}

void address_format(const struct address *address, char text[ADDRESS_TEXT_BYTES])
{
	char ip[INET6_ADDRSTRLEN];
	char zone[IF_NAMESIZE];
	text[0] = '\0';
	if (address->length == 0)
		return;
	if (address->any.sa_family == AF_UNIX) {
		format_unix(address, text);
		return;
	}
	if (address->any.sa_family == AF_INET) {
		inet_ntop(AF_INET, &address->in4.sin_addr, ip, sizeof(ip));
		snprintf(text, ADDRESS_TEXT_BYTES, "%s:%u", ip, (unsigned)ntohs(address->in4.sin_port));
		return;
	}
	if (address->any.sa_family != AF_INET6)
		return;
	unsigned port = ntohs(address->in6.sin6_port);
	const struct in6_addr *in6 = &address->in6.sin6_addr;
	if (IN6_IS_ADDR_V4MAPPED(in6)) {
		inet_ntop(AF_INET, in6->s6_addr + 12, ip, sizeof(ip));
		snprintf(text, ADDRESS_TEXT_BYTES, "%s:%u", ip, port);
		return;
	}
	inet_ntop(AF_INET6, in6, ip, sizeof(ip));
	if (address->in6.sin6_scope_id != 0 && if_indextoname(address->in6.sin6_scope_id, zone) != NULL)
		snprintf(text, ADDRESS_TEXT_BYTES, "[%s%%%s]:%u", ip, zone, port);
	else
		snprintf(text, ADDRESS_TEXT_BYTES, "[%s]:%u", ip, port);
}

// Decimal digits only, no sign, no blank, 1..65535.
static bool parse_port(const char *text, uint16_t *port)
{
	uint32_t value = 0;
	size_t digits = strlen(text);
	if (digits == 0 || digits > 5)
		return false;
	for (size_t i = 0; i < digits; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		value = value * 10 + (uint32_t)(text[i] - '0');
	}
	if (value == 0 || value > UINT16_MAX)
		return false;
	*port = (uint16_t)value;
	return true;
}

int address_split(const char *text, char *host, size_t host_size, uint16_t *port)
{
	const char *colon = strrchr(text, ':');
	const char *start = text;
	uint16_t parsed;
	if (colon == NULL || !parse_port(colon + 1, &parsed))
		return ADDRESS_BAD;
	size_t length = (size_t)(colon - text);
	if (length >= 2 && text[0] == '[') {
		if (text[length - 1] != ']')
			return ADDRESS_BAD;
		start++;
		length -= 2;
	}
	if (length == 0 || !copy_span(start, length, host, host_size))
		return ADDRESS_BAD;
	*port = parsed;
	return 0;
}

bool address_is_loopback(const struct address *address)
{
	if (address->length == 0)
		return false;
	if (address->any.sa_family == AF_UNIX)
		return true;
	if (address->any.sa_family == AF_INET)
		return ntohl(address->in4.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
	if (address->any.sa_family != AF_INET6)
		return false;
	const struct in6_addr *ip = &address->in6.sin6_addr;
	if (IN6_IS_ADDR_V4MAPPED(ip))
		return ip->s6_addr[12] == IN_LOOPBACKNET;
	return IN6_IS_ADDR_LOOPBACK(ip);
}

bool address_is_same_host(const struct address *a, const struct address *b)
{
	if (a->length == 0 || b->length == 0 || a->any.sa_family != b->any.sa_family)
		return false;
	if (a->any.sa_family == AF_INET)
		return a->in4.sin_addr.s_addr == b->in4.sin_addr.s_addr;
	if (a->any.sa_family == AF_INET6)
		return IN6_ARE_ADDR_EQUAL(&a->in6.sin6_addr, &b->in6.sin6_addr);
	return a->any.sa_family == AF_UNIX;
}

bool address_is_unix(const struct address *address)
{
	return address->length != 0 && address->any.sa_family == AF_UNIX;
}

void address_set_port(struct address *address, uint16_t port)
{
	if (address->any.sa_family == AF_INET)
		address->in4.sin_port = htons(port);
	else if (address->any.sa_family == AF_INET6)
		address->in6.sin6_port = htons(port);
}
