// Where control sockets lie when nothing else is said: a node makes its own there, and the commands that ask nodes look
// there.

#pragma once

#include <stddef.h>
#include <sys/un.h>

#define PLACES_PATH_BYTES sizeof(((struct sockaddr_un *)0)->sun_path)
#define PLACES_FOLDERS 3

struct places {
	size_t count;
	char folders[PLACES_FOLDERS][PLACES_PATH_BYTES];
};

// $RUNTIME_DIRECTORY (of systemd) alone when it is set; otherwise /run/qanat and $XDG_RUNTIME_DIR/qanat. What is too
// long for a socket's path is left out.
void places_list(struct places *places);
