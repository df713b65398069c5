// Other programs' names: started as `utun` (a symlink is enough) this program takes that one's command line as its
// document prints it.

#pragma once

#include <stdbool.h>

// May replace both by a command line of ours, which lives as long as the process. False: the name is known, but its
// command line is not built yet, which has been printed.
bool guise_take(int *argc, char ***argv);
