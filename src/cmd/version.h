// `qanat version`

#pragma once

#include <stdio.h>

// argv[0] is the command word. Exit status 0, or 2 when there are arguments.
int version_command(int argc, char **argv);
void version_print(FILE *out);
