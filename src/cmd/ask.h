// Asking a running node over its control socket: what `status`, `reload` and `drain` have in common.

#pragma once

#include "cmd/places.h"

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

struct ask_words {
	const char *socket;    // --control-socket
	const char *config;    // -c
	const char *name;      // the word without a flag, NULL: none
	const char *directory; // --directory, --ldir
	bool json, wait, help;
};

enum { ASK_MAY_JSON = 1, ASK_MAY_WAIT = 2, ASK_MAY_NAME = 4 };

// The arguments after the command word; `argv[0]` is that word. False: a problem was printed.
bool ask_words_read(int argc, char **argv, int may, struct ask_words *words);
// The node's socket: by flag, $QANAT_CONTROL_SOCKET, the configuration file, or the one node that answers at the
// default places. False: there is none, or there are several; what to do was printed.
bool ask_find(const struct ask_words *words, const char *command, char path[PLACES_PATH_BYTES]);
// One request. The answer's object, which has "ok"; NULL: the problem was printed. pid may be NULL; 0 when the node
// lives in another namespace of processes.
json_t *ask(const char *path, const char *command, pid_t *pid);
// The same about a device: a name of good characters, or "".
json_t *ask_device(const char *path, const char *command, const char *device);
// The same without a word: refused is 0, or why the node cannot be reached.
json_t *ask_quietly(const char *path, const char *command, pid_t *pid, int *refused);
// Prints the answer's problems.
void ask_print_problems(const char *command, const json_t *answer);
