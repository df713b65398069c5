#include "ops/audit.h"

#include "core/counter.h"
#include "core/log.h"
#include "limits.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct audit {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	char *path;
	int fd;
	char *lines[LIMIT_AUDIT_LINES]; // a ring
	unsigned first, count;
	bool reopen, stop;
};

static int open_file(const char *path)
{
	// Syscalls: openat, write, close
	return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
}

static void open_again(struct audit *audit)
{
	int fd = open_file(audit->path);
	if (fd < 0) {
		log_error("audit", "%s cannot be opened again, the old file goes on: %s", audit->path, outcome_text(-errno));
		return;
	}
	close(audit->fd);
	audit->fd = fd;
}

static void put(struct audit *audit, const char *line)
{
	size_t length = strlen(line), at = 0;
	while (at < length) {
		ssize_t n = write(audit->fd, line + at, length - at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		at += (size_t)n;
	}
	counter_add(at == length ? COUNTER_AUDIT_WRITTEN : COUNTER_AUDIT_DROPPED, 1);
}

static void *run(void *owner)
{
	struct audit *audit = owner;
	pthread_mutex_lock(&audit->lock);
	for (;;) {
		while (!audit->stop && !audit->reopen && audit->count == 0)
			pthread_cond_wait(&audit->wake, &audit->lock);
		bool reopen = audit->reopen;
		audit->reopen = false;
		if (!reopen && audit->count == 0)
			break;
		char *line = NULL;
		if (audit->count > 0) {
			line = audit->lines[audit->first];
			audit->first = (audit->first + 1) % LIMIT_AUDIT_LINES;
			audit->count--;
		}
		pthread_mutex_unlock(&audit->lock);
		if (reopen)
			open_again(audit);
		if (line)
			put(audit, line);
		free(line);
		pthread_mutex_lock(&audit->lock);
	}
	pthread_mutex_unlock(&audit->lock);
	return NULL;
}

int audit_open(const char *path, struct audit **out)
{
	struct audit *audit = calloc(1, sizeof *audit);
	if (!audit)
		return -ENOMEM;
	audit->path = strdup(path);
	audit->fd = audit->path ? open_file(path) : -1;
	int r = !audit->path ? -ENOMEM : audit->fd < 0 ? -errno : 0;
	pthread_mutex_init(&audit->lock, NULL);
	pthread_cond_init(&audit->wake, NULL);
	if (r == 0)
		r = -pthread_create(&audit->thread, NULL, run, audit);
	if (r < 0) {
		if (audit->fd >= 0)
			close(audit->fd);
		free(audit->path);
		free(audit);
		return r;
	}
	*out = audit;
	return 0;
}

void audit_write(struct audit *audit, const char *line)
{
	if (!audit)
		return;
	size_t length = strlen(line);
	char *copy = length + 1 < LIMIT_AUDIT_LINE_BYTES ? malloc(length + 2) : NULL;
	if (copy) {
		memcpy(copy, line, length);
		memcpy(copy + length, "\n", 2);
	}
	pthread_mutex_lock(&audit->lock);
	bool fits = copy && audit->count < LIMIT_AUDIT_LINES && !audit->stop;
	if (fits) {
		audit->lines[(audit->first + audit->count++) % LIMIT_AUDIT_LINES] = copy;
		pthread_cond_signal(&audit->wake);
	}
	pthread_mutex_unlock(&audit->lock);
	if (fits)
		return;
	free(copy);
	counter_add(COUNTER_AUDIT_DROPPED, 1);
}

void audit_reopen(struct audit *audit)
{
	if (!audit)
		return;
	pthread_mutex_lock(&audit->lock);
	audit->reopen = true;
	pthread_cond_signal(&audit->wake);
	pthread_mutex_unlock(&audit->lock);
}

void audit_close(struct audit **slot)
{
	struct audit *audit = *slot;
	*slot = NULL;
	if (!audit)
		return;
	pthread_mutex_lock(&audit->lock);
	audit->stop = true;
	pthread_cond_signal(&audit->wake);
	pthread_mutex_unlock(&audit->lock);
	pthread_join(audit->thread, NULL);
	pthread_mutex_destroy(&audit->lock);
	pthread_cond_destroy(&audit->wake);
	close(audit->fd);
	free(audit->path);
	free(audit);
}
