// Values in their fields: moved there, freed, read back, printed.

#include "config/value.h"
#include "config/text.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static bool is_list(const struct schema_key *key)
{
	return key->type == SCHEMA_CIDRS || key->type == SCHEMA_TEXTS || key->type == SCHEMA_TABLES;
}

static bool is_number(const struct schema_key *key)
{
	return key->type == SCHEMA_NUMBER || key->type == SCHEMA_BOOL || key->type == SCHEMA_ENUM;
}

static void *field_of(const struct schema_key *key, void *base)
{
	return (char *)base + key->offset;
}

static void free_items(const struct schema_key *key, void *items, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (key->type == SCHEMA_TEXTS)
			free(((char **)items)[i]);
		for (size_t k = 0; key->type == SCHEMA_TABLES && k < key->items->count; k++)
			value_clear(&key->items->keys[k], (char *)items + i * key->items->item_bytes);
	}
	free(items);
}

void value_fini(const struct schema_key *key, struct value *value)
{
	free(value->text);
	if (is_list(key))
		free_items(key, value->items, value->count);
	free(value->places);
	*value = (struct value){0};
}

static void store_number(const struct schema_key *key, uint64_t number, void *field)
{
	uint8_t one = (uint8_t)number;
	uint16_t two = (uint16_t)number;
	uint32_t four = (uint32_t)number;
	if (key->size == sizeof one)
		memcpy(field, &one, sizeof one);
	else if (key->size == sizeof two)
		memcpy(field, &two, sizeof two);
	else if (key->size == sizeof four)
		memcpy(field, &four, sizeof four);
	else
		memcpy(field, &number, sizeof number);
}

void value_store(const struct schema_key *key, struct value *value, void *base)
{
	if (key->size == 0)
		return;
	value_clear(key, base);
	void *field = field_of(key, base);
	if (is_number(key)) {
		store_number(key, value->number, field);
		return;
	}
	if (!is_list(key)) {
		memcpy(field, &value->text, sizeof value->text);
		value->text = NULL;
		return;
	}
	memcpy(field, &value->items, sizeof value->items);
	memcpy((char *)base + key->count_offset, &value->count, sizeof value->count);
	value->items = NULL;
	value->count = 0;
}

void value_clear(const struct schema_key *key, void *base)
{
	if (key->size == 0)
		return;
	void *field = field_of(key, base);
	if (is_list(key)) {
		size_t count = 0;
		void *items = (void *)value_items(key, base, &count);
		free_items(key, items, count);
		memset((char *)base + key->count_offset, 0, sizeof(size_t));
	} else if (!is_number(key)) {
		if (key->is_secret && value_text(key, base))
			explicit_bzero((char *)value_text(key, base), strlen(value_text(key, base)));
		free((char *)value_text(key, base));
	}
	memset(field, 0, key->size);
}

uint64_t value_number(const struct schema_key *key, const void *base)
{
	const char *field = (const char *)base + key->offset;
	uint8_t one;
	uint16_t two;
	uint32_t four;
	uint64_t eight;
	switch (key->size) {
	case sizeof one:
		memcpy(&one, field, sizeof one);
		return one;
	case sizeof two:
		memcpy(&two, field, sizeof two);
		return two;
	case sizeof four:
		memcpy(&four, field, sizeof four);
		return four;
	default:
		memcpy(&eight, field, sizeof eight);
		return eight;
	}
}

const char *value_text(const struct schema_key *key, const void *base)
{
	const char *text;
	memcpy(&text, (const char *)base + key->offset, sizeof text);
	return text;
}

const void *value_items(const struct schema_key *key, const void *base, size_t *count)
{
	const void *items;
	memcpy(&items, (const char *)base + key->offset, sizeof items);
	memcpy(count, (const char *)base + key->count_offset, sizeof *count);
	return items;
}

static void *copy_items(const struct schema_key *key, const void *items, size_t count)
{
	size_t bytes = key->type == SCHEMA_CIDRS   ? sizeof(struct cidr)
	               : key->type == SCHEMA_TEXTS ? sizeof(char *)
	                                           : key->items->item_bytes;
	char *copy = text_calloc(count, bytes);
	for (size_t i = 0; i < count; i++) {
		if (key->type == SCHEMA_TEXTS)
			((char **)(void *)copy)[i] = text_copy(((char *const *)items)[i]);
		if (key->type == SCHEMA_CIDRS)
			((struct cidr *)(void *)copy)[i] = ((const struct cidr *)items)[i];
		for (size_t k = 0; key->type == SCHEMA_TABLES && k < key->items->count; k++)
			value_copy(&key->items->keys[k], (const char *)items + i * bytes, copy + i * bytes);
	}
	return copy;
}

// NOLINTNEXTLINE(misc-no-recursion): a list of tables holds fields, which are no lists of tables.
void value_copy(const struct schema_key *key, const void *from, void *to)
{
	if (key->size == 0)
		return;
	struct value value = {0};
	if (is_number(key))
		value.number = value_number(key, from);
	else if (is_list(key)) {
		const void *items = value_items(key, from, &value.count);
		value.items = copy_items(key, items, value.count);
	} else if (value_text(key, from)) {
		value.text = text_copy(value_text(key, from));
	}
	value_store(key, &value, to);
}

// ---- printing

char *value_as_text(const struct schema_key *key, const void *base)
{
	char *text = NULL;
	size_t length = 0;
	FILE *out = open_memstream(&text, &length);
	if (!out)
		return text_copy("");
	value_print(key, base, out);
	return fclose(out) == 0 ? text : text_copy("");
}

static void print_quoted(const char *text, FILE *out)
{
	fputc('"', out);
	for (const char *at = text; *at; at++) {
		if (*at == '"' || *at == '\\')
			fputc('\\', out);
		fputc(*at, out);
	}
	fputc('"', out);
}

const char *value_cidr_text(const struct cidr *cidr, char text[VALUE_CIDR_BYTES])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	char address[INET6_ADDRSTRLEN] = "";
	bool is_v4 = cidr->bits >= 96 && memcmp(cidr->address, mapped, sizeof mapped) == 0;
	inet_ntop(is_v4 ? AF_INET : AF_INET6, cidr->address + (is_v4 ? 12 : 0), address, sizeof address);
	snprintf(text, VALUE_CIDR_BYTES, "%s/%d", address, cidr->bits - (is_v4 ? 96 : 0));
	return text;
}

static bool is_given(const struct schema_key *key, const void *item)
{
	size_t count = 0;
	if (key->size == 0)
		return false;
	if (is_number(key))
		return value_number(key, item) > 0;
	return is_list(key) ? value_items(key, item, &count) && count > 0 : value_text(key, item) != NULL;
}

static void print_table(const struct schema_table *table, const void *item, FILE *out)
{
	const char *separator = "{ ";
	for (size_t i = 0; i < table->count; i++) {
		const struct schema_key *key = &table->keys[i];
		if (!is_given(key, item))
			continue;
		fprintf(out, "%s%s = ", separator, key->path);
		value_print(key, item, out);
		separator = ", ";
	}
	fputs(" }", out);
}

static void print_items(const struct schema_key *key, const void *base, FILE *out)
{
	size_t count = 0;
	const char *items = value_items(key, base, &count);
	fputc('[', out);
	for (size_t i = 0; i < count; i++) {
		fputs(i > 0 ? ", " : "", out);
		char text[VALUE_CIDR_BYTES];
		if (key->type == SCHEMA_CIDRS)
			print_quoted(value_cidr_text((const struct cidr *)(const void *)items + i, text), out);
		else if (key->type == SCHEMA_TEXTS)
			print_quoted(((char *const *)(const void *)items)[i], out);
		else
			print_table(key->items, items + i * key->items->item_bytes, out);
	}
	fputc(']', out);
}

const char *value_word(const struct schema_key *key, const void *base)
{
	uint64_t number = value_number(key, base);
	for (const struct schema_word *word = key->words; word->word; word++)
		if (word->value == number)
			return word->word;
	return "";
}

void value_print(const struct schema_key *key, const void *base, FILE *out)
{
	if (key->size == 0)
		return;
	if (is_list(key))
		print_items(key, base, out);
	else if (key->type == SCHEMA_BOOL)
		fputs(value_number(key, base) ? "true" : "false", out);
	else if (key->type == SCHEMA_ENUM)
		print_quoted(value_word(key, base), out);
	else if (key->type == SCHEMA_NUMBER)
		fprintf(out, "%" PRIu64, value_number(key, base));
	else if (value_text(key, base) && key->is_secret)
		fputs("(secret)", out);
	else if (value_text(key, base))
		print_quoted(value_text(key, base), out);
}
