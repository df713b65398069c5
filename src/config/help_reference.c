// The reference document, as Markdown.

#include "config/help.h"

#include <string.h>

static void print_escaped(const char *text, FILE *out)
{
	for (; *text; text++) {
		if (*text == '|' || *text == '*' || *text == '<')
			fputc('\\', out);
		fputc(*text, out);
	}
}

static void print_default(const struct schema_key *key, FILE *out)
{
	if (key->required)
		fputs("required", out);
	else if (key->initial_note)
		print_escaped(key->initial_note, out);
	else if (key->initial)
		fprintf(out, "`%s`", key->initial);
	else
		fputs("none", out);
}

static void print_key(const struct schema_key *key, const char *name, FILE *out)
{
	char type[160];
	schema_describe_type(key, type, sizeof type);
	fprintf(out, "| `%s` | ", name);
	print_escaped(type, out);
	fputs(" | ", out);
	print_default(key, out);
	fputs(" | ", out);
	print_escaped(key->help, out);
	fputs(" |", out);
}

static void print_items(const struct schema_key *key, FILE *out)
{
	fprintf(out, "\nEach `[[%s]]`:\n\n| key | type | default | meaning |\n| --- | --- | --- | --- |\n", key->path);
	for (size_t i = 0; i < key->items->count; i++) {
		print_key(&key->items->keys[i], key->items->keys[i].path, out);
		fputc('\n', out);
	}
}

static void print_ways(const struct schema_key *key, FILE *out)
{
	char environment[SCHEMA_ENVIRONMENT_BYTES];
	schema_environment(key, environment);
	fputs(" ", out);
	if (key->flag) {
		fprintf(out, "`%s ", key->flag);
		fprintf(out, "%s` ", key->value_name);
	}
	for (size_t i = 0; i < COUNT_OF(key->flag_aliases) && key->flag_aliases[i]; i++)
		fprintf(out, "`%s` ", key->flag_aliases[i]);
	fprintf(out, "`%s`", environment);
	for (size_t i = 0; i < COUNT_OF(key->seed_environment) && key->seed_environment[i]; i++)
		fprintf(out, " `%s`", key->seed_environment[i]);
	for (size_t i = 0; i < COUNT_OF(key->aliases) && key->aliases[i]; i++)
		fprintf(out, ", also `%s`", key->aliases[i]);
	fprintf(out, " | %s |\n", key->reloads ? "yes" : "restart");
}

static bool is_same_section(const struct schema_key *a, const struct schema_key *b)
{
	size_t length = schema_section_length(a->path);
	return strncmp(a->path, b->path, length + 1) == 0;
}

static void print_section(size_t first, FILE *out)
{
	const struct schema_key *head = &schema.keys[first];
	fprintf(out, "\n## [%.*s]\n\n", (int)schema_section_length(head->path), head->path);
	fputs("| key | type | default | meaning | flag and environment | reload |\n| --- | --- | --- | --- | --- | --- |\n",
	      out);
	for (size_t i = first; i < schema.count && is_same_section(head, &schema.keys[i]); i++) {
		if (schema.keys[i].state != SCHEMA_BUILT)
			continue;
		print_key(&schema.keys[i], schema.keys[i].path + schema_section_length(head->path) + 1, out);
		print_ways(&schema.keys[i], out);
	}
	for (size_t i = first; i < schema.count && is_same_section(head, &schema.keys[i]); i++)
		if (schema.keys[i].items)
			print_items(&schema.keys[i], out);
}

void help_reference(FILE *out)
{
	fputs(
		"# Configuration of source, dest, proxy, hub, agent, psk and vpn\n\n"
		"A flag wins over the environment, the environment over the file, the file over the default. The file is TOML,\n"
		"or JSON with the same structure when its name ends in `.json`. Names that begin with `QUANTUM_SAFE_PROXY_` are read with\n"
		"`--from-env` only. Printed by `qanat check --schema`.\n",
		out);
	for (size_t i = 0; i < schema.count; i++)
		if (i == 0 || !is_same_section(&schema.keys[i], &schema.keys[i - 1]))
			print_section(i, out);
	fputs(
		"\n## Refused\n\nKeys of other programs' files that cannot be followed. They are refused by name, with what to do instead.\n\n"
		"| key | why |\n| --- | --- |\n",
		out);
	for (size_t i = 0; i < schema.count; i++) {
		if (schema.keys[i].state == SCHEMA_BUILT)
			continue;
		fprintf(out, "| `%s` | %s", schema.keys[i].path,
		        schema.keys[i].state == SCHEMA_UNBUILT ? "not built yet: " : "");
		print_escaped(schema.keys[i].refusal, out);
		fputs(" |\n", out);
	}
}
