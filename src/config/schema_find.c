// Questions about the table.

#include "config/schema.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define COMMANDS (CONFIG_HUB + 1)
_Static_assert(SCHEMA_FOR_ALL == (1 << COMMANDS) - 1, "a bit for every command");

unsigned schema_command_bit(enum config_command command)
{
	return 1u << command;
}

const char *schema_command_name(enum config_command command)
{
	static const char *const names[] = {
		[CONFIG_SOURCE] = "source",         [CONFIG_DEST] = "dest",   [CONFIG_PSK_SERVER] = "psk server",
		[CONFIG_PSK_CLIENT] = "psk client", [CONFIG_PROXY] = "proxy", [CONFIG_VPN_SERVER] = "vpn server",
		[CONFIG_VPN_CLIENT] = "vpn client", [CONFIG_AGENT] = "agent", [CONFIG_HUB] = "hub",
	};
	_Static_assert(COUNT_OF(names) == COMMANDS, "a name for every command");
	return names[command];
}

const char *schema_command_section(enum config_command command)
{
	static const char *const names[] = {
		[CONFIG_SOURCE] = "source",  [CONFIG_DEST] = "dest",   [CONFIG_PSK_SERVER] = "psk",
		[CONFIG_PSK_CLIENT] = "psk", [CONFIG_PROXY] = "proxy", [CONFIG_VPN_SERVER] = "vpn",
		[CONFIG_VPN_CLIENT] = "vpn", [CONFIG_AGENT] = "agent", [CONFIG_HUB] = "hub",
	};
	_Static_assert(COUNT_OF(names) == COMMANDS, "a section for every command");
	return names[command];
}

bool schema_find_other(const char *flag, enum config_command command, enum config_command *other)
{
	for (unsigned i = 0; i < COMMANDS; i++) {
		*other = (enum config_command)i;
		if (*other != command && schema_find_flag(flag, *other))
			return true;
	}
	return false;
}

size_t schema_index(const struct schema_key *key)
{
	return (size_t)(key - schema.keys);
}

size_t schema_section_length(const char *path)
{
	return strcspn(path, ".");
}

static bool is_written_as(const struct schema_key *key, const char *path)
{
	if (strcmp(key->path, path) == 0)
		return true;
	for (size_t i = 0; i < COUNT_OF(key->aliases) && key->aliases[i]; i++)
		if (strcmp(key->aliases[i], path) == 0)
			return true;
	return false;
}

const struct schema_key *schema_find(const char *path, enum config_command command)
{
	const struct schema_key *other = NULL;
	for (size_t i = 0; i < schema.count; i++) {
		const struct schema_key *key = &schema.keys[i];
		if (!is_written_as(key, path))
			continue;
		if (key->commands & schema_command_bit(command))
			return key;
		other = key;
	}
	return other;
}

bool schema_is_section(const char *path)
{
	size_t length = strlen(path);
	for (size_t i = 0; i < schema.count; i++)
		if (strncmp(schema.keys[i].path, path, length) == 0 && schema.keys[i].path[length] == '.')
			return true;
	return false;
}

static bool is_flag_of(const struct schema_key *key, const char *flag)
{
	if (key->flag && strcmp(key->flag, flag) == 0)
		return true;
	for (size_t i = 0; i < COUNT_OF(key->flag_aliases) && key->flag_aliases[i]; i++)
		if (strcmp(key->flag_aliases[i], flag) == 0)
			return true;
	return false;
}

const struct schema_key *schema_find_flag(const char *flag, enum config_command command)
{
	for (size_t i = 0; i < schema.count; i++) {
		const struct schema_key *key = &schema.keys[i];
		if ((key->commands & schema_command_bit(command)) && is_flag_of(key, flag))
			return key;
	}
	return NULL;
}

void schema_environment(const struct schema_key *key, char name[SCHEMA_ENVIRONMENT_BYTES])
{
	if (key->environment) {
		snprintf(name, SCHEMA_ENVIRONMENT_BYTES, "%s", key->environment);
		return;
	}
	snprintf(name, SCHEMA_ENVIRONMENT_BYTES, "QANAT_%s", key->path);
	for (char *at = name; *at; at++)
		*at = *at == '.' ? '_' : (char)toupper((unsigned char)*at);
}

unsigned schema_commands_of(const struct schema_key *key, const char *path)
{
	if (strncmp(path, "source.", 7) == 0)
		return key->commands & SCHEMA_FOR_SOURCE;
	if (strncmp(path, "dest.", 5) == 0)
		return key->commands & SCHEMA_FOR_DEST;
	return key->commands;
}

static void describe_words(const struct schema_key *key, char *text, size_t size)
{
	size_t used = 0;
	for (const struct schema_word *word = key->words; word->word && used < size; word++)
		if (!word->refusal)
			used += (size_t)snprintf(text + used, size - used, "%s\"%s\"", used > 0 ? ", " : "", word->word);
}

void schema_describe_type(const struct schema_key *key, char *text, size_t size)
{
	static const char *const names[] = {
		[SCHEMA_TEXT] = "text",
		[SCHEMA_NAME] = "name",
		[SCHEMA_PATH] = "file name",
		[SCHEMA_HOST] = "host name or IP address",
		[SCHEMA_IP] = "IP address",
		[SCHEMA_BIND] = "IP address or unix:/path",
		[SCHEMA_TARGET] = "host name, IP address or unix:/path",
		[SCHEMA_ENDPOINT] = "IP:PORT, [IP6]:PORT or unix:/path",
		[SCHEMA_NUMBER] = "whole number",
		[SCHEMA_BOOL] = "true or false",
		[SCHEMA_ENUM] = "word",
		[SCHEMA_CIDRS] = "list of address ranges",
		[SCHEMA_TEXTS] = "list of strings",
		[SCHEMA_TABLES] = "list of tables",
	};
	_Static_assert(COUNT_OF(names) == SCHEMA_TYPE_COUNT, "a name for every type");
	if (key->type == SCHEMA_ENUM) {
		describe_words(key, text, size);
		return;
	}
	snprintf(text, size, "%s", names[key->type]);
	if (key->type != SCHEMA_NUMBER || key->state != SCHEMA_BUILT)
		return;
	bool is_open = key->max >= UINT64_MAX / 2;
	if (is_open)
		snprintf(text, size, "%" PRIu64 " or more", key->min);
	else
		snprintf(text, size, "%" PRIu64 "..%" PRIu64, key->min, key->max);
	if (key->unit)
		snprintf(text + strlen(text), size - strlen(text), " %s", key->unit);
}
