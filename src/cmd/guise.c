#include "cmd/guise.h"
#include "core/outcome.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct guise {
	const char *name;
	const char *config;  // its default configuration file
	const char *command; // what its words belong to; NULL: they are commands already
	bool is_built;
} guises[] = {
	{"utun", "/etc/utun/config.toml", NULL, true}, {"rust-vpn", NULL, NULL, false},
	{"quantum-safe-proxy", NULL, NULL, false},     {"shadow-server", NULL, NULL, false},
	{"shadow-client", NULL, NULL, false},          {"ttun", NULL, "psk", true},
};

static const struct guise *find(const char *program)
{
	const char *slash = strrchr(program, '/');
	const char *name = slash ? slash + 1 : program;
	for (size_t i = 0; i < COUNT_OF(guises); i++)
		if (strcmp(guises[i].name, name) == 0)
			return &guises[i];
	return NULL;
}

// program WORDS becomes program COMMAND WORDS.
static bool insert(const char *command, int *argc, char ***argv)
{
	static char **words __attribute__((used)); // needed to the end, also when nothing seems to read it
	words = calloc((size_t)*argc + 2, sizeof *words);
	if (!words)
		return false;
	words[0] = (*argv)[0];
	words[1] = (char *)command;
	memcpy(words + 2, *argv + 1, (size_t)*argc * sizeof *words); // with the NULL at the end
	*argv = words;
	(*argc)++;
	return true;
}

bool guise_take(int *argc, char ***argv)
{
	const struct guise *guise = find((*argv)[0]);
	if (!guise)
		return true;
	if (!guise->is_built) {
		fprintf(stderr, "qanat: the command line of \"%s\" is not built yet; see `qanat help`\n", guise->name);
		return false;
	}
	if (guise->config && setenv("QANAT_CONFIG", guise->config, 0) != 0)
		return false;
	return !guise->command || insert(guise->command, argc, argv);
}
