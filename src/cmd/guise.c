#include "cmd/guise.h"
#include "core/outcome.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct guise {
	const char *name;
	const char *config; // its default configuration file; NULL: not built yet
} guises[] = {
	{"utun", "/etc/utun/config.toml"}, {"rust-vpn", NULL},      {"quantum-safe-proxy", NULL},
	{"shadow-server", NULL},           {"shadow-client", NULL}, {"ttun", NULL},
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

bool guise_take(const char *program)
{
	const struct guise *guise = find(program);
	if (!guise)
		return true;
	// The commands and most of the words are ours already; what differs is where the configuration lies.
	if (guise->config)
		return setenv("QANAT_CONFIG", guise->config, 0) == 0;
	fprintf(stderr, "qanat: the command line of \"%s\" is not built yet; see `qanat help`\n", guise->name);
	return false;
}
