// A walk along the joined connections of a worker from the oldest on, in parts, so that each is looked at once however
// many there are. Who leaves meanwhile is left out, who comes is come to last.

#pragma once

#include <stdbool.h>

struct sidecar;
struct sidecars;

struct sidecar_walk {
	struct sidecar *next; // whoever takes it from the chain moves this on
	bool is_on;           // it has not come to the end
	bool is_again;        // and then begins once more
};

// A walk that goes on is gone through to its end before it begins anew, so that no number of beginnings keeps it from
// those who come last.
void sidecar_walk_begin(struct sidecars *all);
// NULL: it is over.
struct sidecar *sidecar_walk_step(struct sidecars *all);
