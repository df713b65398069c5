// Last words to clients that are turned away: the bytes are sent, our direction is ended, and the socket stays until
// the client has ended too or a moment has passed. A socket that is closed with unread bytes in it is reset, and a
// reset may overtake the words. One per worker.

#pragma once

#include "core/loop.h"
#include "core/outcome.h"

#include <stddef.h>
#include <stdint.h>

struct farewells;

MUST_USE int farewells_new(struct loop *loop, struct farewells **farewells);
// Closes those that have not gone yet.
void farewells_free(struct farewells **farewells);
// Takes fd (it becomes -1; not registered with the loop). Never waits: what the socket does not take at once is lost.
void farewell_say(struct farewells *farewells, int *fd, const uint8_t *bytes, size_t length);
