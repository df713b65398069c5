// `qanat version`

#pragma once

// argv[0] is the command word. Exit status 0, 1 when nothing could be printed, or 2 when there are other arguments.
int version_command(int argc, char **argv);
