#include "config/config.h"
#include "config/help.h"
#include "config/load.h"
#include "config/value.h"

#include <stdlib.h>
#include <unistd.h>

int config_load(enum config_command command, int argc, char **argv, FILE *out, FILE *errors, struct config **config)
{
	struct load_input input = {.command = command, .argc = argc, .argv = argv, .environment = environ};
	struct load load;
	int result = load_run(&input, &load);
	if (result == CONFIG_HELP)
		help_print(command, out);
	if (result == CONFIG_BAD) {
		problem_print(&load.problems, "", errors);
		problem_print(&load.notes, "note: ", errors);
	}
	if (result == 0) {
		*config = load.config;
		load.config = NULL;
	}
	load_fini(&load);
	return result;
}

void config_free(struct config **config)
{
	if (!*config)
		return;
	for (size_t i = 0; i < schema.count; i++)
		value_clear(&schema.keys[i], *config);
	for (size_t i = 0; i < (*config)->note_count; i++)
		free((*config)->notes[i]);
	free((*config)->notes);
	free((*config)->path);
	free(*config);
	*config = NULL;
}

void config_log_notes(const struct config *config)
{
	for (size_t i = 0; i < config->note_count; i++)
		log_warn("config", "%s", config->notes[i]);
}
