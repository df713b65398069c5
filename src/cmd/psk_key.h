// Where the pre-shared key comes from, and `qanat psk genkey`.

#pragma once

#include "config/config.h"
#include "core/secret.h"

#define PSK_KEY_PROBLEM_BYTES 512

// Reads the key that the configuration names and derives what the wire uses; what was read is wiped, also in the
// configuration. A weak key is named in the log. 0, or 1 and `problem` says why.
MUST_USE int psk_key_load(struct config *config, struct secret *key, char problem[PSK_KEY_PROBLEM_BYTES]);
// Prints a new key: 32 random bytes as text. Exit status.
int psk_key_generate(int argc, char **argv);
