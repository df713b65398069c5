// Strangers that wait to be known, in a fixed number of places: who must leave when one more comes. Each source (an
// IPv4 address, an IPv6 network of 64 bits) has a few places; beyond them it pushes out one of its own, and when all
// places are taken one of the source that has most. Which one of those is left to chance, so that whoever knocks faster
// than everybody else does not decide who gets the time to finish. Pure.

#pragma once

#include "limits.h"

#include <stdint.h>
#include <sys/socket.h>

#define LOBBY_PLACES LIMIT_GREETINGS
#define LOBBY_PLACES_PER_SOURCE LIMIT_GREETINGS_PER_SOURCE

struct lobby {
	uint8_t is_taken[LOBBY_PLACES];
	uint8_t sources[LOBBY_PLACES][9]; // family, the leading 8 bytes of the address
};

// The place that must be left before this one may come in; LOBBY_PLACES: none.
unsigned lobby_victim(const struct lobby *lobby, const struct sockaddr *address, uint32_t chance);
// The caller has made room. Its place.
unsigned lobby_enter(struct lobby *lobby, const struct sockaddr *address);
void lobby_leave(struct lobby *lobby, unsigned place);
