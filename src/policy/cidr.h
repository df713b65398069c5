// Lists of address ranges, IPv4 and IPv6. Pure.

#pragma once

#include "core/outcome.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct cidr {
	uint8_t address[16]; // IPv4 as ::ffff:a.b.c.d
	uint8_t bits;        // 0..128, counted on the 16-byte form
};

// "10.0.0.0/8", "192.168.1.7", "fd00::/8", "::1". Host bits must be zero. CIDR_BAD when it is none of these.
enum { CIDR_BAD = 1 };
MUST_USE int cidr_parse(const char *text, struct cidr *cidr);
// Both forms of an IPv4 address (itself, ::ffff:a.b.c.d) are in IPv4 ranges only: "::/0" is every IPv6 address.
bool cidr_contains(const struct cidr *cidr, const struct sockaddr *address);
// True for an empty list as well: no list, no limit. Addresses that are not IP (Unix sockets) always pass.
bool cidr_list_allows(const struct cidr *list, size_t count, const struct sockaddr *address);
