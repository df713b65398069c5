#include "core/secret.h"

#include "core/log.h"
#include "limits.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define ARENA_BYTES ((size_t)LIMIT_SECRETS * SECRET_MAX_BYTES)
// Whole pages of any size that Linux has, so that the guard pages touch the arena.
static_assert(ARENA_BYTES % 65536 == 0, "LIMIT_SECRETS is a multiple of 1024");

// A free slot holds the address of the next one.
union slot {
	union slot *next;
	uint8_t bytes[SECRET_MAX_BYTES];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static union slot *arena, *first_free;
static size_t untouched; // slots that were never used

static void no_dumps(void)
{
	// Syscalls at start: prctl, prlimit64
	struct rlimit none = {0};
	(void)prctl(PR_SET_DUMPABLE, 0);
	(void)setrlimit(RLIMIT_CORE, &none);
}

static int map_arena(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	// Syscalls: mmap, mprotect, mlock, madvise
	uint8_t *all = mmap(NULL, ARENA_BYTES + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (all == MAP_FAILED)
		return -errno;
	if (mprotect(all + page, ARENA_BYTES, PROT_READ | PROT_WRITE) != 0) {
		int error = errno;
		munmap(all, ARENA_BYTES + 2 * page);
		return -error;
	}
	if (mlock(all + page, ARENA_BYTES) != 0)
		log_warn("secret",
		         "keys may reach the swap: their %zu KiB cannot be locked in memory (%s); raise LimitMEMLOCK "
		         "or ulimit -l",
		         ARENA_BYTES / 1024, outcome_text(-errno));
	(void)madvise(all + page, ARENA_BYTES, MADV_DONTDUMP);
	(void)madvise(all + page, ARENA_BYTES, MADV_WIPEONFORK);
	arena = (union slot *)(void *)(all + page);
	return 0;
}

int secret_start(void)
{
	no_dumps();
	pthread_mutex_lock(&lock);
	int r = arena ? 0 : map_arena();
	pthread_mutex_unlock(&lock);
	return r;
}

static int take_slot(struct secret *secret)
{
	pthread_mutex_lock(&lock);
	int r = arena ? 0 : map_arena();
	union slot *slot = NULL;
	if (r == 0 && first_free) {
		slot = first_free;
		first_free = slot->next;
	} else if (r == 0 && untouched < LIMIT_SECRETS) {
		slot = &arena[untouched++];
	}
	pthread_mutex_unlock(&lock);
	if (r < 0)
		return r;
	if (!slot)
		return -ENOMEM;
	memset(slot->bytes, 0, sizeof slot->bytes);
	secret->bytes = slot->bytes;
	return 0;
}

int secret_init(struct secret *secret, size_t length)
{
	assert(length > 0 && length <= SECRET_MAX_BYTES);
	if (secret->bytes) {
		secret_wipe(secret->bytes, SECRET_MAX_BYTES);
	} else {
		int r = take_slot(secret);
		if (r < 0)
			return r;
	}
	secret->length = length;
	return 0;
}

int secret_set(struct secret *secret, const uint8_t *bytes, size_t length)
{
	assert(length > 0 && length <= SECRET_MAX_BYTES);
	int r = secret->bytes ? 0 : take_slot(secret);
	if (r < 0)
		return r;
	memmove(secret->bytes, bytes, length);
	secret_wipe(secret->bytes + length, SECRET_MAX_BYTES - length);
	secret->length = length;
	return 0;
}

void secret_move(struct secret *to, struct secret *from)
{
	if (to == from)
		return;
	secret_fini(to);
	*to = *from;
	*from = (struct secret){0};
}

void secret_fini(struct secret *secret)
{
	if (!secret->bytes)
		return;
	union slot *slot = (union slot *)(void *)secret->bytes;
	secret_wipe(slot->bytes, sizeof slot->bytes);
	pthread_mutex_lock(&lock);
	slot->next = first_free;
	first_free = slot;
	pthread_mutex_unlock(&lock);
	*secret = (struct secret){0};
}

bool secret_is_set(const struct secret *secret)
{
	return secret->bytes != NULL;
}

bool secret_is_equal(const uint8_t *a, const uint8_t *b, size_t length)
{
	volatile uint8_t difference = 0;
	for (size_t i = 0; i < length; i++)
		difference = (uint8_t)(difference | (a[i] ^ b[i]));
	return difference == 0;
}

void secret_wipe(void *bytes, size_t length)
{
	explicit_bzero(bytes, length);
}
