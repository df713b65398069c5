// The line of those that wait for a place in the gate, on one worker: first come, first served, but that nobody waits
// for one whose address has its share of the places already.

#pragma once

#include "core/outcome.h"
#include "link/gate.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct line_place {                 // the null value is out of it
	const struct sockaddr *address; // lent
	uint64_t since_ms;
	bool waits;
	struct line_place *ahead, *behind;
};

struct line { // the null value is empty
	struct line_place *first, *last;
	unsigned count;
};

// As gate_enter wants to know it. Full is it too for an address that has its share of it.
enum gate_line line_state(const struct line *line, const struct sockaddr *address);
void line_join(struct line *line, struct line_place *place, const struct sockaddr *address, uint64_t now_ms);
// Harmless for one that is not in it.
void line_leave(struct line *line, struct line_place *place);

// Whose turn it is, asked from the first to the last: LINE_IN, it has a place now; LINE_TOO_LATE, it has waited in vain
// (both have left the line); LINE_STAYS, it stays; LINE_STOPS, nobody behind it gets a place now.
enum { LINE_IN = 0, LINE_TOO_LATE = 1, LINE_STAYS = 2, LINE_STOPS = 3 };
MUST_USE int line_turn(struct line *line, struct line_place *place, struct gate *gate, uint64_t now_ms);
