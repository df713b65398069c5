// Shared by the authorise*.c files only: one pattern.

#pragma once

#include "core/outcome.h"
#include "crypto/authorise.h"
#include "crypto/pin.h"

#include <stdbool.h>
#include <stdint.h>

struct authorise_pattern {
	enum { AUTHORISE_BARE, AUTHORISE_CN, AUTHORISE_DNS, AUTHORISE_URI, AUTHORISE_SPKI } kind;
	char *text; // without the prefix; NULL for SPKI
	uint8_t pin[PIN_BYTES];
};

// Where a name of a certificate stands.
enum authorise_name { AUTHORISE_NAME_CN, AUTHORISE_NAME_DNS, AUTHORISE_NAME_URI };

// pattern->text is the caller's to free, also after a refusal.
MUST_USE int authorise_pattern_parse(const char *text, struct authorise_pattern *pattern,
                                     char problem[AUTHORISE_PROBLEM_BYTES]);
bool authorise_pattern_matches(const struct authorise_pattern *pattern, enum authorise_name kind, const char *name);
