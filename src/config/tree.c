#include "config/tree.h"
#include "config/text.h"

#include <stdlib.h>
#include <string.h>

struct tree_node *tree_new(enum tree_kind kind, const char *key, struct tree_place place)
{
	struct tree_node *node = text_calloc(1, sizeof *node);
	node->kind = kind;
	node->key = key ? text_copy(key) : NULL;
	node->place = place;
	return node;
}

// Recursion is as deep as the tree, which its readers bound (TREE_MAX_DEPTH in their headers).
void tree_free(struct tree_node **node)
{
	struct tree_node *at = *node;
	*node = NULL;
	while (at) {
		struct tree_node *next = at->next;
		tree_free(&at->first);
		free(at->key);
		free(at->text);
		free(at);
		at = next;
	}
}

void tree_append(struct tree_node *parent, struct tree_node **last, struct tree_node *child)
{
	if (*last)
		(*last)->next = child;
	else
		parent->first = child;
	*last = child;
}

const struct tree_node *tree_child(const struct tree_node *table, const char *key)
{
	for (const struct tree_node *child = table->first; child; child = child->next)
		if (child->key && strcmp(child->key, key) == 0)
			return child;
	return NULL;
}

struct tree_node *tree_word(const char *key, const char *text, size_t length, struct tree_place place)
{
	struct tree_node *node = tree_new(TREE_WORD, key, place);
	node->text = text_copy_part(text, length);
	return node;
}

const char *tree_kind_name(const struct tree_node *node)
{
	switch (node->kind) {
	case TREE_TABLE:
		return "a table";
	case TREE_LIST:
		return "a list";
	case TREE_TEXT:
		return "a string";
	case TREE_NUMBER:
		return "a whole number";
	case TREE_BOOL:
		return "true or false";
	case TREE_WORD:
		return "text";
	case TREE_OTHER:
		return node->text;
	}
	return "nothing";
}
