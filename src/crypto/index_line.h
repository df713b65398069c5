// One line of a CA's index, as a struct and back. The form is in crypto/index.h.

#pragma once

#include "crypto/index.h"
#include "limits.h"

// A remark is also an empty line, and a torn one.
enum index_line_event {
	INDEX_LINE_REMARK,
	INDEX_LINE_ISSUED,
	INDEX_LINE_WITHDRAWN,
	INDEX_LINE_REVOKED,
	INDEX_LINE_LIST,
};

struct index_line {
	enum index_line_event event;
	int64_t at;
	char authority[INDEX_AUTHORITY_BYTES];
	struct index_entry entry; // what the event says of it
	uint64_t number;          // of the list, with what follows
	int64_t next_update;
	size_t revoked_count;
};

// With its '\n'. All texts are printable ASCII without tabs.
void index_line_encode(const struct index_line *line, char text[LIMIT_INDEX_LINE_BYTES]);
// Without the '\n'. 1: not understood.
MUST_USE int index_line_decode(const char *text, struct index_line *line);
