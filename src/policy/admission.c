#include "policy/admission.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
// Without memory an element is left out (its hh.tbl is NULL) instead of ending the process.
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

// IPv4 as itself (mapped addresses too), IPv6 as its /64: who can have one address there can have 2^64.
struct key {
	uint8_t bytes[9];
};

struct entry {
	struct key key;
	uint32_t count;              // admitted in this window
	uint32_t in_flight;          // while there are any it is in no list: it must not be forgotten
	uint64_t window_ms;          // its start
	struct entry *newer, *older; // by last use
	UT_hash_handle hh;
};

struct admission {
	struct admission_limits limits;
	uint32_t in_flight, remembered;
	struct entry *entries, *newest, *oldest;
};

int admission_new(const struct admission_limits *limits, struct admission **out)
{
	assert(limits->table > 0);
	struct admission *admission = calloc(1, sizeof *admission);
	if (!admission)
		return -ENOMEM;
	admission->limits = *limits;
	*out = admission;
	return 0;
}

static void unlist(struct admission *admission, struct entry *entry)
{
	if (entry->newer)
		entry->newer->older = entry->older;
	else
		admission->newest = entry->older;
	if (entry->older)
		entry->older->newer = entry->newer;
	else
		admission->oldest = entry->newer;
}

static void list(struct admission *admission, struct entry *entry)
{
	entry->newer = NULL;
	entry->older = admission->newest;
	if (admission->newest)
		admission->newest->newer = entry;
	else
		admission->oldest = entry;
	admission->newest = entry;
}

static void forget(struct admission *admission, struct entry *entry)
{
	HASH_DEL(admission->entries, entry);
	unlist(admission, entry);
	admission->remembered--;
	free(entry);
}

void admission_free(struct admission **slot)
{
	struct admission *admission = *slot;
	*slot = NULL;
	if (!admission)
		return;
	struct entry *entry, *next;
	HASH_ITER(hh, admission->entries, entry, next) {
		HASH_DEL(admission->entries, entry);
		free(entry);
	}
	free(admission);
}

static struct key key_of(const struct sockaddr *address)
{
	static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
	struct key key = {{0}};
	if (address->sa_family == AF_INET) {
		key.bytes[0] = 4;
		memcpy(key.bytes + 1, &((const struct sockaddr_in *)(const void *)address)->sin_addr, 4);
	} else {
		const uint8_t *bytes = ((const struct sockaddr_in6 *)(const void *)address)->sin6_addr.s6_addr;
		bool is_v4 = memcmp(bytes, mapped, sizeof mapped) == 0;
		key.bytes[0] = is_v4 ? 4 : 6;
		memcpy(key.bytes + 1, is_v4 ? bytes + 12 : bytes, is_v4 ? 4 : 8);
	}
	return key;
}

static bool is_ip(const struct sockaddr *address)
{
	return address->sa_family == AF_INET || address->sa_family == AF_INET6;
}

bool admission_is_same(const struct sockaddr *a, const struct sockaddr *b)
{
	if (!is_ip(a) || !is_ip(b))
		return false;
	struct key x = key_of(a), y = key_of(b);
	return memcmp(&x, &y, sizeof x) == 0;
}

// The entry of an address, the newest now; NULL without memory, or when every address of a full table is busy.
static struct entry *entry_of(struct admission *admission, const struct sockaddr *address, uint64_t now_ms)
{
	struct key key = key_of(address);
	struct entry *entry;
	HASH_FIND(hh, admission->entries, &key, sizeof key, entry);
	if (entry && entry->in_flight == 0) {
		unlist(admission, entry);
		list(admission, entry);
	}
	if (entry)
		return entry;
	// Hostile: bounded, the address not seen for the longest time is forgotten.
	if (admission->remembered >= admission->limits.table && !admission->oldest)
		return NULL;
	if (admission->remembered >= admission->limits.table)
		forget(admission, admission->oldest);
	entry = calloc(1, sizeof *entry);
	if (!entry)
		return NULL;
	entry->key = key;
	entry->window_ms = now_ms;
	HASH_ADD(hh, admission->entries, key, sizeof key, entry);
	if (!entry->hh.tbl) {
		free(entry);
		return NULL;
	}
	list(admission, entry);
	admission->remembered++;
	return entry;
}

int admission_charge(struct admission *admission, const struct sockaddr *address, uint64_t now_ms)
{
	if (!is_ip(address))
		return ADMISSION_OK;
	struct entry *entry = entry_of(admission, address, now_ms);
	if (!entry)
		return ADMISSION_TOO_MANY;
	// Workers' clocks differ by a turn: a time before the window's start is inside of it.
	if (now_ms >= entry->window_ms + admission->limits.window_ms) {
		entry->window_ms = now_ms;
		entry->count = 0;
	}
	if (entry->count >= admission->limits.per_address)
		return ADMISSION_TOO_FAST;
	entry->count++;
	return ADMISSION_OK;
}

int admission_take(struct admission *admission, const struct sockaddr *address, uint64_t now_ms)
{
	uint32_t most = admission->limits.in_flight_per_address;
	if (admission->in_flight >= admission->limits.in_flight)
		return ADMISSION_TOO_MANY;
	struct entry *entry = is_ip(address) ? entry_of(admission, address, now_ms) : NULL;
	if (is_ip(address) && !entry)
		return ADMISSION_TOO_MANY;
	// Hostile: who begins handshakes and does not go on with them holds a share of the places, not all.
	if (entry && most > 0 && entry->in_flight >= most)
		return ADMISSION_SHARE;
	if (entry && entry->in_flight++ == 0)
		unlist(admission, entry);
	admission->in_flight++;
	return ADMISSION_OK;
}

int admission_enter(struct admission *admission, const struct sockaddr *address, uint64_t now_ms)
{
	if (admission->in_flight >= admission->limits.in_flight)
		return ADMISSION_TOO_MANY;
	int answer = admission_charge(admission, address, now_ms);
	return answer == ADMISSION_OK ? admission_take(admission, address, now_ms) : answer;
}

void admission_leave(struct admission *admission, const struct sockaddr *address)
{
	struct entry *entry = NULL;
	if (is_ip(address)) {
		struct key key = key_of(address);
		HASH_FIND(hh, admission->entries, &key, sizeof key, entry);
	}
	if (entry && entry->in_flight > 0 && --entry->in_flight == 0)
		list(admission, entry);
	if (admission->in_flight > 0)
		admission->in_flight--;
}

uint32_t admission_in_flight(const struct admission *admission)
{
	return admission->in_flight;
}
