// The shapes of texts: names, addresses, endpoints. Pure.

#pragma once

#include "config/schema.h"

// NULL when `text` is a good value for the key's type; else what is wrong with it, for people.
const char *value_text_fault(const struct schema_key *key, const char *text);
// A copy as it is kept: an IPv6 address without its brackets.
char *value_text_normal(const struct schema_key *key, const char *text);
