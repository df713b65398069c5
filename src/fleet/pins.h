// Which key has claimed which name, where certificates do not say it: the first key that claims a name keeps it, also
// over restarts. A file of lines "NAME SHA-256-OF-THE-PUBLIC-KEY"; to give a name to another key, delete its line and
// reload. Locked inside.

#pragma once

#include "core/outcome.h"
#include "crypto/pin.h"

#include <stddef.h>

struct pins;

// The file is made (mode 0600) when there is none. PINS_BAD: `problem` says what is wrong with it.
enum { PINS_BAD = 1 };
#define PINS_PROBLEM_BYTES 256
MUST_USE int pins_open(const char *path, size_t most, struct pins **pins, char problem[PINS_PROBLEM_BYTES]);
void pins_close(struct pins **pins);
// 0: the name is this key's, perhaps since now (then it is on the disk). PINS_OTHER: it is another one's. PINS_FULL: as
// many names are pinned as may be. Negative: it cannot be kept, so it is not granted.
enum { PINS_OTHER = 2, PINS_FULL = 3 };
MUST_USE int pins_claim(struct pins *pins, const char *name, const uint8_t pin[PIN_BYTES]);
