// What a configuration means, and where each value comes from: the output of `qanat check`.

#pragma once

#include "config/load.h"

#include <jansson.h>
#include <stdio.h>

// One setting a line: path = value, origin. Only when load_run returned 0.
void report_settings(const struct load *load, FILE *out);
// {"command", "settings": [...], "problems": [...], "notes": [...]}; settings only when there are no problems. The
// caller owns it; NULL on lack of memory.
json_t *report_json(const struct load *load);
