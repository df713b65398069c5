#include "config/report.h"
#include "config/text.h"
#include "config/value.h"

#include <stdlib.h>
#include <string.h>

static bool is_used(const struct load *load, const struct schema_key *key)
{
	return key->size > 0 && (key->commands & schema_command_bit(load->command));
}

static char *origin_as_text(const struct load_setting *setting)
{
	switch (setting->origin) {
	case LOAD_DEFAULT:
		return text_copy("default");
	case LOAD_ENVIRONMENT:
		return text_format("environment %s", setting->place.name);
	case LOAD_FLAG:
		return text_format("flag %s", setting->place.name);
	case LOAD_FILE:
		break;
	}
	return setting->place.line > 0 ? text_format("%s:%u", setting->place.name, setting->place.line)
	                               : text_copy(setting->place.name);
}

void report_settings(const struct load *load, FILE *out)
{
	for (size_t i = 0; i < schema.count; i++) {
		const struct schema_key *key = &schema.keys[i];
		if (!is_used(load, key))
			continue;
		char *value = value_as_text(key, load->config), *origin = origin_as_text(&load->settings[i]);
		fprintf(out, "  %s = %s  (%s)\n", key->path, value[0] ? value : "none", origin);
		free(value);
		free(origin);
	}
}

// ---- JSON

static json_t *table_json(const struct schema_table *table, const void *item);

static json_t *list_json(const struct schema_key *key, const void *base)
{
	size_t count = 0;
	const char *items = value_items(key, base, &count);
	json_t *list = json_array();
	for (size_t i = 0; i < count; i++) {
		char text[VALUE_CIDR_BYTES];
		if (key->type == SCHEMA_TABLES)
			json_array_append_new(list, table_json(key->items, items + i * key->items->item_bytes));
		else if (key->type == SCHEMA_TEXTS)
			json_array_append_new(list, json_string(((char *const *)(const void *)items)[i]));
		else
			json_array_append_new(list,
			                      json_string(value_cidr_text((const struct cidr *)(const void *)items + i, text)));
	}
	return list;
}

static json_t *value_json(const struct schema_key *key, const void *base)
{
	switch (key->type) {
	case SCHEMA_NUMBER:
		return json_integer((json_int_t)value_number(key, base));
	case SCHEMA_BOOL:
		return json_boolean(value_number(key, base) != 0);
	case SCHEMA_ENUM:
		return json_string(value_word(key, base));
	case SCHEMA_CIDRS:
	case SCHEMA_TEXTS:
	case SCHEMA_TABLES:
		return list_json(key, base);
	case SCHEMA_TEXT:
	case SCHEMA_NAME:
	case SCHEMA_PATH:
	case SCHEMA_HOST:
	case SCHEMA_IP:
	case SCHEMA_BIND:
	case SCHEMA_TARGET:
	case SCHEMA_ENDPOINT:
	case SCHEMA_TYPE_COUNT:
		break;
	}
	if (key->is_secret && value_text(key, base))
		return json_string("(secret)");
	return value_text(key, base) ? json_string(value_text(key, base)) : json_null();
}

static json_t *table_json(const struct schema_table *table, const void *item)
{
	json_t *object = json_object();
	for (size_t i = 0; i < table->count; i++)
		if (table->keys[i].size > 0)
			json_object_set_new(object, table->keys[i].path, value_json(&table->keys[i], item));
	return object;
}

static void set_place(json_t *object, const char *name, unsigned line, unsigned column)
{
	if (name[0])
		json_object_set_new(object, "where", json_string(name));
	if (line > 0) {
		json_object_set_new(object, "line", json_integer(line));
		json_object_set_new(object, "column", json_integer(column));
	}
}

static json_t *problems_json(const struct problem_list *list)
{
	json_t *array = json_array();
	for (size_t i = 0; i < list->count; i++) {
		const struct problem *problem = &list->problems[i];
		json_t *object = json_object();
		set_place(object, problem->name, problem->line, problem->column);
		if (problem->path[0])
			json_object_set_new(object, "key", json_string(problem->path));
		json_object_set_new(object, "message", json_string(problem->message));
		json_array_append_new(array, object);
	}
	return array;
}

static json_t *setting_json(const struct load *load, size_t index)
{
	static const char *const origins[] = {"default", "file", "environment", "flag"};
	const struct schema_key *key = &schema.keys[index];
	const struct load_setting *setting = &load->settings[index];
	json_t *object = json_object();
	json_object_set_new(object, "key", json_string(key->path));
	json_object_set_new(object, "value", value_json(key, load->config));
	json_object_set_new(object, "from", json_string(origins[setting->origin]));
	if (setting->origin != LOAD_DEFAULT)
		set_place(object, setting->place.name, setting->place.line, setting->place.column);
	return object;
}

json_t *report_json(const struct load *load)
{
	json_t *report = json_object();
	json_t *settings = json_array();
	for (size_t i = 0; i < schema.count && load->problems.count == 0; i++)
		if (is_used(load, &schema.keys[i]))
			json_array_append_new(settings, setting_json(load, i));
	json_object_set_new(report, "command", json_string(schema_command_name(load->command)));
	json_object_set_new(report, "settings", settings);
	json_object_set_new(report, "problems", problems_json(&load->problems));
	json_object_set_new(report, "notes", problems_json(&load->notes));
	return report;
}
