// One line per event that a person may have to act on, to standard error, plain or JSON. The data path counts
// (core/counter.h) instead of logging. Never pass key bytes, payload or whole certificates.
//
// Plain: 2026-11-21T10:11:12.123Z info  source: link a1b2c3d4 is up ...
// JSON:  {"time":"...","level":"info","subject":"source","message":"..."}
// Every byte that is not printable ASCII is escaped (\xNN in plain, \u00NN in JSON), so a peer's text cannot reach
// the terminal. Thread-safe: one write(2) a line. A full or closed standard error loses lines (counted) and never
// blocks the caller: a line that does not fit at once is dropped.

#pragma once

#include "core/outcome.h"

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_TRACE };
enum log_format { LOG_FORMAT_PLAIN, LOG_FORMAT_JSON };

// "error", "warn", "info", "debug", "trace". log_level_parse: 0, or 1 when the word is none of them.
const char *log_level_name(enum log_level level);
MUST_USE int log_level_parse(const char *word, enum log_level *level);

// Both may be called at any time from any thread (reload). Defaults: info, plain, timestamps on.
void log_set(enum log_level level, enum log_format format, bool timestamps);
bool log_is_on(enum log_level level);

// Lines lost because standard error did not take them.
uint64_t log_lost(void);

// Cuts the line at 1024 bytes (the message then ends in "..."). Leaves errno alone.
void log_write(enum log_level level, const char *subject, const char *format, ...) PRINTF_LIKE(3, 4);

#define log_error(subject, ...) log_write(LOG_ERROR, subject, __VA_ARGS__)
#define log_warn(subject, ...) log_write(LOG_WARN, subject, __VA_ARGS__)
#define log_info(subject, ...) log_write(LOG_INFO, subject, __VA_ARGS__)
#define log_debug(subject, ...)                         \
	do {                                                \
		if (log_is_on(LOG_DEBUG))                       \
			log_write(LOG_DEBUG, subject, __VA_ARGS__); \
	} while (0)
