#include "link/registry.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <uthash.h>

struct entry {
	uint8_t id[LINK_ID_BYTES];
	struct link *link;
	UT_hash_handle hh;
};

struct registry {
	pthread_mutex_t lock;
	struct entry *entries;
};

int registry_new(struct registry **out)
{
	struct registry *registry = calloc(1, sizeof *registry);
	if (!registry)
		return -ENOMEM;
	pthread_mutex_init(&registry->lock, NULL);
	*out = registry;
	return 0;
}

void registry_free(struct registry **slot)
{
	struct registry *registry = *slot;
	if (!registry)
		return;
	*slot = NULL;
	struct entry *entry, *next;
	HASH_ITER(hh, registry->entries, entry, next) {
		HASH_DEL(registry->entries, entry);
		link_unref(&entry->link);
		free(entry);
	}
	pthread_mutex_destroy(&registry->lock);
	free(registry);
}

int registry_add(struct registry *registry, struct link *link)
{
	struct entry *entry = calloc(1, sizeof *entry), *old;
	if (!entry)
		return -ENOMEM;
	memcpy(entry->id, link_id(link), LINK_ID_BYTES);
	pthread_mutex_lock(&registry->lock);
	HASH_FIND(hh, registry->entries, entry->id, LINK_ID_BYTES, old);
	if (!old) {
		entry->link = link_ref(link);
		HASH_ADD(hh, registry->entries, id, LINK_ID_BYTES, entry);
	}
	pthread_mutex_unlock(&registry->lock);
	if (!old)
		return 0;
	free(entry);
	return REGISTRY_TAKEN;
}

void registry_remove(struct registry *registry, struct link *link)
{
	struct entry *entry;
	pthread_mutex_lock(&registry->lock);
	HASH_FIND(hh, registry->entries, link_id(link), LINK_ID_BYTES, entry);
	if (entry && entry->link == link)
		HASH_DEL(registry->entries, entry);
	else
		entry = NULL;
	pthread_mutex_unlock(&registry->lock);
	if (entry) {
		link_unref(&entry->link);
		free(entry);
	}
}

struct link *registry_find(struct registry *registry, const uint8_t id[LINK_ID_BYTES])
{
	struct entry *entry;
	pthread_mutex_lock(&registry->lock);
	HASH_FIND(hh, registry->entries, id, LINK_ID_BYTES, entry);
	struct link *link = entry ? link_ref(entry->link) : NULL;
	pthread_mutex_unlock(&registry->lock);
	return link;
}

void registry_visit(struct registry *registry, void (*visit)(void *owner, struct link *link), void *owner)
{
	struct entry *entry, *next;
	pthread_mutex_lock(&registry->lock);
	HASH_ITER(hh, registry->entries, entry, next)
		visit(owner, entry->link);
	pthread_mutex_unlock(&registry->lock);
}

size_t registry_count(struct registry *registry)
{
	pthread_mutex_lock(&registry->lock);
	size_t count = HASH_COUNT(registry->entries);
	pthread_mutex_unlock(&registry->lock);
	return count;
}
