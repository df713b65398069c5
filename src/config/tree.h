// What a configuration file, an environment variable or a flag says, before anything is known about its meaning: a
// neutral tree that the TOML and the JSON reader fill (config/toml.h, config/json.h) and config/value.h reads.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum tree_kind {
	TREE_TABLE,
	TREE_LIST,
	TREE_TEXT,
	TREE_NUMBER,
	TREE_BOOL,
	TREE_WORD,  // untyped text of a flag or an environment variable
	TREE_OTHER, // a float, a date, a null: no key wants one; `text` names it
};

// Where something was written. `name` is lent: the file's path, "--flag" or an environment name. line 0: unknown.
struct tree_place {
	const char *name;
	unsigned line, column;
};

struct tree_node {
	struct tree_node *next;  // sibling
	struct tree_node *first; // of a table's or a list's children
	char *key;               // NULL in lists
	enum tree_kind kind;
	struct tree_place place;
	char *text; // without NUL inside
	int64_t number;
	bool truth;
};

// Aborts on lack of memory (config/text.h). key may be NULL.
struct tree_node *tree_new(enum tree_kind kind, const char *key, struct tree_place place);
// Frees the node, its siblings after it and everything below.
void tree_free(struct tree_node **node);
// Puts `child` at the end of parent's children, of which `*last` is the last (NULL: none yet).
void tree_append(struct tree_node *parent, struct tree_node **last, struct tree_node *child);
// A child by key, NULL when there is none.
const struct tree_node *tree_child(const struct tree_node *table, const char *key);
// A TREE_WORD made of text[length].
struct tree_node *tree_word(const char *key, const char *text, size_t length, struct tree_place place);
// "a table", "a list", "a string", ...
const char *tree_kind_name(const struct tree_node *node);
