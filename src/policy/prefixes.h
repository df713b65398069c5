// Which of many networks an address lies in: the one with the longest prefix. Made once and never changed, so that
// threads read it without a lock. One probe of a hash table for each length of prefix that occurs. Pure.

#pragma once

#include "core/outcome.h"
#include "policy/cidr.h"

#include <stddef.h>
#include <stdint.h>

#define PREFIXES_NONE UINT32_MAX

struct prefixes;

struct prefix {
	struct cidr network; // host bits do not matter
	uint32_t value;      // any but PREFIXES_NONE
};

// Of two that are the same network the later one counts. Negative: no memory.
MUST_USE int prefixes_new(const struct prefix *list, size_t count, struct prefixes **prefixes);
void prefixes_free(struct prefixes **prefixes);
// PREFIXES_NONE: in none of them. The address has 4 bytes, or 16; an IPv6 address is never in a network of IPv4.
uint32_t prefixes_find4(const struct prefixes *prefixes, const uint8_t address[4]);
uint32_t prefixes_find6(const struct prefixes *prefixes, const uint8_t address[16]);
