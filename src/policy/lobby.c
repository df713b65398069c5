#include "policy/lobby.h"

#include <assert.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>

#define SOURCE_BYTES sizeof((struct lobby *)0)->sources[0]

static void source_of(const struct sockaddr *address, uint8_t source[9])
{
	memset(source, 0, 9);
	source[0] = (uint8_t)address->sa_family;
	if (address->sa_family == AF_INET) {
		memcpy(source + 1, &((const struct sockaddr_in *)(const void *)address)->sin_addr, 4);
	} else if (address->sa_family == AF_INET6) {
		const uint8_t *bytes = ((const struct sockaddr_in6 *)(const void *)address)->sin6_addr.s6_addr;
		static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
		bool is_mapped = memcmp(bytes, mapped, sizeof mapped) == 0;
		source[0] = is_mapped ? AF_INET : AF_INET6;
		memcpy(source + 1, is_mapped ? bytes + 12 : bytes, is_mapped ? 4 : 8);
	}
}

static unsigned count_of(const struct lobby *lobby, const uint8_t *source)
{
	unsigned count = 0;
	for (unsigned i = 0; i < LOBBY_PLACES; i++)
		count += lobby->is_taken[i] && memcmp(lobby->sources[i], source, SOURCE_BYTES) == 0;
	return count;
}

// The `chance`-th of those of a source.
static unsigned pick(const struct lobby *lobby, const uint8_t *source, uint32_t chance)
{
	unsigned left = chance % count_of(lobby, source);
	for (unsigned i = 0; i < LOBBY_PLACES; i++)
		if (lobby->is_taken[i] && memcmp(lobby->sources[i], source, SOURCE_BYTES) == 0 && left-- == 0)
			return i;
	return LOBBY_PLACES;
}

unsigned lobby_victim(const struct lobby *lobby, const struct sockaddr *address, uint32_t chance)
{
	uint8_t source[9];
	unsigned most = 0, candidates[LOBBY_PLACES], count = 0;
	source_of(address, source);
	if (count_of(lobby, source) >= LOBBY_PLACES_PER_SOURCE)
		return pick(lobby, source, chance);
	for (unsigned i = 0; i < LOBBY_PLACES; i++) {
		if (!lobby->is_taken[i])
			return LOBBY_PLACES;
		unsigned size = count_of(lobby, lobby->sources[i]);
		if (size < most)
			continue;
		count = size > most ? 0 : count;
		most = size;
		candidates[count++] = i;
	}
	return candidates[chance % count];
}

unsigned lobby_enter(struct lobby *lobby, const struct sockaddr *address)
{
	for (unsigned i = 0; i < LOBBY_PLACES; i++) {
		if (lobby->is_taken[i])
			continue;
		lobby->is_taken[i] = 1;
		source_of(address, lobby->sources[i]);
		return i;
	}
	assert(!"room was made");
	return LOBBY_PLACES;
}

void lobby_leave(struct lobby *lobby, unsigned place)
{
	assert(place < LOBBY_PLACES && lobby->is_taken[place]);
	lobby->is_taken[place] = 0;
}
