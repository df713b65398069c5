// JSON text to a neutral tree, by jansson. Its values carry no positions, so problems name the path only.

#pragma once

#include "config/toml.h"
#include "config/tree.h"

// jansson itself stops at 2048 levels.
enum { JSON_BAD = 1 };
// As toml_read.
int json_read(const char *text, size_t length, const char *name, struct tree_node **root, struct tree_place *place,
              char problem[TOML_PROBLEM_BYTES]);
