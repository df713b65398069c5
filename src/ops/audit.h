// The audit log: a file of lines that were handed over from any thread and are written by a thread of its own, so that
// a slow disk holds nobody up. What does not fit the room for waiting lines is dropped and counted.

#pragma once

#include "core/outcome.h"

struct audit;

// The file is made with mode 0640 and appended to. Negative: it cannot be opened.
MUST_USE int audit_open(const char *path, struct audit **audit);
// Adds the end of the line. Longer than LIMIT_AUDIT_LINE_BYTES - 1: dropped. Harmless on NULL.
void audit_write(struct audit *audit, const char *line);
// Opens the file anew (it may have been moved away) before the next line. Harmless on NULL.
void audit_reopen(struct audit *audit);
// Writes what waits. Harmless on NULL.
void audit_close(struct audit **audit);
