// Links whose control connection is over while streams of theirs go on: it was closed in order, or lost. Nobody renews
// their keys any more, so their time is limited; and their peers are judged again like those of links that stand, or
// whoever is about to be revoked would just close the link. Lives on one loop.

#pragma once

#include "core/outcome.h"
#include "link/link.h"

#include <stdbool.h>
#include <stdint.h>

struct leftover {
	struct link *link;
	char name[256]; // of the peer, as the owner expects it; may be ""
	uint64_t since_ms, due_ms;
	struct leftover *next;
};

struct leftovers { // the null value is none
	struct leftover *first;
};

// Its streams may go on for patience_ms from now. False: no memory, so they are to be cut now.
MUST_USE bool leftovers_add(struct leftovers *all, struct link *link, const char *name, uint64_t now_ms,
                            uint64_t patience_ms);

struct leftovers_ops {
	// Whether the peer would be taken now; if not, `text` says why. NULL: nothing has changed that it depends on.
	bool (*judge)(void *owner, const struct leftover *leftover, char text[TLS_EXPLANATION_BYTES]);
	// Its streams are to be cut.
	void (*cut)(void *owner, struct link *link);
};
// Forgets those without streams; cuts those that are late, whose peer's certificate has expired, or that fail.
void leftovers_sift(struct leftovers *all, uint64_t now_ms, const struct leftovers_ops *ops, void *owner);
void leftovers_drop(struct leftovers *all);
