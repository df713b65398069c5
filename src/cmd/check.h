// `qanat check`: says whether a configuration would do, what it means and where each value comes from, and tries the
// certificate files.

#pragma once

// argv[0] is the command word. Exit status: 0 good, 1 certificates that would be refused, 2 wrong configuration.
int check_command(int argc, char **argv);
