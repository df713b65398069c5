#include "config/value.h"
#include "config/text.h"
#include "config/value_text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define TYPE_BYTES 160

// ---- reading

static bool refuse_type(const struct schema_key *key, const struct tree_node *node, const char *path,
                        struct problem_list *problems)
{
	static const char *const wanted[] = {
		[SCHEMA_TEXT] = "a string",
		[SCHEMA_NAME] = "a string",
		[SCHEMA_PATH] = "a string",
		[SCHEMA_HOST] = "a string",
		[SCHEMA_IP] = "a string",
		[SCHEMA_BIND] = "a string",
		[SCHEMA_TARGET] = "a string",
		[SCHEMA_ENDPOINT] = "a string",
		[SCHEMA_NUMBER] = "a whole number",
		[SCHEMA_BOOL] = "true or false",
		[SCHEMA_ENUM] = "a string",
		[SCHEMA_CIDRS] = "a list of strings",
		[SCHEMA_TEXTS] = "a list of strings",
		[SCHEMA_TABLES] = "a list of tables",
	};
	_Static_assert(COUNT_OF(wanted) == SCHEMA_TYPE_COUNT, "a wish for every type");
	problem_add(problems, node->place, path, "must be %s, not %s", wanted[key->type], tree_kind_name(node));
	return false;
}

static bool refuse_item_type(const struct schema_key *key, const struct tree_node *node, const char *path,
                             struct problem_list *problems)
{
	const char *wanted = key->type == SCHEMA_TABLES ? "a table" : "a string";
	problem_add(problems, node->place, path, "must be %s, not %s", wanted, tree_kind_name(node));
	return false;
}

static bool read_digits(const char *text, uint64_t *number)
{
	char *end = NULL;
	errno = 0;
	if (text[0] < '0' || text[0] > '9')
		return false;
	*number = strtoull(text, &end, 10);
	return *end == '\0' && errno == 0;
}

static bool is_number_taken(const struct schema_key *key, const struct tree_node *node, const char *path,
                            struct problem_list *problems, uint64_t number)
{
	uint64_t taken = number;
	if (!key->only || (read_digits(key->only, &taken) && taken == number))
		return true;
	problem_add(problems, node->place, path, "%" PRIu64 " is refused: %s", number, key->refusal);
	return false;
}

static bool read_number(const struct schema_key *key, const struct tree_node *node, const char *path,
                        struct problem_list *problems, struct value *value)
{
	char type[TYPE_BYTES];
	schema_describe_type(key, type, sizeof type);
	if (node->kind == TREE_WORD) {
		if (read_digits(node->text, &value->number) && value->number >= key->min && value->number <= key->max)
			return is_number_taken(key, node, path, problems, value->number);
		problem_add(problems, node->place, path, "must be %s, not \"%s\"", type, node->text);
		return false;
	}
	if (node->kind != TREE_NUMBER)
		return refuse_type(key, node, path, problems);
	value->number = (uint64_t)node->number;
	if (node->number >= 0 && value->number >= key->min && value->number <= key->max)
		return is_number_taken(key, node, path, problems, value->number);
	problem_add(problems, node->place, path, "must be %s, not %" PRId64, type, node->number);
	return false;
}

static bool read_bool(const struct schema_key *key, const struct tree_node *node, const char *path,
                      struct problem_list *problems, struct value *value)
{
	bool is_true = node->kind == TREE_BOOL ? node->truth : node->kind == TREE_WORD && strcmp(node->text, "true") == 0;
	bool is_false = node->kind == TREE_BOOL ? !node->truth
	                                        : node->kind == TREE_WORD && strcmp(node->text, "false") == 0;
	if (!is_true && !is_false && node->kind == TREE_WORD) {
		problem_add(problems, node->place, path, "must be true or false, not \"%s\"", node->text);
		return false;
	}
	if (!is_true && !is_false)
		return refuse_type(key, node, path, problems);
	value->number = is_true;
	if (!key->only || strcmp(key->only, is_true ? "true" : "false") == 0)
		return true;
	problem_add(problems, node->place, path, "%s is refused: %s", is_true ? "true" : "false", key->refusal);
	return false;
}

static bool is_same_word(const struct schema_key *key, const char *word, const char *text)
{
	return (key->ignores_case ? strcasecmp(word, text) : strcmp(word, text)) == 0;
}

static bool has_bools(const struct schema_key *key)
{
	for (const struct schema_word *word = key->words; word->word; word++)
		if (strcmp(word->word, "true") == 0)
			return true;
	return false;
}

static bool read_enum(const struct schema_key *key, const struct tree_node *node, const char *path,
                      struct problem_list *problems, struct value *value)
{
	const char *text = node->kind != TREE_BOOL ? node->text : node->truth ? "true" : "false";
	bool is_word = node->kind == TREE_TEXT || node->kind == TREE_WORD || (node->kind == TREE_BOOL && has_bools(key));
	if (!is_word)
		return refuse_type(key, node, path, problems);
	char type[TYPE_BYTES];
	struct text_nearest nearest;
	text_nearest_init(&nearest, text);
	for (const struct schema_word *word = key->words; word->word; word++) {
		value->number = word->value;
		if (!is_same_word(key, word->word, text))
			text_nearest_try(&nearest, word->refusal ? "" : word->word);
		else if (!word->refusal)
			return true;
		else {
			problem_add(problems, node->place, path, "\"%s\" %s", word->word, word->refusal);
			return false;
		}
	}
	schema_describe_type(key, type, sizeof type);
	bool has_hint = nearest.best && nearest.best[0];
	problem_add(problems, node->place, path, "unknown word \"%s\": one of %s%s%s%s", text, type,
	            has_hint ? " (did you mean \"" : "", has_hint ? nearest.best : "", has_hint ? "\"?)" : "");
	return false;
}

static bool read_text(const struct schema_key *key, const struct tree_node *node, const char *path,
                      struct problem_list *problems, struct value *value)
{
	if (node->kind != TREE_TEXT && node->kind != TREE_WORD)
		return refuse_type(key, node, path, problems);
	const char *fault = value_text_fault(key, node->text);
	if (fault) {
		problem_add(problems, node->place, path, "\"%s\" %s", node->text, fault);
		return false;
	}
	value->text = value_text_normal(key, node->text);
	return true;
}

static bool read_list_item(const struct schema_key *key, const struct tree_node *node, const char *path,
                           struct problem_list *problems, struct value *value)
{
	if (node->kind != TREE_TEXT && node->kind != TREE_WORD)
		return refuse_item_type(key, node, path, problems);
	if (key->type == SCHEMA_CIDRS) {
		struct cidr cidr;
		if (cidr_parse(node->text, &cidr) != 0) {
			problem_add(problems, node->place, path,
			            "\"%s\" is not an address range such as 10.0.0.0/8, 192.168.1.7 or fd00::/8 (bits after the "
			            "prefix must be zero)",
			            node->text);
			return false;
		}
		value->items = text_grow(value->items, value->count, sizeof cidr);
		((struct cidr *)value->items)[value->count] = cidr;
		return true;
	}
	const char *fault = value_text_fault(key, node->text);
	if (fault) {
		problem_add(problems, node->place, path, "\"%s\" %s", node->text, fault);
		return false;
	}
	value->items = text_grow(value->items, value->count, sizeof(char *));
	((char **)value->items)[value->count] = text_copy(node->text);
	return true;
}

static bool read_table_item(const struct schema_key *key, const struct tree_node *node, const char *path,
                            struct problem_list *problems, struct value *value);

static bool read_list(const struct schema_key *key, const struct tree_node *node, const char *path,
                      struct problem_list *problems, struct value *value)
{
	if (key->takes_one && (node->kind == TREE_TEXT || node->kind == TREE_WORD)) {
		if (!read_list_item(key, node, path, problems, value))
			return false;
		value->places = text_grow(value->places, value->count, sizeof *value->places);
		value->places[value->count++] = node->place;
		return true;
	}
	if (node->kind != TREE_LIST)
		return refuse_type(key, node, path, problems);
	bool is_good = true;
	size_t index = 0;
	for (const struct tree_node *item = node->first; item; item = item->next, index++) {
		if (key->type == SCHEMA_TABLES && index == key->max) {
			problem_add(problems, item->place, path, "has more than %zu entries", index);
			return false;
		}
		char *item_path = text_format("%s[%zu]", path, index);
		bool is_read = key->type == SCHEMA_TABLES ? read_table_item(key, item, item_path, problems, value)
		                                          : read_list_item(key, item, item_path, problems, value);
		if (is_read) {
			value->places = text_grow(value->places, value->count, sizeof *value->places);
			value->places[value->count++] = item->place;
		}
		is_good = is_good && is_read;
		free(item_path);
	}
	if (is_good && key->only && value->count > 0) {
		problem_add(problems, node->place, path, "is not built yet: %s", key->refusal);
		return false;
	}
	return is_good;
}

static bool read_any(const struct schema_key *key, const struct tree_node *node, const char *path,
                     struct problem_list *problems, struct value *value)
{
	switch (key->type) {
	case SCHEMA_NUMBER:
		return read_number(key, node, path, problems, value);
	case SCHEMA_BOOL:
		return read_bool(key, node, path, problems, value);
	case SCHEMA_ENUM:
		return read_enum(key, node, path, problems, value);
	case SCHEMA_CIDRS:
	case SCHEMA_TEXTS:
	case SCHEMA_TABLES:
		return read_list(key, node, path, problems, value);
	case SCHEMA_TEXT:
	case SCHEMA_NAME:
	case SCHEMA_PATH:
	case SCHEMA_HOST:
	case SCHEMA_IP:
	case SCHEMA_BIND:
	case SCHEMA_TARGET:
	case SCHEMA_ENDPOINT:
		return read_text(key, node, path, problems, value);
	case SCHEMA_TYPE_COUNT:
		break;
	}
	return false;
}

bool value_read(const struct schema_key *key, const struct tree_node *node, const char *path,
                struct problem_list *problems, struct value *value)
{
	*value = (struct value){0};
	if (key->state == SCHEMA_MEANINGLESS) {
		problem_add(problems, node->place, path, "has no meaning here: %s", key->refusal);
		return false;
	}
	if (key->state == SCHEMA_UNBUILT && !key->only) {
		problem_add(problems, node->place, path, "is not built yet: %s", key->refusal);
		return false;
	}
	if (read_any(key, node, path, problems, value))
		return true;
	value_fini(key, value);
	return false;
}

// ---- tables in lists

static const struct schema_key *find_item_key(const struct schema_table *table, const char *name)
{
	for (size_t i = 0; i < table->count; i++) {
		const struct schema_key *key = &table->keys[i];
		if (strcmp(key->path, name) == 0 || (key->aliases[0] && strcmp(key->aliases[0], name) == 0))
			return key;
	}
	return NULL;
}

static void refuse_item_key(const struct schema_table *table, const struct tree_node *node, const char *path,
                            struct problem_list *problems)
{
	struct text_nearest nearest;
	text_nearest_init(&nearest, node->key);
	for (size_t i = 0; i < table->count; i++)
		text_nearest_try(&nearest, table->keys[i].path);
	problem_add(problems, node->place, path, "unknown key%s%s%s", nearest.best ? " (did you mean \"" : "",
	            nearest.best ? nearest.best : "", nearest.best ? "\"?)" : "");
}

static bool read_item_key(const struct schema_table *table, const struct tree_node *node, const char *path,
                          struct problem_list *problems, uint64_t *seen, void *item)
{
	char *key_path = text_format("%s.%s", path, node->key);
	const struct schema_key *key = find_item_key(table, node->key);
	struct value value = {0};
	bool is_good = false;
	if (!key) {
		refuse_item_key(table, node, key_path, problems);
	} else if (*seen & (1ULL << (key - table->keys))) {
		problem_add(problems, node->place, key_path, "given twice: \"%s\" and \"%s\" mean the same", key->path,
		            key->aliases[0] ? key->aliases[0] : key->path);
	} else {
		*seen |= 1ULL << (key - table->keys);
		is_good = value_read(key, node, key_path, problems, &value);
		if (is_good)
			value_store(key, &value, item);
		value_fini(key, &value);
	}
	free(key_path);
	return is_good;
}

static void clear_item(const struct schema_table *table, void *item)
{
	for (size_t i = 0; i < table->count; i++)
		value_clear(&table->keys[i], item);
}

static bool read_table_item(const struct schema_key *key, const struct tree_node *node, const char *path,
                            struct problem_list *problems, struct value *value)
{
	const struct schema_table *table = key->items;
	if (node->kind != TREE_TABLE)
		return refuse_item_type(key, node, path, problems);
	value->items = text_grow(value->items, value->count, table->item_bytes);
	void *item = (char *)value->items + value->count * table->item_bytes;
	memset(item, 0, table->item_bytes);
	uint64_t seen = 0;
	bool is_good = true;
	for (const struct tree_node *child = node->first; child; child = child->next)
		is_good = read_item_key(table, child, path, problems, &seen, item) && is_good;
	for (size_t i = 0; i < table->count; i++) {
		if (!table->keys[i].required || (seen & (1ULL << i)))
			continue;
		problem_add(problems, node->place, path, "\"%s\" is missing: %s", table->keys[i].path, table->keys[i].help);
		is_good = false;
	}
	if (!is_good)
		clear_item(table, item);
	return is_good;
}
