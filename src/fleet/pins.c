#include "fleet/pins.h"

#include "core/log.h"
#include "fleet/naming.h"
#include "limits.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uthash.h>

#define HEX_BYTES (2 * PIN_BYTES)
#define LINE_BYTES (NAMING_BYTES + HEX_BYTES + 3)
// Names that are synchronised together: a fleet that comes for the first time waits for the disk a few times only.
#define BATCH 64

struct key {
	uint8_t pin[PIN_BYTES];
	uint32_t count; // of its names
	UT_hash_handle hh;
};

struct claim {
	char name[NAMING_BYTES];
	struct key *key;
	struct claim *next; // to be written
	bool pending;
	UT_hash_handle hh;
};

struct pins {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	pthread_t thread;
	struct claim *claims;
	struct key *keys;
	struct claim *first, **end; // to be written
	struct pins_settings settings;
	int fd;
	bool runs, stop;
};

static struct key *key_of(struct pins *pins, const uint8_t pin[PIN_BYTES])
{
	struct key *key = NULL;
	HASH_FIND(hh, pins->keys, pin, PIN_BYTES, key);
	return key;
}

static struct claim *keep(struct pins *pins, const char *name, const uint8_t pin[PIN_BYTES])
{
	struct claim *claim = calloc(1, sizeof *claim);
	struct key *key = claim ? key_of(pins, pin) : NULL;
	if (claim && !key && (key = calloc(1, sizeof *key)) != NULL) {
		memcpy(key->pin, pin, PIN_BYTES);
		HASH_ADD(hh, pins->keys, pin, PIN_BYTES, key);
	}
	if (!key) {
		free(claim);
		return NULL;
	}
	snprintf(claim->name, sizeof claim->name, "%s", name);
	claim->key = key;
	key->count++;
	HASH_ADD_STR(pins->claims, name, claim);
	return claim;
}

static void forget(struct pins *pins, struct claim *claim)
{
	struct key *key = claim->key;
	assert(pins->claims && pins->keys); // it is one of them
	HASH_DEL(pins->claims, claim);
	assert(pins->claims != claim);
	free(claim);
	if (--key->count > 0)
		return;
	HASH_DEL(pins->keys, key);
	free(key);
}

// "NAME HEX": false when it is none.
static bool read_line(struct pins *pins, char *line)
{
	char *blank = strchr(line, ' '), ignored[PIN_PROBLEM_BYTES];
	uint8_t pin[PIN_BYTES];
	struct claim *there = NULL;
	if (*line == '#' || *line == '\0')
		return true;
	if (!blank)
		return false;
	*blank = '\0';
	if (!naming_is_good(line) || strlen(blank + 1) != HEX_BYTES || pin_parse(blank + 1, pin, ignored) != 0)
		return false;
	HASH_FIND_STR(pins->claims, line, there);
	return !there && HASH_COUNT(pins->claims) < pins->settings.most && keep(pins, line, pin);
}

// What may be left of a line that was being written when the machine went down.
static bool is_torn(const char *line)
{
	char name[NAMING_BYTES];
	size_t length = strcspn(line, " ");
	if (length == 0 || length >= sizeof name)
		return false;
	memcpy(name, line, length);
	name[length] = '\0';
	const char *hex = line + length + (line[length] == ' ');
	size_t digits = strspn(hex, "0123456789abcdef");
	return naming_is_good(name) && hex[digits] == '\0' && digits < HEX_BYTES;
}

static int set_end(const struct pins *pins, off_t length, const char *more)
{
	// Syscalls: ftruncate, write
	if (ftruncate(pins->fd, length) != 0)
		return -errno;
	ssize_t n = write(pins->fd, more, strlen(more));
	return n < 0 ? -errno : (size_t)n < strlen(more) ? -ENOSPC : 0;
}

// The last line has no end. A whole one was edited by hand, and gets it. Half of one was being written, and nobody has
// been told of it: it goes. Anything else is not ours to cut, nor is what stands in a file without any claim.
static int mend_last(struct pins *pins, char *text, size_t at, size_t length)
{
	while (length > at && text[length - 1] == '\0') // the disk had the length already, and not what was written
		length--;
	text[length] = '\0';
	bool torn = pins->claims && (length == at || is_torn(text + at));
	if (strlen(text + at) != length - at)
		return PINS_BAD;
	if (torn) {
		log_warn("pins", "the last %zu bytes of the file of claims are half a line, and are cut off", length - at);
		return set_end(pins, (off_t)at, "");
	}
	if (!read_line(pins, text + at))
		return PINS_BAD;
	log_warn("pins", "the last line of the file of claims had no end, and gets it");
	return set_end(pins, (off_t)length, "\n");
}

static int read_text(struct pins *pins, char *text, size_t length, char problem[PINS_PROBLEM_BYTES])
{
	unsigned number = 0;
	int r = 0;
	char *line = text, *end;
	for (; r == 0 && (end = memchr(line, '\n', length - (size_t)(line - text))) != NULL; line = end + 1) {
		*end = '\0';
		number++;
		r = read_line(pins, line) ? 0 : PINS_BAD;
	}
	if (r == 0 && line < text + length) {
		number++;
		r = mend_last(pins, text, (size_t)(line - text), length);
	}
	if (r == PINS_BAD)
		snprintf(problem, PINS_PROBLEM_BYTES, "line %u is not \"NAME %d-HEX-DIGITS\", comes twice, or is one too many",
		         number, HEX_BYTES);
	return r;
}

static int read_file(struct pins *pins, char problem[PINS_PROBLEM_BYTES])
{
	struct stat seen;
	if (fstat(pins->fd, &seen) != 0)
		return -errno;
	if (!S_ISREG(seen.st_mode) || seen.st_size > LIMIT_DEVICE_FILE_BYTES) {
		snprintf(problem, PINS_PROBLEM_BYTES, "it is no file, or too large");
		return PINS_BAD;
	}
	char *text = malloc((size_t)seen.st_size + 1);
	if (!text)
		return -ENOMEM;
	ssize_t n = pread(pins->fd, text, (size_t)seen.st_size, 0);
	int r = n < 0 ? -errno : read_text(pins, text, (size_t)n, problem);
	free(text);
	return r;
}

// ---- the thread that writes ----------------------------------------------------------------------------------------

static size_t format(const struct claim *claim, char line[LINE_BYTES])
{
	int at = snprintf(line, LINE_BYTES, "%s ", claim->name);
	for (unsigned i = 0; i < PIN_BYTES; i++)
		at += snprintf(line + at, LINE_BYTES - (size_t)at, "%02x", claim->key->pin[i]);
	line[at++] = '\n';
	return (size_t)at;
}

static int write_all(const struct pins *pins, const char *text, size_t length)
{
	off_t before = lseek(pins->fd, 0, SEEK_END);
	// Syscalls: lseek, write, fdatasync, ftruncate
	ssize_t n = write(pins->fd, text, length);
	int r = n < 0 ? -errno : (size_t)n < length ? -ENOSPC : 0;
	if (r == 0 && fdatasync(pins->fd) != 0)
		r = -errno;
	// Half a line must not become the beginning of the next.
	if (r < 0 && before >= 0 && ftruncate(pins->fd, before) != 0)
		return -errno;
	return r;
}

// With the lock held: the next of them as text, and their names.
static size_t take_batch(struct pins *pins, char *text, char names[BATCH][NAMING_BYTES], unsigned *count)
{
	size_t length = 0;
	for (*count = 0; *count < BATCH && pins->first; (*count)++) {
		struct claim *claim = pins->first;
		pins->first = claim->next;
		claim->next = NULL;
		memcpy(names[*count], claim->name, NAMING_BYTES);
		length += format(claim, text + length);
	}
	if (!pins->first)
		pins->end = &pins->first;
	return length;
}

// With the lock held.
static void settle(struct pins *pins, const char *name, int r)
{
	struct claim *claim = NULL;
	HASH_FIND_STR(pins->claims, name, claim);
	if (!claim)
		return;
	claim->pending = false;
	if (r < 0)
		forget(pins, claim);
}

static void *run(void *owner)
{
	struct pins *pins = owner;
	static _Thread_local char text[BATCH * LINE_BYTES], names[BATCH][NAMING_BYTES];
	unsigned count;
	pthread_mutex_lock(&pins->lock);
	for (;;) {
		while (!pins->stop && !pins->first)
			pthread_cond_wait(&pins->wake, &pins->lock);
		if (!pins->first)
			break;
		size_t length = take_batch(pins, text, names, &count);
		pthread_mutex_unlock(&pins->lock);
		int r = write_all(pins, text, length);
		pthread_mutex_lock(&pins->lock);
		for (unsigned i = 0; i < count; i++)
			settle(pins, names[i], r);
		pthread_mutex_unlock(&pins->lock);
		for (unsigned i = 0; i < count; i++)
			pins->settings.on_kept(pins->settings.owner, names[i], r);
		pthread_mutex_lock(&pins->lock);
	}
	pthread_mutex_unlock(&pins->lock);
	return NULL;
}

// ---- life ----------------------------------------------------------------------------------------------------------

int pins_open(const struct pins_settings *settings, struct pins **out, char problem[PINS_PROBLEM_BYTES])
{
	struct pins *pins = calloc(1, sizeof *pins);
	if (!pins)
		return -ENOMEM;
	pthread_mutex_init(&pins->lock, NULL);
	pthread_cond_init(&pins->wake, NULL);
	pins->settings = *settings;
	pins->end = &pins->first;
	// Syscalls: openat, pread64
	pins->fd = open(settings->path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	int r = pins->fd < 0 ? -errno : read_file(pins, problem);
	pins->settings.path = NULL;
	if (r == 0)
		r = -pthread_create(&pins->thread, NULL, run, pins);
	pins->runs = r == 0;
	if (r != 0) {
		pins_close(&pins);
		return r;
	}
	*out = pins;
	return 0;
}

void pins_set(struct pins *pins, uint32_t most_per_key)
{
	pthread_mutex_lock(&pins->lock);
	pins->settings.most_per_key = most_per_key;
	pthread_mutex_unlock(&pins->lock);
}

void pins_close(struct pins **slot)
{
	struct pins *pins = *slot;
	struct claim *claim, *next;
	*slot = NULL;
	if (!pins)
		return;
	if (pins->runs) {
		pthread_mutex_lock(&pins->lock);
		pins->stop = true;
		pthread_cond_signal(&pins->wake);
		pthread_mutex_unlock(&pins->lock);
		pthread_join(pins->thread, NULL);
	}
	HASH_ITER(hh, pins->claims, claim, next)
		forget(pins, claim);
	if (pins->fd >= 0)
		close(pins->fd);
	pthread_cond_destroy(&pins->wake);
	pthread_mutex_destroy(&pins->lock);
	free(pins);
}

// ---- claims --------------------------------------------------------------------------------------------------------

// With the lock held.
static int judge(struct pins *pins, const char *name, const uint8_t pin[PIN_BYTES])
{
	struct claim *there = NULL;
	struct key *key = key_of(pins, pin);
	HASH_FIND_STR(pins->claims, name, there);
	if (there && there->key != key)
		return PINS_OTHER;
	if (there)
		return there->pending ? PINS_PENDING : 0;
	if (HASH_COUNT(pins->claims) >= pins->settings.most)
		return PINS_FULL;
	// Hostile: one key must not use up the names of all.
	return key && key->count >= pins->settings.most_per_key ? PINS_KEY_FULL : PINS_FREE;
}

int pins_judge(struct pins *pins, const char *name, const uint8_t pin[PIN_BYTES])
{
	pthread_mutex_lock(&pins->lock);
	int r = judge(pins, name, pin);
	pthread_mutex_unlock(&pins->lock);
	return r;
}

int pins_claim(struct pins *pins, const char *name, const uint8_t pin[PIN_BYTES])
{
	pthread_mutex_lock(&pins->lock);
	int r = judge(pins, name, pin);
	struct claim *claim = r == PINS_FREE ? keep(pins, name, pin) : NULL;
	if (r == PINS_FREE)
		r = claim ? PINS_PENDING : -ENOMEM;
	if (claim) {
		claim->pending = true;
		*pins->end = claim;
		pins->end = &claim->next;
		pthread_cond_signal(&pins->wake);
	}
	pthread_mutex_unlock(&pins->lock);
	return r;
}

bool pins_keeps(struct pins *pins, const char *name)
{
	struct claim *claim = NULL;
	pthread_mutex_lock(&pins->lock);
	HASH_FIND_STR(pins->claims, name, claim);
	bool is_kept = claim && !claim->pending;
	pthread_mutex_unlock(&pins->lock);
	return is_kept;
}
