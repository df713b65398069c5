#include "config/load.h"
#include "config/flags.h"
#include "config/json.h"
#include "config/text.h"
#include "config/toml.h"
#include "config/validate.h"
#include "config/value.h"

#define SEED_PREFIX "QUANTUM_SAFE_PROXY_"
#define SEED_CONFIG_FILE SEED_PREFIX "CONFIG_FILE"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool is_for(const struct load *load, unsigned commands)
{
	return (commands & schema_command_bit(load->command)) != 0;
}

const struct load_setting *load_setting(const struct load *load, const char *path)
{
	return &load->settings[schema_index(schema_find(path, load->command))];
}

bool load_is_given(const struct load *load, const char *path)
{
	return load_setting(load, path)->origin != LOAD_DEFAULT;
}

static const char *alias_of(const struct schema_key *key, const char *path)
{
	for (size_t i = 0; i < COUNT_OF(key->aliases) && key->aliases[i]; i++)
		if (strcmp(key->aliases[i], path) == 0)
			return key->aliases[i];
	return key->path;
}

// Reads node for key; when it is good and meant for this command, it replaces what was there.
static void take(struct load *load, const struct schema_key *key, const struct tree_node *node, const char *path,
                 enum load_origin origin)
{
	struct load_setting *setting = &load->settings[schema_index(key)];
	struct value value;
	bool is_good = value_read(key, node, path, &load->problems, &value);
	if (is_for(load, schema_commands_of(key, path))) {
		// A bad value counts as given, so that it is not called missing as well; what was there before stays.
		setting->origin = origin;
		setting->place = node->place;
		setting->path = alias_of(key, path);
		setting->is_bad = setting->is_bad || !is_good;
	}
	if (is_good && is_for(load, schema_commands_of(key, path))) {
		free(setting->item_places);
		setting->item_places = value.places;
		value.places = NULL;
		value_store(key, &value, load->config);
	}
	value_fini(key, &value);
}

// ---- the file

static const char *last_part(const char *path)
{
	const char *dot = strrchr(path, '.');
	return dot ? dot + 1 : path;
}

static void refuse_unknown(struct load *load, const struct tree_node *node, const char *path)
{
	const char *name = last_part(path);
	size_t parent = (size_t)(name - path);
	struct text_nearest nearest;
	text_nearest_init(&nearest, name);
	const char *elsewhere = NULL;
	for (size_t i = 0; i < schema.count; i++) {
		const struct schema_key *key = &schema.keys[i];
		const char *known = last_part(key->path);
		if (parent > 0 && strncmp(key->path, path, parent) == 0 && known == key->path + parent)
			text_nearest_try(&nearest, known);
		if (strcmp(known, name) == 0 && key->state == SCHEMA_BUILT)
			elsewhere = key->path;
		for (size_t k = 0; parent == 0 && k < COUNT_OF(key->aliases) && key->aliases[k]; k++)
			if (!strchr(key->aliases[k], '.') && key->state == SCHEMA_BUILT)
				text_nearest_try(&nearest, key->aliases[k]);
	}
	const char *const sections[] = {"source", "dest",    "udp",     "psk",     "auth", "crypto",
	                                "link",   "logging", "metrics", "control", "node", "proxy",
	                                "expiry", "renewal", "vpn",     "agent",   "hub"};
	for (size_t i = 0; parent == 0 && i < COUNT_OF(sections); i++)
		text_nearest_try(&nearest, sections[i]);
	const char *what = node->kind == TREE_TABLE ? "section" : "key";
	if (nearest.best)
		problem_add(&load->problems, node->place, path, "unknown %s (did you mean \"%s\"?)", what, nearest.best);
	else if (elsewhere)
		problem_add(&load->problems, node->place, path, "unknown %s here; there is \"%s\" in [%.*s]", what, name,
		            (int)(last_part(elsewhere) - elsewhere - 1), elsewhere);
	else
		problem_add(&load->problems, node->place, path, "unknown %s", what);
}

static void walk(struct load *load, const struct tree_node *table, const char *prefix);

static void walk_child(struct load *load, const struct tree_node *child, const char *path)
{
	const struct schema_key *key = schema_find(path, load->command);
	if (key && is_for(load, schema_commands_of(key, path)) && load->settings[schema_index(key)].origin == LOAD_FILE) {
		problem_add(&load->problems, child->place, path, "given twice: \"%s\" means the same",
		            load->settings[schema_index(key)].path);
		return;
	}
	if (key)
		take(load, key, child, path, LOAD_FILE);
	else if (!schema_is_section(path))
		refuse_unknown(load, child, path);
	else if (child->kind == TREE_TABLE)
		walk(load, child, path);
	else
		problem_add(&load->problems, child->place, path, "must be a section [%s], not %s", path, tree_kind_name(child));
}

static void walk(struct load *load, const struct tree_node *table, const char *prefix)
{
	for (const struct tree_node *child = table->first; child; child = child->next) {
		char *path = prefix[0] ? text_format("%s.%s", prefix, child->key) : text_copy(child->key);
		if (strchr(child->key, '.'))
			problem_add(&load->problems, child->place, path, "unknown key: \"%s\" is one name here, dot and all",
			            child->key);
		else
			walk_child(load, child, path);
		free(path);
	}
}

// The file of the seed of `proxy` has no sections: its keys stand at the top.
static bool is_flat(const struct tree_node *root)
{
	for (const struct tree_node *child = root->first; child; child = child->next) {
		const struct schema_key *key = schema_find(child->key, CONFIG_PROXY);
		if (key && strncmp(key->path, "proxy.", 6) == 0)
			return true;
	}
	return false;
}

static void read_tree(struct load *load, const char *text, size_t length)
{
	struct tree_node *root = NULL;
	struct tree_place place = {.name = load->file};
	size_t name_length = strlen(load->file);
	bool is_json = name_length >= 5 && strcmp(load->file + name_length - 5, ".json") == 0;
	char problem[TOML_PROBLEM_BYTES];
	int result = is_json ? json_read(text, length, load->file, &root, &place, problem)
	                     : toml_read(text, length, load->file, &root, &place, problem);
	if (result != 0) {
		load->is_unreadable = true;
		problem_add(&load->problems, place, "", "%s", problem);
		return;
	}
	load->has_source = tree_child(root, "source") != NULL;
	load->has_dest = tree_child(root, "dest") != NULL;
	const struct tree_node *psk = tree_child(root, "psk");
	load->has_psk = psk != NULL;
	load->has_psk_client = psk && psk->kind == TREE_TABLE && tree_child(psk, "server") != NULL;
	const struct tree_node *vpn = tree_child(root, "vpn");
	load->has_vpn = vpn != NULL;
	load->has_vpn_client = vpn && vpn->kind == TREE_TABLE && tree_child(vpn, "server") != NULL;
	load->has_agent = tree_child(root, "agent") != NULL;
	load->has_hub = tree_child(root, "hub") != NULL;
	load->has_proxy = tree_child(root, "proxy") || is_flat(root);
	walk(load, root, "");
	tree_free(&root);
}

static void read_file(struct load *load, bool may_be_absent)
{
	struct tree_place place = {.name = load->file};
	FILE *file = fopen(load->file, "re");
	if (!file && may_be_absent && (errno == ENOENT || errno == ENOTDIR))
		return;
	load->has_file = true;
	if (!file) {
		load->is_unreadable = true;
		problem_add(&load->problems, place, "", "cannot be opened: %s", outcome_text(-errno));
		return;
	}
	char *text = text_calloc(LOAD_MAX_BYTES + 1, 1);
	size_t length = fread(text, 1, LOAD_MAX_BYTES + 1, file);
	load->is_unreadable = ferror(file) || length > LOAD_MAX_BYTES;
	if (ferror(file))
		problem_add(&load->problems, place, "", "cannot be read: %s", outcome_text(-errno));
	else if (length > LOAD_MAX_BYTES)
		problem_add(&load->problems, place, "", "is longer than %d bytes", LOAD_MAX_BYTES);
	else
		read_tree(load, text, length);
	free(text);
	fclose(file);
}

// ---- environment and flags

static void add_item(const struct schema_key *key, struct tree_node *list, struct tree_node **last, const char *text,
                     size_t length, struct problem_list *problems)
{
	char *word = text_copy_part(text, length);
	struct tree_node *item = key->item_from_text ? key->item_from_text(word, list->place)
	                                             : tree_word(NULL, text, length, list->place);
	if (item)
		tree_append(list, last, item);
	else
		problem_add(problems, list->place, key->path, "\"%s\" is not %s", word, key->value_name);
	free(word);
}

static bool is_list(const struct schema_key *key)
{
	return key->type == SCHEMA_CIDRS || key->type == SCHEMA_TEXTS || key->type == SCHEMA_TABLES;
}

// "a,b,c" for lists; one word for the rest.
static struct tree_node *node_of_text(const struct schema_key *key, const char *text, struct tree_place place,
                                      struct problem_list *problems)
{
	if (!is_list(key))
		return tree_word(NULL, text, strlen(text), place);
	struct tree_node *list = tree_new(TREE_LIST, NULL, place), *last = NULL;
	while (*text) {
		size_t length = strcspn(text, ",");
		add_item(key, list, &last, text, length, problems);
		text += length + (text[length] == ',');
	}
	return list;
}

static const char *find_environment(char *const *environment, const char *name)
{
	size_t length = strlen(name);
	for (; *environment; environment++)
		if (strncmp(*environment, name, length) == 0 && (*environment)[length] == '=')
			return *environment + length + 1;
	return NULL;
}

static void take_environment(struct load *load, char *const *environment, const struct schema_key *key,
                             const char *name)
{
	const char *text = find_environment(environment, name);
	struct load_setting *setting = &load->settings[schema_index(key)];
	if (!text)
		return;
	if (setting->environment) {
		problem_add(&load->problems, (struct tree_place){.name = name}, key->path, "given twice: %s means the same",
		            setting->environment);
		return;
	}
	setting->environment = text_copy(name);
	struct tree_place place = {.name = setting->environment};
	struct tree_node *node = node_of_text(key, text, place, &load->problems);
	take(load, key, node, key->path, LOAD_ENVIRONMENT);
	tree_free(&node);
}

// The names of the seed of `proxy` count when --from-env asks for them, as its document says; that it is silent about
// them otherwise is no reason for us to be.
static void read_environment(struct load *load, char *const *environment, bool with_seed_names)
{
	for (size_t i = 0; i < schema.count; i++) {
		const struct schema_key *key = &schema.keys[i];
		char name[SCHEMA_ENVIRONMENT_BYTES];
		schema_environment(key, name);
		if (!is_for(load, key->commands))
			continue;
		take_environment(load, environment, key, name);
		for (size_t k = 0; k < COUNT_OF(key->seed_environment) && key->seed_environment[k]; k++) {
			if (with_seed_names)
				take_environment(load, environment, key, key->seed_environment[k]);
			else if (load->command == CONFIG_PROXY && find_environment(environment, key->seed_environment[k]))
				problem_add(&load->notes, (struct tree_place){.name = key->seed_environment[k]}, key->path,
				            "is set, but not read without --from-env");
		}
	}
}

static void take_flag(struct load *load, const struct flags *flags, const struct schema_key *key)
{
	struct tree_place place = {.name = key->flag};
	struct tree_node *list = is_list(key) ? tree_new(TREE_LIST, NULL, place) : NULL, *last = NULL;
	for (size_t i = 0; i < flags->count; i++) {
		const char *text = flags->words[i].text;
		if (flags->words[i].key != key)
			continue;
		if (is_list(key))
			add_item(key, list, &last, text, strlen(text), &load->problems);
		else
			list = tree_word(NULL, text, strlen(text), place);
	}
	take(load, key, list, key->path, LOAD_FLAG);
	tree_free(&list);
}

static void read_flags(struct load *load, const struct flags *flags)
{
	for (size_t i = 0; i < flags->count; i++)
		if (load->settings[schema_index(flags->words[i].key)].origin != LOAD_FLAG)
			take_flag(load, flags, flags->words[i].key);
}

static bool is_seed_name(const char *name)
{
	if (strcmp(name, SEED_CONFIG_FILE) == 0)
		return true;
	for (size_t i = 0; i < schema.count; i++)
		for (size_t k = 0; k < SCHEMA_SEED_NAMES && schema.keys[i].seed_environment[k]; k++)
			if (strcmp(schema.keys[i].seed_environment[k], name) == 0)
				return true;
	return false;
}

// A name of ours with a typing error would otherwise do nothing, silently. Not an error: orchestrators put names such
// as QANAT_DEST_SERVICE_HOST into the environment of every container.
static void note_unknown_environment(struct load *load, char *const *environment, bool with_seed_names)
{
	static const char *const prefixes[] = {"QANAT_SOURCE_", "QANAT_DEST_",    "QANAT_AUTH_",    "QANAT_CRYPTO_",
	                                       "QANAT_LINK_",   "QANAT_LOGGING_", "QANAT_METRICS_", "QANAT_NODE_",
	                                       "QANAT_PSK_",    "QANAT_PROXY_",   "QANAT_VPN_",     "QANAT_AGENT_",
	                                       "QANAT_HUB_"};
	for (; *environment; environment++) {
		char *name = text_copy_part(*environment, strcspn(*environment, "="));
		bool is_ours = with_seed_names && strncmp(name, SEED_PREFIX, strlen(SEED_PREFIX)) == 0;
		bool is_known = is_seed_name(name);
		for (size_t i = 0; i < COUNT_OF(prefixes); i++)
			is_ours = is_ours || strncmp(name, prefixes[i], strlen(prefixes[i])) == 0;
		for (size_t i = 0; is_ours && i < schema.count; i++) {
			char known[SCHEMA_ENVIRONMENT_BYTES];
			schema_environment(&schema.keys[i], known);
			is_known = is_known || strcmp(known, name) == 0;
		}
		if (is_ours && !is_known)
			problem_add(&load->notes, (struct tree_place){.name = name}, "", "no key has this environment name");
		free(name);
	}
}

// ---- all of it

static void take_defaults(struct load *load)
{
	for (size_t i = 0; i < schema.count; i++) {
		const struct schema_key *key = &schema.keys[i];
		if (!key->initial || key->size == 0 || key->initial[0] == '[')
			continue;
		struct tree_node *node = tree_word(NULL, key->initial, strlen(key->initial),
		                                   (struct tree_place){.name = "default"});
		struct value value;
		if (value_read(key, node, key->path, &load->problems, &value))
			value_store(key, &value, load->config);
		value_fini(key, &value);
		tree_free(&node);
	}
}

static void keep_notes(struct load *load)
{
	struct config *config = load->config;
	config->notes = text_calloc(load->notes.count, sizeof *config->notes);
	for (size_t i = 0; i < load->notes.count; i++)
		config->notes[config->note_count++] = problem_text(&load->notes.problems[i]);
}

// True when the file need not exist: nobody has named it.
static bool choose_file(struct load *load, const struct load_input *input, const struct flags *flags)
{
	const char *flag = flags->config_path;
	const char *environment = find_environment(input->environment, "QANAT_CONFIG");
	if (!environment && flags->from_environment)
		environment = find_environment(input->environment, SEED_CONFIG_FILE);
	const char *path = input->text ? input->text_name : flag ? flag : environment;
	load->file = text_copy(path ? path : SCHEMA_DEFAULT_PATH);
	load->has_file = input->text != NULL;
	load->is_file_named = path != NULL;
	return path == NULL;
}

int load_run(const struct load_input *input, struct load *load)
{
	struct flags flags;
	*load = (struct load){.command = input->command, .config = text_calloc(1, sizeof *load->config)};
	flags_read(input->command, input->argc, input->argv, &load->problems, &flags);
	bool wants_help = flags.wants_help;
	if (!wants_help) {
		bool may_be_absent = choose_file(load, input, &flags);
		take_defaults(load);
		if (input->text)
			read_tree(load, input->text, input->length);
		else
			read_file(load, may_be_absent);
		read_environment(load, input->environment, flags.from_environment);
		read_flags(load, &flags);
		note_unknown_environment(load, input->environment, flags.from_environment);
		if (load->has_file)
			load->config->path = text_copy(load->file);
		validate_complete(load);
		validate(load);
		problem_sort(&load->problems);
		keep_notes(load);
	}
	flags_fini(&flags);
	if (wants_help)
		return CONFIG_HELP;
	return load->problems.count > 0 ? CONFIG_BAD : 0;
}

void load_fini(struct load *load)
{
	for (size_t i = 0; i < SCHEMA_MAX_KEYS; i++) {
		free(load->settings[i].item_places);
		free(load->settings[i].environment);
	}
	problem_list_fini(&load->problems);
	problem_list_fini(&load->notes);
	config_free(&load->config);
	free(load->file);
	*load = (struct load){0};
}
