#include "fleet/pins.h"

#include "fleet/naming.h"
#include "limits.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uthash.h>

#define HEX_BYTES (2 * PIN_BYTES)

struct claim {
	char name[NAMING_BYTES];
	uint8_t pin[PIN_BYTES];
	UT_hash_handle hh;
};

struct pins {
	pthread_mutex_t lock;
	struct claim *claims;
	size_t most;
	int fd;
};

static int keep(struct pins *pins, const char *name, const uint8_t pin[PIN_BYTES])
{
	struct claim *claim = calloc(1, sizeof *claim);
	if (!claim)
		return -ENOMEM;
	snprintf(claim->name, sizeof claim->name, "%s", name);
	memcpy(claim->pin, pin, PIN_BYTES);
	HASH_ADD_STR(pins->claims, name, claim);
	return 0;
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
	return !there && HASH_COUNT(pins->claims) < pins->most && keep(pins, line, pin) == 0;
}

// A last line without an end was being written when the machine went down: nobody has been told of it.
static int cut_torn(struct pins *pins, const char *text, size_t *length)
{
	while (*length > 0 && text[*length - 1] != '\n')
		(*length)--;
	return ftruncate(pins->fd, (off_t)*length) == 0 ? 0 : -errno;
}

static int read_text(struct pins *pins, char *text, size_t length, char problem[PINS_PROBLEM_BYTES])
{
	unsigned number = 0;
	char *end;
	int r = cut_torn(pins, text, &length);
	for (char *line = text; r == 0 && line < text + length; line = end + 1) {
		end = memchr(line, '\n', length - (size_t)(line - text));
		*end = '\0';
		number++;
		if (read_line(pins, line))
			continue;
		snprintf(problem, PINS_PROBLEM_BYTES, "line %u is not \"NAME %d-HEX-DIGITS\", comes twice, or is one too many",
		         number, HEX_BYTES);
		return PINS_BAD;
	}
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

int pins_open(const char *path, size_t most, struct pins **out, char problem[PINS_PROBLEM_BYTES])
{
	struct pins *pins = calloc(1, sizeof *pins);
	if (!pins)
		return -ENOMEM;
	pthread_mutex_init(&pins->lock, NULL);
	pins->most = most;
	// Syscalls: openat, pread64, ftruncate, write, fdatasync
	pins->fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	int r = pins->fd < 0 ? -errno : read_file(pins, problem);
	if (r != 0) {
		pins_close(&pins);
		return r;
	}
	*out = pins;
	return 0;
}

void pins_close(struct pins **slot)
{
	struct pins *pins = *slot;
	struct claim *claim, *next;
	*slot = NULL;
	if (!pins)
		return;
	HASH_ITER(hh, pins->claims, claim, next) {
		HASH_DEL(pins->claims, claim);
		free(claim);
	}
	if (pins->fd >= 0)
		close(pins->fd);
	pthread_mutex_destroy(&pins->lock);
	free(pins);
}

static int write_claim(const struct pins *pins, const char *name, const uint8_t pin[PIN_BYTES])
{
	char line[NAMING_BYTES + HEX_BYTES + 3];
	int at = snprintf(line, sizeof line, "%s ", name);
	off_t before = lseek(pins->fd, 0, SEEK_END);
	for (unsigned i = 0; i < PIN_BYTES; i++)
		at += snprintf(line + at, sizeof line - (size_t)at, "%02x", pin[i]);
	line[at++] = '\n';
	if (write(pins->fd, line, (size_t)at) == at && fdatasync(pins->fd) == 0)
		return 0;
	int r = errno ? -errno : -EIO;
	// Half a line must not become the beginning of the next.
	return before >= 0 && ftruncate(pins->fd, before) != 0 ? -errno : r;
}

int pins_claim(struct pins *pins, const char *name, const uint8_t pin[PIN_BYTES])
{
	struct claim *there = NULL;
	int r = 0;
	pthread_mutex_lock(&pins->lock);
	HASH_FIND_STR(pins->claims, name, there);
	if (there)
		r = memcmp(there->pin, pin, PIN_BYTES) == 0 ? 0 : PINS_OTHER;
	else if (HASH_COUNT(pins->claims) >= pins->most)
		r = PINS_FULL;
	else if ((r = write_claim(pins, name, pin)) == 0)
		r = keep(pins, name, pin);
	pthread_mutex_unlock(&pins->lock);
	return r;
}
