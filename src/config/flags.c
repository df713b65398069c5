#include "config/flags.h"
#include "config/text.h"
#include "config/value.h"

#include <stdlib.h>
#include <string.h>

#define FLAG_BYTES 64

struct argument {
	char flag[FLAG_BYTES];    // without the "=VALUE"
	const char *inline_value; // after '=', NULL: none
};

static bool split(const char *text, struct argument *argument)
{
	size_t length = strcspn(text, "=");
	if (length >= sizeof argument->flag)
		return false;
	memcpy(argument->flag, text, length);
	argument->flag[length] = '\0';
	argument->inline_value = text[length] == '=' ? text + length + 1 : NULL;
	return true;
}

static bool is_config(const char *flag)
{
	return strcmp(flag, "-c") == 0 || strcmp(flag, "--config") == 0 || strcmp(flag, "--config-file") == 0;
}

static void refuse_unknown(enum config_command command, const char *flag, struct problem_list *problems)
{
	struct tree_place place = {.name = flag};
	enum config_command other;
	if (schema_find_other(flag, command, &other)) {
		problem_add(problems, place, "", "this flag belongs to \"%s\", not to \"%s\"", schema_command_name(other),
		            schema_command_name(command));
		return;
	}
	struct text_nearest nearest;
	text_nearest_init(&nearest, flag);
	text_nearest_try(&nearest, "--config");
	text_nearest_try(&nearest, "--help");
	if (command == CONFIG_PROXY)
		text_nearest_try(&nearest, "--from-env");
	for (size_t i = 0; i < schema.count; i++)
		if (schema.keys[i].flag && (schema.keys[i].commands & schema_command_bit(command)))
			text_nearest_try(&nearest, schema.keys[i].flag);
	problem_add(problems, place, "", "unknown flag%s%s%s", nearest.best ? " (did you mean " : "",
	            nearest.best ? nearest.best : "", nearest.best ? "?)" : "");
}

static bool may_repeat(const struct schema_key *key)
{
	return key->type == SCHEMA_CIDRS || key->type == SCHEMA_TEXTS || key->type == SCHEMA_TABLES;
}

static void add_word(struct flags *flags, const struct schema_key *key, const char *text, struct problem_list *problems)
{
	for (size_t i = 0; i < flags->count && !may_repeat(key); i++)
		if (flags->words[i].key == key) {
			problem_add(problems, (struct tree_place){.name = key->flag}, key->path, "given twice");
			return;
		}
	flags->words = text_grow(flags->words, flags->count, sizeof *flags->words);
	flags->words[flags->count++] = (struct flag_word){key, text};
}

// The value of argv[*at], which may be the next argument; NULL, and a problem, when there is none.
static const char *take_value(const struct argument *argument, int argc, char *const *argv, int *at,
                              struct problem_list *problems)
{
	if (argument->inline_value)
		return argument->inline_value;
	if (*at + 1 < argc && strncmp(argv[*at + 1], "--", 2) != 0)
		return argv[++*at];
	problem_add(problems, (struct tree_place){.name = argument->flag}, "", "needs a value");
	return NULL;
}

// What a flag means that stands alone: at the end, or before another one. NULL: it does not.
static const char *meaning_alone(const struct schema_key *key, const struct argument *argument, int argc,
                                 char *const *argv, int at)
{
	bool is_alone = !argument->inline_value && (at + 1 >= argc || argv[at + 1][0] == '-');
	return key && is_alone ? key->flag_alone : NULL;
}

static bool take_from_environment(enum config_command command, const struct argument *argument,
                                  struct problem_list *problems, struct flags *flags)
{
	if (command != CONFIG_PROXY || strcmp(argument->flag, "--from-env") != 0)
		return false;
	const char *text = argument->inline_value;
	flags->from_environment = !text || strcmp(text, "true") == 0;
	if (text && !flags->from_environment && strcmp(text, "false") != 0)
		problem_add(problems, (struct tree_place){.name = argument->flag}, "", "must be true or false, not \"%s\"",
		            text);
	return true;
}

static void read_one(enum config_command command, int argc, char *const *argv, int *at, struct problem_list *problems,
                     struct flags *flags)
{
	struct argument argument;
	struct tree_place place = {.name = argv[*at]};
	if (argv[*at][0] != '-' || !split(argv[*at], &argument)) {
		problem_add(problems, place, "", "unexpected argument; values belong to flags, see --help");
		return;
	}
	if (strcmp(argument.flag, "-h") == 0 || strcmp(argument.flag, "--help") == 0) {
		flags->wants_help = true;
		return;
	}
	if (take_from_environment(command, &argument, problems, flags))
		return;
	const struct schema_key *key = schema_find_flag(argument.flag, command);
	if (!key && !is_config(argument.flag)) {
		refuse_unknown(command, argument.flag, problems);
		// Every flag takes a value, so what follows is most likely its own.
		if (!argument.inline_value && *at + 1 < argc && argv[*at + 1][0] != '-')
			++*at;
		return;
	}
	const char *text = meaning_alone(key, &argument, argc, argv, *at);
	if (!text)
		text = take_value(&argument, argc, argv, at, problems);
	if (!text)
		return;
	if (key)
		add_word(flags, key, text, problems);
	else if (flags->config_path)
		problem_add(problems, (struct tree_place){.name = "--config"}, "", "given twice");
	else
		flags->config_path = text;
}

void flags_read(enum config_command command, int argc, char *const *argv, struct problem_list *problems,
                struct flags *flags)
{
	*flags = (struct flags){0};
	for (int at = 0; at < argc; at++)
		read_one(command, argc, argv, &at, problems, flags);
}

void flags_fini(struct flags *flags)
{
	free(flags->words);
	*flags = (struct flags){0};
}

int flags_count_global(int argc, char *const *argv)
{
	int at = 0;
	while (at < argc) {
		struct argument argument;
		if (!split(argv[at], &argument))
			return at;
		bool is_global = is_config(argument.flag) || strcmp(argument.flag, "--log-level") == 0 ||
		                 strcmp(argument.flag, "--log-format") == 0;
		if (!is_global)
			return at;
		at += argument.inline_value ? 1 : 2;
	}
	return at > argc ? argc : at;
}

static bool apply_global(const struct argument *argument, const char *text, const char *command, struct config *config,
                         struct problem_list *problems)
{
	const struct schema_key *key = schema_find_flag(argument->flag, CONFIG_SOURCE);
	struct tree_place place = {.name = argument->flag};
	struct value value;
	if (!key || !text) {
		problem_add(problems, place, "", text ? "\"%s\" reads no configuration" : "needs a value", command);
		return false;
	}
	struct tree_node *node = tree_word(NULL, text, strlen(text), place);
	bool is_good = value_read(key, node, key->path, problems, &value);
	if (is_good)
		value_store(key, &value, config);
	value_fini(key, &value);
	tree_free(&node);
	return is_good;
}

bool flags_apply_global(int count, char *const *argv, const char *command, FILE *errors)
{
	struct config config = {.logging = {.level = LOG_INFO, .format = LOG_FORMAT_PLAIN}};
	struct problem_list problems = {0};
	for (int at = 0; at < count; at++) {
		struct argument argument = {0};
		if (!split(argv[at], &argument))
			break;
		const char *text = argument.inline_value ? argument.inline_value : at + 1 < count ? argv[++at] : NULL;
		if (!apply_global(&argument, text, command, &config, &problems))
			break;
	}
	bool is_good = problems.count == 0;
	problem_print(&problems, "", errors);
	problem_list_fini(&problems);
	if (is_good && count > 0)
		log_set(config.logging.level, config.logging.format, true);
	return is_good;
}
