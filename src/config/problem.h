// All problems of a configuration, listed at once in the order in which a reader meets them.

#pragma once

#include "config/tree.h"
#include "core/outcome.h"

#include <stdio.h>

struct problem {
	char *name; // of the place: file, flag, environment; "" when it is nowhere
	unsigned line, column;
	char *path; // "source.listen_port", "" when it is about no key
	char *message;
};

// The null value is an empty list.
struct problem_list {
	struct problem *problems;
	size_t count;
};

void problem_add(struct problem_list *list, struct tree_place place, const char *path, const char *format, ...)
	PRINTF_LIKE(4, 5);
// By place in the file; those without a line keep their order and come last.
void problem_sort(struct problem_list *list);
// "FILE:LINE:COLUMN: source.listen_prot: unknown key", without what is not known. The caller owns it.
char *problem_text(const struct problem *problem);
// One per line. `prefix` may be "".
void problem_print(const struct problem_list *list, const char *prefix, FILE *out);
void problem_list_fini(struct problem_list *list);
