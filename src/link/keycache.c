#include "link/keycache.h"

#include "crypto/kem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct entry {
	uint8_t digest[DIGEST_BYTES];
	uint8_t *key;     // MCELIECE_KEY_BYTES, NULL while the entry is unused
	uint64_t used_at; // larger is more recent, 0 never
};

struct keycache {
	uint64_t uses;
	unsigned count;
	struct entry entries[];
};

int keycache_new(unsigned entries, struct keycache **cache)
{
	if (entries == 0)
		return -EINVAL;
	struct keycache *fresh = calloc(1, sizeof *fresh + entries * sizeof fresh->entries[0]);
	if (!fresh)
		return -ENOMEM;
	fresh->count = entries;
	*cache = fresh;
	return 0;
}

void keycache_free(struct keycache **cache)
{
	if (!*cache)
		return;
	for (unsigned i = 0; i < (*cache)->count; i++)
		free((*cache)->entries[i].key);
	free(*cache);
	*cache = NULL;
}

static struct entry *find(struct keycache *cache, const uint8_t digest[DIGEST_BYTES])
{
	for (unsigned i = 0; i < cache->count; i++) {
		struct entry *entry = &cache->entries[i];
		if (entry->key && memcmp(entry->digest, digest, DIGEST_BYTES) == 0)
			return entry;
	}
	return NULL;
}

static struct entry *least_recent(struct keycache *cache)
{
	struct entry *oldest = &cache->entries[0];
	for (unsigned i = 1; i < cache->count; i++) {
		if (cache->entries[i].used_at < oldest->used_at)
			oldest = &cache->entries[i];
	}
	return oldest;
}

const uint8_t *keycache_lookup(struct keycache *cache, const uint8_t digest[DIGEST_BYTES])
{
	struct entry *entry = find(cache, digest);
	if (!entry)
		return NULL;
	entry->used_at = ++cache->uses;
	return entry->key;
}

void keycache_store(struct keycache *cache, const uint8_t digest[DIGEST_BYTES], const uint8_t *key)
{
	if (keycache_lookup(cache, digest))
		return;
	struct entry *entry = least_recent(cache);
	if (!entry->key)
		entry->key = malloc(MCELIECE_KEY_BYTES);
	// Without memory nothing is cached, and the key is asked for again next time.
	if (!entry->key)
		return;
	memcpy(entry->key, key, MCELIECE_KEY_BYTES);
	memcpy(entry->digest, digest, DIGEST_BYTES);
	entry->used_at = ++cache->uses;
}

bool keycache_last(const struct keycache *cache, uint8_t digest[DIGEST_BYTES])
{
	const struct entry *last = NULL;
	for (unsigned i = 0; i < cache->count; i++) {
		const struct entry *entry = &cache->entries[i];
		if (entry->key && (!last || entry->used_at > last->used_at))
			last = entry;
	}
	if (!last)
		return false;
	memcpy(digest, last->digest, DIGEST_BYTES);
	return true;
}
