#include "cmd/guise.h"
#include "core/outcome.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct guise_word {
	const char *word, *command;
};

static const struct guise_word proxy_words[] = {
	{"check-environment", "check-environment"},
	{"--check-environment", "check-environment"},
	{"--version", "version"},
	{"--show-version", "version"},
	{"-V", "version"},
	{NULL, NULL},
};

// Its server and client speak QUIC; tcpserver and tcpclient are words of our vpn.
static const struct guise_word vpn_words[] = {{"server", "vpn-quic"}, {"client", "vpn-quic"}, {NULL, NULL}};
static const struct guise_word shadow_words[] = {
	{"--version", "version"},
	{NULL, NULL},
};

static const struct guise {
	const char *name;
	const char *config;  // its default configuration file
	const char *command; // what its words belong to; NULL: they are commands already
	bool is_built;
	const struct guise_word *words; // that are commands of ours instead, when they come first
} guises[] = {
	{"utun", "/etc/utun/config.toml", NULL, true, NULL},      {"rust-vpn", NULL, "vpn", true, vpn_words},
	{"quantum-safe-proxy", NULL, "proxy", true, proxy_words}, {"shadow-server", NULL, "hub", true, shadow_words},
	{"shadow-client", NULL, "agent", true, shadow_words},     {"ttun", NULL, "psk", true, NULL},
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

// program WORD ... becomes program COMMAND ... when the word says so.
static bool replace(const struct guise *guise, int argc, char **argv)
{
	for (const struct guise_word *word = guise->words; word && word->word && argc > 1; word++)
		if (strcmp(argv[1], word->word) == 0) {
			argv[1] = (char *)word->command;
			return true;
		}
	return false;
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
	if (!guise->command || replace(guise, *argc, *argv))
		return true;
	return insert(guise->command, argc, argv);
}
