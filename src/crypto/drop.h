// A folder in which nodes lay down requests for renewals and the CA lays down its answers: NAME.csr, NAME.crt,
// NAME.refused. Whoever may write in it is a stranger to the other side: files are opened without following links and
// without waiting, must be regular and small, and appear by rename, whole.

#pragma once

#include "core/outcome.h"
#include "limits.h"

#include <stdbool.h>
#include <stddef.h>

#define DROP_PROBLEM_BYTES 512
enum { DROP_REFUSED = 1, DROP_ABSENT = 2, DROP_MORE = 3 };

// 1 to LIMIT_DROP_NAME_BYTES letters, digits, '.', '-', '_'; the first one is a letter or a digit.
bool drop_is_name(const char *name);

struct drop;
// Refused: no folder, a symbolic link, one that every user of the machine may write in.
MUST_USE int drop_open(const char *path, struct drop **drop, char problem[DROP_PROBLEM_BYTES]);
void drop_close(struct drop **drop); // harmless on NULL

struct drop_text {
	char bytes[LIMIT_RENEWAL_BYTES + 1]; // a NUL behind them
	size_t length;
};
// NAME and ending (".csr"). DROP_ABSENT: there is none. Refused: not regular, too large, not readable.
MUST_USE int drop_read(const struct drop *drop, const char *name, const char *ending, struct drop_text *text,
                       char problem[DROP_PROBLEM_BYTES]);
// Mode 0644. Replaces a file or a link of that name, whatever it is, but no folder.
struct drop_content {
	const char *bytes;
	size_t length;
};
MUST_USE int drop_write(const struct drop *drop, const char *name, const char *ending, struct drop_content content,
                        char problem[DROP_PROBLEM_BYTES]);
// DROP_ABSENT: there was none.
MUST_USE int drop_remove(const struct drop *drop, const char *name, const char *ending,
                         char problem[DROP_PROBLEM_BYTES]);
// Calls `visit` for the name of each file with that ending until `most` of them have counted (it says which), or
// LIMIT_DROP_LOOKS names were looked at; names that are none are skipped. DROP_MORE: the end was not reached, and the
// next call goes on from there. After the end, and after a failure, it begins anew.
MUST_USE int drop_visit(struct drop *drop, const char *ending, size_t most,
                        bool (*visit)(void *owner, const char *name), void *owner);
