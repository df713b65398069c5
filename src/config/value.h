// One value: read from a tree node as its key's type demands, kept in struct config, printed for people.

#pragma once

#include "config/problem.h"
#include "config/schema.h"

#include <stdbool.h>
#include <stdio.h>

// The null value is empty.
struct value {
	uint64_t number; // numbers, booleans, enums
	char *text;
	void *items; // struct cidr *, char **, or the array of a SCHEMA_TABLES
	size_t count;
	struct tree_place *places; // of each item
};

// Reads node as the value of `key`, which is written as `path` there. False when it is not one: every reason is in
// `problems`, and `value` is empty. Also refuses keys and words that are not built or have no meaning.
bool value_read(const struct schema_key *key, const struct tree_node *node, const char *path,
                struct problem_list *problems, struct value *value);
// Moves value into its field below `base` (struct config or an item), freeing what was there. The places stay.
void value_store(const struct schema_key *key, struct value *value, void *base);
void value_fini(const struct schema_key *key, struct value *value);

// The field of `key` below `base`, as it would be written in TOML; "" when it has none.
void value_print(const struct schema_key *key, const void *base, FILE *out);
// The same as a text of its own.
char *value_as_text(const struct schema_key *key, const void *base);
// The field below `to` becomes a copy of the one below `from`; what was there is freed.
void value_copy(const struct schema_key *key, const void *from, void *to);
// Frees and zeroes the field.
void value_clear(const struct schema_key *key, void *base);

// The field as a number, a text or a list; only for keys of such a type that are kept.
uint64_t value_number(const struct schema_key *key, const void *base);
const char *value_text(const struct schema_key *key, const void *base);
// Of a SCHEMA_ENUM: the word.
const char *value_word(const struct schema_key *key, const void *base);
#define VALUE_CIDR_BYTES 64
// "10.0.0.0/8"; returns text.
const char *value_cidr_text(const struct cidr *cidr, char text[VALUE_CIDR_BYTES]);
const void *value_items(const struct schema_key *key, const void *base, size_t *count);
