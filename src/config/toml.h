// TOML text to a neutral tree: the C side of a shim over toml++ (config/toml.cc), and the only door to it.

#pragma once

#include "config/tree.h"

// toml++ frees nested tables by recursion; dotted keys are the only way to nest without bound, so dots outside of
// strings are counted first.
#define TOML_MAX_DOTS 4096
#define TOML_PROBLEM_BYTES 256

// 1: not TOML; `place` has line and column, `problem` the reason. `name` is lent to the tree (tree_place.name).
enum { TOML_BAD = 1 };
int toml_read(const char *text, size_t length, const char *name, struct tree_node **root, struct tree_place *place,
              char problem[TOML_PROBLEM_BYTES]);
