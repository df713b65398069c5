#include "config/json.h"
#include "config/text.h"

#include <jansson.h>
#include <stdio.h>

static struct tree_node *convert(json_t *from, const char *key, const char *name);

static void convert_children(json_t *from, struct tree_node *to, const char *name)
{
	struct tree_node *last = NULL;
	const char *key;
	size_t index;
	json_t *value;
	if (json_is_object(from)) {
		json_object_foreach(from, key, value)
			tree_append(to, &last, convert(value, key, name));
		return;
	}
	json_array_foreach(from, index, value)
		tree_append(to, &last, convert(value, NULL, name));
}

static struct tree_node *convert(json_t *from, const char *key, const char *name)
{
	struct tree_node *to = tree_new(TREE_OTHER, key, (struct tree_place){.name = name});
	switch (json_typeof(from)) {
	case JSON_OBJECT:
	case JSON_ARRAY:
		to->kind = json_is_object(from) ? TREE_TABLE : TREE_LIST;
		convert_children(from, to, name);
		break;
	case JSON_STRING:
		to->kind = TREE_TEXT;
		to->text = text_copy(json_string_value(from));
		break;
	case JSON_INTEGER:
		to->kind = TREE_NUMBER;
		to->number = json_integer_value(from);
		break;
	case JSON_TRUE:
	case JSON_FALSE:
		to->kind = TREE_BOOL;
		to->truth = json_is_true(from);
		break;
	case JSON_REAL:
		to->text = text_copy("a number with a fraction");
		break;
	case JSON_NULL:
		to->text = text_copy("null");
		break;
	}
	return to;
}

int json_read(const char *text, size_t length, const char *name, struct tree_node **root, struct tree_place *place,
              char problem[TOML_PROBLEM_BYTES])
{
	json_error_t error;
	json_t *value = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);
	*place = (struct tree_place){.name = name};
	if (!value) {
		place->line = error.line > 0 ? (unsigned)error.line : 0;
		place->column = error.column > 0 ? (unsigned)error.column : 0;
		snprintf(problem, TOML_PROBLEM_BYTES, "%s", error.text);
		return JSON_BAD;
	}
	bool is_table = json_is_object(value);
	if (is_table)
		*root = convert(value, NULL, name);
	else
		snprintf(problem, TOML_PROBLEM_BYTES, "must be one object { ... }");
	json_decref(value);
	return is_table ? 0 : JSON_BAD;
}
