#include "fleet/fleet.h"

#include "core/clock.h"
#include "core/counter.h"
#include "limits.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

struct entry {
	struct device *device;
	struct link *link;                 // a reference
	uint8_t pin[PIN_BYTES];            // of the key it came with last
	uint64_t ups_ms[LIMIT_DEVICE_UPS]; // a ring
	unsigned last;
	uint64_t rest_until_ms, last_up_ms, last_down_ms;
	uint32_t ups, flaps;
	UT_hash_handle by_name, by_link;
};

struct fleet {
	pthread_mutex_t lock;
	struct fleet_settings settings;
	struct entry *names, *links;
	struct entry **order; // by name
	size_t count, room;
	_Atomic unsigned online;
};

// ---- devices -------------------------------------------------------------------------------------------------------

struct device *device_ref(struct device *device)
{
	atomic_fetch_add(&device->references, 1);
	return device;
}

void device_unref(struct device **slot)
{
	struct device *device = *slot;
	*slot = NULL;
	if (device && atomic_fetch_sub(&device->references, 1) == 1)
		free(device);
}

static struct entry *find(struct fleet *fleet, const char *name)
{
	struct entry *entry = NULL;
	HASH_FIND(by_name, fleet->names, name, strlen(name), entry);
	return entry;
}

// Where in the order a name is, or would be.
static size_t place_of(const struct fleet *fleet, const char *name)
{
	size_t from = 0, to = fleet->count;
	while (from < to) {
		size_t middle = from + (to - from) / 2;
		if (strcmp(fleet->order[middle]->device->name, name) < 0)
			from = middle + 1;
		else
			to = middle;
	}
	return from;
}

static bool put_in_order(struct fleet *fleet, struct entry *entry)
{
	if (fleet->count == fleet->room) {
		size_t room = fleet->room * 2 + 64;
		struct entry **order = realloc(fleet->order, room * sizeof(struct entry *));
		if (!order)
			return false;
		fleet->order = order;
		fleet->room = room;
	}
	struct entry **at = fleet->order + place_of(fleet, entry->device->name);
	memmove(at + 1, at, (size_t)(fleet->order + fleet->count - at) * sizeof(struct entry *));
	*at = entry;
	fleet->count++;
	return true;
}

static void take_out_of_order(struct fleet *fleet, const struct entry *entry)
{
	struct entry **at = fleet->order + place_of(fleet, entry->device->name);
	assert(*at == entry);
	fleet->count--;
	memmove(at, at + 1, (size_t)(fleet->order + fleet->count - at) * sizeof(struct entry *));
}

static void forget(struct fleet *fleet, struct entry *entry)
{
	assert(fleet->names); // it is one of them
	if (entry->link) {
		assert(fleet->links);
		HASH_DELETE(by_link, fleet->links, entry);
		link_unref(&entry->link);
	}
	take_out_of_order(fleet, entry);
	HASH_DELETE(by_name, fleet->names, entry);
	assert(fleet->names != entry);
	device_unref(&entry->device);
	free(entry);
}

// Whether one more may be known. `oldest`: the one that has been away longest, which then makes room; else NULL.
static bool has_room(struct fleet *fleet, struct entry **oldest)
{
	struct entry *entry, *next;
	*oldest = NULL;
	if (HASH_CNT(by_name, fleet->names) < fleet->settings.devices_max)
		return true;
	HASH_ITER(by_name, fleet->names, entry, next) {
		if (!entry->link && atomic_load(&entry->device->channels) == 0 &&
		    (!*oldest || entry->last_down_ms < (*oldest)->last_down_ms))
			*oldest = entry;
	}
	return *oldest != NULL;
}

static struct entry *add(struct fleet *fleet, const char *name)
{
	struct entry *oldest, *entry = calloc(1, sizeof *entry);
	struct device *device = entry ? calloc(1, sizeof *device) : NULL;
	if (!device) {
		free(entry);
		return NULL;
	}
	if (has_room(fleet, &oldest) && oldest)
		forget(fleet, oldest);
	memcpy(device->name, name, strlen(name) + 1);
	device->references = 1;
	rate_set(&device->rate, fleet->settings.bytes_per_second);
	entry->device = device;
	if (!put_in_order(fleet, entry)) {
		free(device);
		free(entry);
		return NULL;
	}
	HASH_ADD_KEYPTR(by_name, fleet->names, device->name, strlen(device->name), entry);
	return entry;
}

// ---- links ---------------------------------------------------------------------------------------------------------

static int judge(struct fleet *fleet, struct entry *entry, const uint8_t pin[PIN_BYTES], uint64_t now_ms)
{
	struct entry *oldest;
	// Hostile: asked before the peer's link stands, so nobody makes room for it yet.
	if (!entry)
		return has_room(fleet, &oldest) ? 0 : FLEET_FULL;
	if (entry->link && !fleet->settings.any_key && memcmp(entry->pin, pin, PIN_BYTES) != 0)
		return FLEET_TAKEN;
	return now_ms < entry->rest_until_ms ? FLEET_FLAPS : 0;
}

int fleet_judge(struct fleet *fleet, const char *name, const uint8_t pin[PIN_BYTES], uint64_t now_ms)
{
	pthread_mutex_lock(&fleet->lock);
	int r = judge(fleet, find(fleet, name), pin, now_ms);
	pthread_mutex_unlock(&fleet->lock);
	return r;
}

static void note_up(struct entry *entry, uint64_t now_ms)
{
	entry->last_up_ms = now_ms;
	entry->ups++;
	entry->last = (entry->last + 1) % LIMIT_DEVICE_UPS;
	uint64_t first = entry->ups_ms[entry->last]; // as many ups ago
	entry->ups_ms[entry->last] = now_ms;
	if (first == 0 || now_ms - first >= LIMIT_DEVICE_UPS_MS)
		return;
	entry->rest_until_ms = now_ms + LIMIT_DEVICE_REST_MS;
	entry->flaps++;
	memset(entry->ups_ms, 0, sizeof entry->ups_ms); // with its rest it has paid for these
}

static void bind_link(struct fleet *fleet, struct entry *entry, struct link *link, struct fleet_up *up)
{
	*up = (struct fleet_up){.device = device_ref(entry->device), .is_new = !entry->link};
	if (entry->link) {
		HASH_DELETE(by_link, fleet->links, entry);
		up->replaced = entry->link;
	} else {
		atomic_fetch_add(&fleet->online, 1);
	}
	entry->link = link_ref(link);
	HASH_ADD_KEYPTR(by_link, fleet->links, &entry->link, sizeof entry->link, entry);
}

int fleet_up(struct fleet *fleet, const char *name, const uint8_t pin[PIN_BYTES], struct link *link,
             struct fleet_up *up)
{
	uint64_t now_ms = clock_ms();
	pthread_mutex_lock(&fleet->lock);
	struct entry *entry = find(fleet, name);
	int r = judge(fleet, entry, pin, now_ms);
	if (r == 0 && !entry)
		r = (entry = add(fleet, name)) ? 0 : -ENOMEM;
	if (r == 0) {
		memcpy(entry->pin, pin, PIN_BYTES);
		note_up(entry, now_ms);
		bind_link(fleet, entry, link, up);
		up->rests = now_ms < entry->rest_until_ms;
	}
	pthread_mutex_unlock(&fleet->lock);
	return r;
}

struct device *fleet_down(struct fleet *fleet, struct link *link, uint64_t now_ms)
{
	struct entry *entry = NULL;
	struct device *device = NULL;
	pthread_mutex_lock(&fleet->lock);
	HASH_FIND(by_link, fleet->links, &link, sizeof link, entry);
	if (entry) {
		HASH_DELETE(by_link, fleet->links, entry);
		link_unref(&entry->link);
		entry->last_down_ms = now_ms;
		atomic_fetch_sub(&fleet->online, 1);
		device = device_ref(entry->device);
	}
	pthread_mutex_unlock(&fleet->lock);
	return device;
}

// ---- questions -----------------------------------------------------------------------------------------------------

struct device *fleet_find(struct fleet *fleet, const char *name)
{
	pthread_mutex_lock(&fleet->lock);
	struct entry *entry = find(fleet, name);
	struct device *device = entry ? device_ref(entry->device) : NULL;
	pthread_mutex_unlock(&fleet->lock);
	return device;
}

struct link *fleet_link(struct fleet *fleet, const struct device *device)
{
	pthread_mutex_lock(&fleet->lock);
	struct entry *entry = find(fleet, device->name);
	struct link *link = entry && entry->link ? link_ref(entry->link) : NULL;
	pthread_mutex_unlock(&fleet->lock);
	return link;
}

unsigned fleet_online(struct fleet *fleet)
{
	return atomic_load(&fleet->online);
}

static void see(const struct entry *entry, struct fleet_view *view)
{
	*view = (struct fleet_view){.device = device_ref(entry->device),
	                            .link = entry->link ? link_ref(entry->link) : NULL,
	                            .last_up_ms = entry->last_up_ms,
	                            .last_down_ms = entry->last_down_ms,
	                            .ups = entry->ups,
	                            .flaps = entry->flaps,
	                            .rests = clock_ms() < entry->rest_until_ms};
}

size_t fleet_visit(struct fleet *fleet, const char *after, size_t most, fleet_visit_fn visit, void *owner)
{
	pthread_mutex_lock(&fleet->lock);
	size_t from = place_of(fleet, after);
	if (from < fleet->count && strcmp(fleet->order[from]->device->name, after) == 0)
		from++;
	size_t there = fleet->count - from, count = there < most ? there : most;
	struct fleet_view *views = calloc(count + 1, sizeof *views);
	for (size_t i = 0; views && i < count; i++)
		see(fleet->order[from + i], &views[i]);
	pthread_mutex_unlock(&fleet->lock);
	for (size_t i = 0; views && i < count; i++) {
		visit(owner, &views[i]);
		device_unref(&views[i].device);
		link_unref(&views[i].link);
	}
	free(views);
	return views ? there - count : 0;
}

// ---- life ----------------------------------------------------------------------------------------------------------

int fleet_new(const struct fleet_settings *settings, struct fleet **out)
{
	struct fleet *fleet = calloc(1, sizeof *fleet);
	if (!fleet)
		return -ENOMEM;
	fleet->settings = *settings;
	pthread_mutex_init(&fleet->lock, NULL);
	*out = fleet;
	return 0;
}

void fleet_set(struct fleet *fleet, const struct fleet_settings *settings)
{
	struct entry *entry, *next;
	pthread_mutex_lock(&fleet->lock);
	fleet->settings = *settings;
	HASH_ITER(by_name, fleet->names, entry, next)
		rate_set(&entry->device->rate, settings->bytes_per_second);
	pthread_mutex_unlock(&fleet->lock);
}

void fleet_free(struct fleet **slot)
{
	struct fleet *fleet = *slot;
	struct entry *entry, *next;
	*slot = NULL;
	if (!fleet)
		return;
	HASH_ITER(by_name, fleet->names, entry, next)
		forget(fleet, entry);
	free(fleet->order);
	pthread_mutex_destroy(&fleet->lock);
	free(fleet);
}
