#include "core/log.h"

#include "core/clock.h"

#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE_BYTES 1024
// Every byte of a message may become six (\u00NN).
#define LINE_BYTES (MESSAGE_BYTES * 6 + 256)

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

struct line {
	char bytes[LINE_BYTES];
	size_t length;
};

static void add(struct line *line, const char *text)
{
	size_t length = strlen(text);
	if (length > LINE_BYTES - 1 - line->length)
		length = LINE_BYTES - 1 - line->length;
	memcpy(line->bytes + line->length, text, length);
	line->length += length;
}

// Hostile: peers' names and reasons end up here; nothing but printable ASCII reaches a terminal.
static void add_escaped(struct line *line, const char *text, bool json)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		char escaped[8];
		if (c < 0x20 || c > 0x7e)
			snprintf(escaped, sizeof escaped, json ? "\\u%04x" : "\\x%02x", c);
		else if (json && (c == '"' || c == '\\'))
			snprintf(escaped, sizeof escaped, "\\%c", c);
		else
			snprintf(escaped, sizeof escaped, "%c", c);
		add(line, escaped);
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

static void put(const struct line *line)
{
	struct pollfd fd = {.fd = STDERR_FILENO, .events = POLLOUT};
	// A reader that stands still costs us lines, never time.
	if (poll(&fd, 1, 0) != 1 || !(fd.revents & POLLOUT) ||
	    write(STDERR_FILENO, line->bytes, line->length) != (ssize_t)line->length)
		atomic_fetch_add(&lost, 1);
}

void log_write(enum log_level level, const char *subject, const char *format, ...)
{
	if (!log_is_on(level))
		return;
	char message[MESSAGE_BYTES + 4], time_text[32];
	va_list arguments;
	va_start(arguments, format);
	int length = vsnprintf(message, MESSAGE_BYTES + 1, format, arguments);
	va_end(arguments);
	if (length > MESSAGE_BYTES)
		memcpy(message + MESSAGE_BYTES - 3, "...", 4);
	struct line line = {.length = 0};
	bool stamped = atomic_load(&timestamps_now), json = atomic_load(&format_now) == LOG_FORMAT_JSON;
	now_text(time_text);
	if (json) {
		add(&line, "{");
		if (stamped) {
			add(&line, "\"time\":\"");
			add(&line, time_text);
			add(&line, "\",");
		}
		add(&line, "\"level\":\"");
		add(&line, names[level]);
		add(&line, "\",\"subject\":\"");
		add_escaped(&line, subject, true);
		add(&line, "\",\"message\":\"");
		add_escaped(&line, message, true);
		add(&line, "\"}");
	} else {
		if (stamped) {
			add(&line, time_text);
			add(&line, " ");
		}
		add(&line, names[level]);
		add(&line, strlen(names[level]) == 4 ? "  " : " ");
		add(&line, subject);
		add(&line, ": ");
		add_escaped(&line, message, false);
	}
	line.bytes[line.length++] = '\n';
	put(&line);
}
