#include "link/responder_line.h"

#include "limits.h"

#include <stddef.h>

enum gate_line line_state(const struct line *line, const struct sockaddr *address)
{
	unsigned same = 0;
	if (line->count == 0)
		return GATE_LINE_EMPTY;
	if (line->count >= LIMIT_HANDSHAKES_WAITING)
		return GATE_LINE_FULL;
	// Hostile: one address must not have the whole line either. So many are compared as may wait, which costs less than
	// the ClientHello that was read before.
	for (const struct line_place *at = line->first; at; at = at->behind)
		same += admission_is_same(at->address, address);
	return same < LIMIT_HANDSHAKES_WAITING_PER_ADDRESS ? GATE_LINE_BEGUN : GATE_LINE_FULL;
}

void line_join(struct line *line, struct line_place *place, const struct sockaddr *address, uint64_t now_ms)
{
	*place = (struct line_place){.address = address, .since_ms = now_ms, .waits = true, .ahead = line->last};
	if (line->last)
		line->last->behind = place;
	else
		line->first = place;
	line->last = place;
	line->count++;
}

void line_leave(struct line *line, struct line_place *place)
{
	if (!place->waits)
		return;
	if (place->ahead)
		place->ahead->behind = place->behind;
	else
		line->first = place->behind;
	if (place->behind)
		place->behind->ahead = place->ahead;
	else
		line->last = place->ahead;
	*place = (struct line_place){0};
	line->count--;
}

int line_turn(struct line *line, struct line_place *place, struct gate *gate, uint64_t now_ms)
{
	if (now_ms >= place->since_ms + LIMIT_LINE_MS) {
		line_leave(line, place);
		return LINE_TOO_LATE;
	}
	int answer = gate_let_in(gate, place->address, now_ms);
	if (answer == GATE_IN)
		line_leave(line, place);
	return answer == GATE_IN ? LINE_IN : answer == GATE_SHARE ? LINE_STAYS : LINE_STOPS;
}
