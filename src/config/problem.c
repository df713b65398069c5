#include "config/problem.h"
#include "config/text.h"

#include <stdarg.h>
#include <stdlib.h>

// A person reads the first screen; a file of garbage does not fill the disk.
#define PROBLEMS_MAX 200
#define MESSAGE_MAX_BYTES 600
#define PATH_MAX_BYTES 200

void problem_add(struct problem_list *list, struct tree_place place, const char *path, const char *format, ...)
{
	if (list->count == PROBLEMS_MAX)
		return;
	char *message = NULL;
	va_list arguments;
	va_start(arguments, format);
	int length = vasprintf(&message, format, arguments);
	va_end(arguments);
	if (length < 0)
		message = text_copy("(no memory for the message)");
	text_clean(message);
	text_cut(message, MESSAGE_MAX_BYTES);
	list->problems = text_grow(list->problems, list->count, sizeof *list->problems);
	struct problem *problem = &list->problems[list->count++];
	*problem = (struct problem){
		.name = text_copy(place.name ? place.name : ""),
		.line = place.line,
		.column = place.column,
		.path = text_copy(path),
		.message = message,
	};
	text_clean(problem->name);
	text_clean(problem->path);
	text_cut(problem->path, PATH_MAX_BYTES);
}

static bool is_before(const struct problem *a, const struct problem *b)
{
	if (a->line == 0 || b->line == 0)
		return a->line != 0 && b->line == 0;
	return a->line != b->line ? a->line < b->line : a->column < b->column;
}

// Insertion keeps equals in order; there are few.
void problem_sort(struct problem_list *list)
{
	for (size_t i = 1; i < list->count; i++) {
		struct problem moving = list->problems[i];
		size_t to = i;
		for (; to > 0 && is_before(&moving, &list->problems[to - 1]); to--)
			list->problems[to] = list->problems[to - 1];
		list->problems[to] = moving;
	}
}

char *problem_text(const struct problem *problem)
{
	const char *between = problem->path[0] ? ": " : "";
	if (problem->line > 0)
		return text_format("%s:%u:%u: %s%s%s", problem->name, problem->line, problem->column, problem->path, between,
		                   problem->message);
	return text_format("%s%s%s%s%s", problem->name, problem->name[0] ? ": " : "", problem->path, between,
	                   problem->message);
}

void problem_print(const struct problem_list *list, const char *prefix, FILE *out)
{
	for (size_t i = 0; i < list->count; i++) {
		char *text = problem_text(&list->problems[i]);
		fprintf(out, "%s%s\n", prefix, text);
		free(text);
	}
	if (list->count == PROBLEMS_MAX)
		fprintf(out, "%sonly the first %d problems are listed\n", prefix, PROBLEMS_MAX);
}

void problem_list_fini(struct problem_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		free(list->problems[i].name);
		free(list->problems[i].path);
		free(list->problems[i].message);
	}
	free(list->problems);
	*list = (struct problem_list){0};
}
