#include "policy/prefixes.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAPPED_BITS 96

// The 16-byte form as two numbers.
struct key {
	uint64_t high, low;
};

struct slot {
	struct key key;
	uint32_t value; // PREFIXES_NONE: free
};

// All networks with prefixes of one length.
struct level {
	struct key mask;
	size_t last; // slot: their number is a power of two, at least twice that of the networks
	struct slot *slots;
};

struct levels {
	unsigned count;
	struct level level[129]; // longest first
};

struct prefixes {
	struct levels ipv4, ipv6;
	struct slot slots[];
};

static uint64_t read64(const uint8_t *at)
{
	uint64_t value = 0;
	for (unsigned i = 0; i < 8; i++)
		value = value << 8 | at[i];
	return value;
}

static struct key key_of(const uint8_t address[16])
{
	return (struct key){read64(address), read64(address + 8)};
}

static struct key mask_of(unsigned bits)
{
	return (struct key){.high = bits >= 64 ? UINT64_MAX : ~(UINT64_MAX >> bits),
	                    .low = bits <= 64 ? 0 : ~(bits == 128 ? 0 : UINT64_MAX >> (bits - 64))};
}

static struct key both(struct key a, struct key b)
{
	return (struct key){a.high & b.high, a.low & b.low};
}

// Spread well enough for addresses that follow each other; who may choose the networks is no stranger.
static size_t place_of(struct key key)
{
	uint64_t mixed = (key.low ^ (key.high * 0x9e3779b97f4a7c15u)) * 0xd6e8feb86659fd93u;
	return (size_t)(mixed >> 32);
}

static bool is_v4(const struct cidr *network)
{
	static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
	return network->bits >= MAPPED_BITS && memcmp(network->address, mapped, sizeof mapped) == 0;
}

// ---- making

static size_t room_for(size_t count)
{
	size_t room = 2;
	while (room < 2 * count)
		room *= 2;
	return room;
}

static size_t count_of(const struct prefix *list, size_t count, bool v4, unsigned bits)
{
	size_t found = 0;
	for (size_t i = 0; i < count; i++)
		found += is_v4(&list[i].network) == v4 && list[i].network.bits == bits;
	return found;
}

static void put(struct level *level, struct key key, uint32_t value)
{
	key = both(key, level->mask);
	size_t at = place_of(key) & level->last;
	while (level->slots[at].value != PREFIXES_NONE &&
	       (level->slots[at].key.high != key.high || level->slots[at].key.low != key.low))
		at = (at + 1) & level->last;
	level->slots[at] = (struct slot){key, value};
}

// Its levels, with slots from *next on.
static void fill(struct levels *levels, bool v4, const struct prefix *list, size_t count, struct slot **next)
{
	for (unsigned bits = 128; bits <= 128; bits--) { // ends when it wraps
		size_t found = count_of(list, count, v4, bits);
		if (found == 0)
			continue;
		struct level *level = &levels->level[levels->count++];
		level->mask = mask_of(bits);
		level->last = room_for(found) - 1;
		level->slots = *next;
		*next += level->last + 1;
		for (size_t i = 0; i <= level->last; i++)
			level->slots[i].value = PREFIXES_NONE;
		for (size_t i = 0; i < count; i++)
			if (is_v4(&list[i].network) == v4 && list[i].network.bits == bits)
				put(level, key_of(list[i].network.address), list[i].value);
	}
}

int prefixes_new(const struct prefix *list, size_t count, struct prefixes **out)
{
	size_t room = 0;
	for (unsigned bits = 0; bits <= 128; bits++)
		for (unsigned v4 = 0; v4 <= 1; v4++) {
			size_t found = count_of(list, count, v4, bits);
			room += found > 0 ? room_for(found) : 0;
		}
	struct prefixes *prefixes = calloc(1, sizeof *prefixes + room * sizeof *prefixes->slots);
	if (!prefixes)
		return -ENOMEM;
	struct slot *next = prefixes->slots;
	fill(&prefixes->ipv4, true, list, count, &next);
	fill(&prefixes->ipv6, false, list, count, &next);
	assert(next == prefixes->slots + room);
	*out = prefixes;
	return 0;
}

void prefixes_free(struct prefixes **prefixes)
{
	free(*prefixes);
	*prefixes = NULL;
}

// ---- finding

static uint32_t find(const struct levels *levels, struct key address)
{
	for (unsigned i = 0; i < levels->count; i++) {
		const struct level *level = &levels->level[i];
		struct key key = both(address, level->mask);
		for (size_t at = place_of(key) & level->last; level->slots[at].value != PREFIXES_NONE;
		     at = (at + 1) & level->last)
			if (level->slots[at].key.high == key.high && level->slots[at].key.low == key.low)
				return level->slots[at].value;
	}
	return PREFIXES_NONE;
}

uint32_t prefixes_find4(const struct prefixes *prefixes, const uint8_t address[4])
{
	uint64_t low = (uint64_t)0xffff << 32 | (uint64_t)address[0] << 24 | (uint64_t)address[1] << 16 |
	               (uint64_t)address[2] << 8 | address[3];
	return find(&prefixes->ipv4, (struct key){0, low});
}

uint32_t prefixes_find6(const struct prefixes *prefixes, const uint8_t address[16])
{
	return find(&prefixes->ipv6, key_of(address));
}
