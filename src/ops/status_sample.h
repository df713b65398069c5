// Samples of the Prometheus text exposition. Shared by the files that write /metrics.

#pragma once

#include <stdio.h>

// HELP and TYPE, once for each name, before its samples.
void sample_family(FILE *out, const char *name, const char *type, const char *help);
// before NAME="value": escaped, and cut to 128 bytes.
void sample_label(FILE *out, const char *before, const char *name, const char *value);
