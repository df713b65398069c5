#include "core/log.h"

#include "core/clock.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

// A line of this length is written whole or not at all: below PIPE_BUF, and free where a socket is writable.
#define LINE_BYTES 1024
// A subject is a short word of ours; it ends here whatever it is.
#define SUBJECT_END 256

static const char *const names[] = {"error", "warn", "info", "debug", "trace"};

static _Atomic int level_now = LOG_INFO, format_now = LOG_FORMAT_PLAIN;
static _Atomic bool timestamps_now = true;
static _Atomic uint64_t lost;

const char *log_level_name(enum log_level level)
{
	return names[level];
}

int log_level_parse(const char *word, enum log_level *level)
{
	for (unsigned i = 0; i < COUNT_OF(names); i++) {
		if (strcmp(word, names[i]) == 0) {
			*level = (enum log_level)i;
			return 0;
		}
	}
	return 1;
}

void log_set(enum log_level level, enum log_format format, bool timestamps)
{
	atomic_store(&level_now, (int)level);
	atomic_store(&format_now, (int)format);
	atomic_store(&timestamps_now, timestamps);
}

bool log_is_on(enum log_level level)
{
	return (int)level <= atomic_load_explicit(&level_now, memory_order_relaxed);
}

uint64_t log_lost(void)
{
	return atomic_load(&lost);
}

// ---- lines ---------------------------------------------------------------------------------------------------------

struct line {
	char bytes[LINE_BYTES + 1];
	size_t length;
};

// For our own words, which always fit.
static void add(struct line *line, const char *text)
{
	size_t length = strlen(text);
	assert(length <= LINE_BYTES - line->length);
	memcpy(line->bytes + line->length, text, length);
	line->length += length;
}

// Up to `end` bytes of the line, with "..." in place of what does not fit.
// Hostile: peers' names and reasons end up here; nothing but printable ASCII reaches a terminal.
static void add_escaped(struct line *line, const char *text, size_t end, bool json)
{
	size_t cut = line->length; // where the dots still fit
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		const char *form = json && (c == '"' || c == '\\') ? "\\%c" : "%c";
		char shown[8];
		if (c < 0x20 || c > 0x7e)
			form = json ? "\\u%04x" : "\\x%02x";
		size_t length = (size_t)snprintf(shown, sizeof shown, form, c);
		if (line->length + length > end) {
			line->length = cut;
			add(line, "...");
			return;
		}
		memcpy(line->bytes + line->length, shown, length);
		line->length += length;
		if (line->length + 3 <= end)
			cut = line->length;
	}
}

static void now_text(char out[32])
{
	int64_t ms = clock_wall_ms();
	time_t seconds = (time_t)(ms / 1000);
	struct tm tm;
	char date[24];
	gmtime_r(&seconds, &tm);
	strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out, 32, "%s.%03dZ", date, (int)(ms % 1000));
}

static void put_plain(struct line *line, enum log_level level, const char *stamp, const char *subject,
                      const char *message)
{
	add(line, stamp);
	add(line, *stamp ? " " : "");
	add(line, names[level]);
	add(line, strlen(names[level]) == 4 ? "  " : " ");
	add_escaped(line, subject, SUBJECT_END, false);
	add(line, ": ");
	add_escaped(line, message, LINE_BYTES - 1, false);
	add(line, "\n");
}

static void put_json(struct line *line, enum log_level level, const char *stamp, const char *subject,
                     const char *message)
{
	add(line, *stamp ? "{\"time\":\"" : "{");
	add(line, stamp);
	add(line, *stamp ? "\",\"level\":\"" : "\"level\":\"");
	add(line, names[level]);
	add(line, "\",\"subject\":\"");
	add_escaped(line, subject, SUBJECT_END, true);
	add(line, "\",\"message\":\"");
	add_escaped(line, message, LINE_BYTES - 3, true);
	add(line, "\"}\n");
}

// A reader that stands still costs us lines, never time, and one that has gone no signal. Under a lock: the room that
// one thread has seen is not another's.
static void send_line(const struct line *line)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	struct pollfd fd = {.fd = STDERR_FILENO, .events = POLLOUT};
	ssize_t written = -1;
	pthread_mutex_lock(&lock);
	// Syscalls: poll, write
	if (poll(&fd, 1, 0) == 1 && fd.revents == POLLOUT)
		written = write(STDERR_FILENO, line->bytes, line->length);
	pthread_mutex_unlock(&lock);
	if (written != (ssize_t)line->length)
		atomic_fetch_add(&lost, 1);
}

void log_write(enum log_level level, const char *subject, const char *format, ...)
{
	if (!log_is_on(level))
		return;
	int before = errno;
	char message[LINE_BYTES + 1], stamp[32] = "";
	struct line line;
	line.length = 0;
	va_list arguments;
	va_start(arguments, format);
	if (vsnprintf(message, sizeof message, format, arguments) < 0)
		snprintf(message, sizeof message, "%s", format);
	va_end(arguments);
	if (atomic_load(&timestamps_now))
		now_text(stamp);
	if (atomic_load(&format_now) == LOG_FORMAT_JSON)
		put_json(&line, level, stamp, subject, message);
	else
		put_plain(&line, level, stamp, subject, message);
	send_line(&line);
	errno = before;
}
