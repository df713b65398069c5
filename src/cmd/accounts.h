// Users and groups of this machine, by name or number.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A list of its own to be freed, NULL when a name is unknown (logged, with the key it stands in) or memory is short.
uint32_t *accounts_users(char *const *names, size_t count, const char *key);
uint32_t *accounts_groups(char *const *names, size_t count, const char *key);
