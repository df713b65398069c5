// What people read about the schema: --help of a command, and the reference document.

#pragma once

#include "config/schema.h"

#include <stdio.h>

void help_print(enum config_command command, FILE *out);
// Every key, also those that are refused, as Markdown.
void help_reference(FILE *out);
