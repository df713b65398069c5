#include "policy/quota.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX

struct place {
	struct quota_key key;
	uint32_t count;
	uint32_t next; // of the same chain, or of the free places
};

struct quota {
	pthread_mutex_t lock;
	size_t keys_max, keys;
	uint64_t seed;
	struct place *places; // NULL until the first key comes
	uint32_t *chains;     // keys_max of them
	uint32_t free;
};

int quota_new(size_t keys_max, uint64_t seed, struct quota **out)
{
	struct quota *quota = calloc(1, sizeof *quota);
	if (!quota)
		return -ENOMEM;
	pthread_mutex_init(&quota->lock, NULL);
	quota->keys_max = keys_max;
	quota->seed = seed;
	*out = quota;
	return 0;
}

void quota_free(struct quota **slot)
{
	struct quota *quota = *slot;
	*slot = NULL;
	if (!quota)
		return;
	pthread_mutex_destroy(&quota->lock);
	free(quota->places);
	free(quota->chains);
	free(quota);
}

// ---- keys ----------------------------------------------------------------------------------------------------------

void quota_key_of_address(const struct sockaddr *address, struct quota_key *key)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	struct sockaddr_in ip4;
	struct sockaddr_in6 ip6;
	*key = (struct quota_key){{0}};
	if (address->sa_family == AF_INET) {
		memcpy(&ip4, address, sizeof ip4);
		memcpy(key->bytes, mapped, sizeof mapped);
		memcpy(key->bytes + sizeof mapped, &ip4.sin_addr, sizeof ip4.sin_addr);
	}
	if (address->sa_family == AF_INET6) {
		memcpy(&ip6, address, sizeof ip6);
		bool is_ip4 = memcmp(&ip6.sin6_addr, mapped, sizeof mapped) == 0;
		memcpy(key->bytes, &ip6.sin6_addr, is_ip4 ? 16 : 8);
	}
}

static unsigned digit(char c)
{
	return c >= '0' && c <= '9' ? (unsigned)(c - '0') : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10 : 0;
}

void quota_key_of_fingerprint(const char *hex, struct quota_key *key)
{
	*key = (struct quota_key){{0}};
	for (size_t i = 0; i < QUOTA_KEY_BYTES && hex[2 * i] && hex[2 * i + 1]; i++)
		key->bytes[i] = (uint8_t)(digit(hex[2 * i]) << 4 | digit(hex[2 * i + 1]));
}

// ---- the table, under its lock -------------------------------------------------------------------------------------

static bool make_table(struct quota *quota)
{
	if (quota->places)
		return true;
	quota->places = calloc(quota->keys_max, sizeof *quota->places);
	quota->chains = calloc(quota->keys_max, sizeof *quota->chains);
	if (!quota->places || !quota->chains) {
		free(quota->places);
		free(quota->chains);
		quota->places = NULL;
		quota->chains = NULL;
		return false;
	}
	for (size_t i = 0; i < quota->keys_max; i++) {
		quota->chains[i] = NONE;
		quota->places[i].next = i + 1 < quota->keys_max ? (uint32_t)i + 1 : NONE;
	}
	quota->free = 0;
	return true;
}

static uint32_t *chain_of(struct quota *quota, const struct quota_key *key)
{
	uint64_t halves[2];
	memcpy(halves, key->bytes, sizeof halves);
	uint64_t hash = quota->seed;
	for (size_t i = 0; i < 2; i++) {
		hash = (hash ^ halves[i]) * 0x9e3779b97f4a7c15u;
		hash ^= hash >> 32;
	}
	return &quota->chains[hash % quota->keys_max];
}

// The link that points to the key's place, or to NONE at the end of its chain.
static uint32_t *find(struct quota *quota, const struct quota_key *key)
{
	uint32_t *link = chain_of(quota, key);
	while (*link != NONE && memcmp(&quota->places[*link].key, key, sizeof *key) != 0)
		link = &quota->places[*link].next;
	return link;
}

static int enter(struct quota *quota, const struct quota_key *key, uint32_t limit)
{
	if (!make_table(quota))
		return QUOTA_FULL;
	uint32_t *link = find(quota, key);
	if (*link != NONE) {
		struct place *place = &quota->places[*link];
		if (place->count >= limit)
			return QUOTA_TOO_MANY;
		place->count++;
		return 0;
	}
	// Hostile: as many keys as there is room for, then no more.
	if (limit == 0 || quota->free == NONE)
		return limit == 0 ? QUOTA_TOO_MANY : QUOTA_FULL;
	uint32_t taken = quota->free;
	quota->free = quota->places[taken].next;
	quota->places[taken] = (struct place){.key = *key, .count = 1, .next = NONE};
	*link = taken;
	quota->keys++;
	return 0;
}

static void leave(struct quota *quota, const struct quota_key *key)
{
	uint32_t *link = quota->places ? find(quota, key) : NULL;
	if (!link || *link == NONE || --quota->places[*link].count > 0)
		return;
	uint32_t emptied = *link;
	*link = quota->places[emptied].next;
	quota->places[emptied].next = quota->free;
	quota->free = emptied;
	quota->keys--;
}

int quota_enter(struct quota *quota, const struct quota_key *key, uint32_t limit)
{
	pthread_mutex_lock(&quota->lock);
	int r = enter(quota, key, limit);
	pthread_mutex_unlock(&quota->lock);
	return r;
}

void quota_leave(struct quota *quota, const struct quota_key *key)
{
	pthread_mutex_lock(&quota->lock);
	leave(quota, key);
	pthread_mutex_unlock(&quota->lock);
}

size_t quota_keys(struct quota *quota)
{
	pthread_mutex_lock(&quota->lock);
	size_t keys = quota->keys;
	pthread_mutex_unlock(&quota->lock);
	return keys;
}
