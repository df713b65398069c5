// Which key has claimed which name, where certificates do not say it: the first key that claims a name keeps it, also
// over restarts. A file of lines "NAME SHA-256-OF-THE-PUBLIC-KEY"; to give a name to another key, stop the hub, delete
// its line, start it: the file is read once. Written and synchronised by a thread of its own, so that no disk holds a
// worker up. Locked inside.

#pragma once

#include "core/outcome.h"
#include "crypto/pin.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pins;

// From the thread that writes, never from within pins_claim: a claimed name is on the disk now (0), or cannot be kept
// (negative) and is nobody's.
typedef void (*pins_kept_fn)(void *owner, const char *name, int r);

struct pins_settings {
	const char *path;      // lent for the call
	uint32_t most;         // names
	uint32_t most_per_key; // pins_set
	pins_kept_fn on_kept;
	void *owner;
};

// The file is made (mode 0600) when there is none. Half a line at its end, behind others, is cut off; a whole one
// without its end gets it. PINS_BAD: `problem` says what is wrong with it.
enum { PINS_BAD = 1 };
#define PINS_PROBLEM_BYTES 256
MUST_USE int pins_open(const struct pins_settings *settings, struct pins **pins, char problem[PINS_PROBLEM_BYTES]);
void pins_set(struct pins *pins, uint32_t most_per_key);
// What was claimed is written first, and on_kept called.
void pins_close(struct pins **pins);

// 0: the name is this key's, and on the disk. PINS_OTHER: it is another one's. PINS_FULL: as many names are claimed as
// may be; PINS_KEY_FULL: by this key. Else it was nobody's: pins_judge says PINS_FREE and changes nothing; pins_claim
// gives it to this key and says PINS_PENDING (on_kept follows). Negative: no memory.
enum { PINS_OTHER = 2, PINS_FULL = 3, PINS_KEY_FULL = 4, PINS_FREE = 5, PINS_PENDING = 6 };
MUST_USE int pins_judge(struct pins *pins, const char *name, const uint8_t pin[PIN_BYTES]);
MUST_USE int pins_claim(struct pins *pins, const char *name, const uint8_t pin[PIN_BYTES]);
// Whether it is somebody's, and on the disk.
bool pins_keeps(struct pins *pins, const char *name);
