// The rules for names in certificates that we issue. Pure.

#pragma once

#include "core/outcome.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A host name in letters, digits, '-' and '.', each label 1 to 63 long and not beginning or ending with '-', 253 in
// all, the last label not all digits (that would be an address); with `wildcard` also "*." before at least two labels,
// since no one honours it before one. The reason otherwise, for people; NULL when it is fine.
const char *issue_host_name_fault(const char *name, bool wildcard);

// The 4 or 16 bytes of an address literal (no brackets, no zone); 0 when it is none.
size_t issue_parse_address(const char *literal, uint8_t bytes[16]);
