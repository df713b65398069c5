#include "config/reload.h"

#include "config/load.h"
#include "config/text.h"
#include "config/value.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void add_name(struct config_names *list, char *name)
{
	char **longer = text_calloc(list->count + 1, sizeof *longer);
	if (list->count > 0)
		memcpy(longer, list->names, list->count * sizeof *longer);
	free(list->names);
	list->names = longer;
	list->names[list->count++] = name;
}

static void names_fini(struct config_names *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->names[i]);
	free(list->names);
	*list = (struct config_names){0};
}

static bool is_same(const struct schema_key *key, const struct config *a, const struct config *b)
{
	// Its owner has wiped the running one, and compares what it made of it.
	if (key->is_secret)
		return true;
	char *text_a = value_as_text(key, a), *text_b = value_as_text(key, b);
	bool same = strcmp(text_a, text_b) == 0;
	free(text_a);
	free(text_b);
	return same;
}

static void compare(enum config_command command, const struct config *running, struct config_reload *reload)
{
	for (size_t i = 0; i < schema.count; i++) {
		const struct schema_key *key = &schema.keys[i];
		if (key->size == 0 || !(key->commands & schema_command_bit(command)) || is_same(key, running, reload->next))
			continue;
		add_name(key->reloads ? &reload->changed : &reload->needs_restart, text_copy(key->path));
		if (!key->reloads)
			value_copy(key, running, reload->next);
	}
}

int config_reload(enum config_command command, int argc, char **argv, const struct config *running,
                  struct config_reload *reload)
{
	struct load_input input = {.command = command, .argc = argc, .argv = argv, .environment = environ};
	struct load load;
	*reload = (struct config_reload){0};
	int r = load_run(&input, &load);
	for (size_t i = 0; i < load.problems.count; i++)
		add_name(&reload->problems, problem_text(&load.problems.problems[i]));
	if (r == 0) {
		reload->next = load.config;
		load.config = NULL;
		compare(command, running, reload);
	}
	load_fini(&load);
	return r;
}

void config_reload_add_problem(struct config_reload *reload, const char *problem)
{
	add_name(&reload->problems, text_copy(problem));
}

void config_reload_fini(struct config_reload *reload)
{
	if (reload->next)
		config_free(&reload->next);
	names_fini(&reload->problems);
	names_fini(&reload->changed);
	names_fini(&reload->needs_restart);
}
