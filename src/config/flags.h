// The command line after the command word. Flags take a value, "--flag VALUE" or "--flag=VALUE", but for --from-env and
// those whose key says what they mean alone.

#pragma once

#include "config/problem.h"
#include "config/schema.h"

struct flag_word {
	const struct schema_key *key;
	const char *text; // lent from argv
};

// The null value is an empty command line.
struct flags {
	const char *config_path; // -c, --config; lent from argv, NULL when not given
	bool wants_help;
	bool from_environment; // --from-env: the environment names of the seed of `proxy` are read as well
	struct flag_word *words;
	size_t count;
};

// Problems are added for whatever is not understood; the rest is still read.
void flags_read(enum config_command command, int argc, char *const *argv, struct problem_list *problems,
                struct flags *flags);
void flags_fini(struct flags *flags);

// How many of the arguments are global options that may stand before the command word: -c, --config, --log-level and
// --log-format with their values. Stops at the first other one.
int flags_count_global(int argc, char *const *argv);
// For commands without a configuration: sets the log as these `count` global options say. False when there is one that
// cannot be followed, which has been printed to `errors`.
bool flags_apply_global(int count, char *const *argv, const char *command, FILE *errors);
