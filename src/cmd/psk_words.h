// The command line of `qanat psk` as ttun takes it (Go's flag syntax: -x v, -x=v, --x v, --x=v; a switch is -x or
// -x=false), turned into this program's flags. Everything else passes as it is.

#pragma once

#include "core/outcome.h"

#include <stdbool.h>

struct psk_words {
	int argc;
	char **argv;         // ours, ended by NULL
	bool has_key;        // the key stands on the command line
	const char *ignored; // a flag of the other side that ttun takes and does not use; NULL: none
};

// argv after "server" or "client". Where the key stands it is overwritten: ps shows what is left of it. Negative: no
// memory.
MUST_USE int psk_words_take(bool is_server, int argc, char **argv, struct psk_words *words);
void psk_words_fini(struct psk_words *words);
