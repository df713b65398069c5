// Who may start an expensive certificate handshake now: how many at once, how many per address and window. Pure: no
// clock, no sockets. Not thread-safe; the owner holds a lock around it.

#pragma once

#include "core/outcome.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct admission_limits {
	uint32_t in_flight;             // handshakes at once
	uint32_t in_flight_per_address; // of them, of one IPv4 address or IPv6 /64; 0: as many
	uint32_t per_address;           // per IPv4 address or IPv6 /64 in the window
	uint32_t window_ms;
	uint32_t table; // addresses remembered, at least 1; the least recently seen is forgotten when full
};

struct admission;
MUST_USE int admission_new(const struct admission_limits *limits, struct admission **admission);
void admission_free(struct admission **admission);

enum admission_answer { ADMISSION_OK = 0, ADMISSION_TOO_MANY = 1, ADMISSION_TOO_FAST = 2, ADMISSION_SHARE = 3 };
// On ADMISSION_OK one place is taken until admission_leave. Refused attempts do not extend a window. Addresses that are
// not IP (Unix sockets) have no rate and no share, only places. ADMISSION_TOO_MANY also without memory,
// ADMISSION_SHARE: its address has as many places as one may.
MUST_USE int admission_enter(struct admission *admission, const struct sockaddr *address, uint64_t now_ms);
void admission_leave(struct admission *admission, const struct sockaddr *address);
// The same in two steps, for one that waits for its place: its address is charged (ADMISSION_OK, ADMISSION_TOO_FAST, or
// ADMISSION_TOO_MANY without memory), and later, if there is a place, it is taken (ADMISSION_OK, ADMISSION_TOO_MANY,
// or ADMISSION_SHARE).
MUST_USE int admission_charge(struct admission *admission, const struct sockaddr *address, uint64_t now_ms);
MUST_USE int admission_take(struct admission *admission, const struct sockaddr *address, uint64_t now_ms);
// One IPv4 address (mapped or not) or IPv6 /64.
bool admission_is_same(const struct sockaddr *a, const struct sockaddr *b);
uint32_t admission_in_flight(const struct admission *admission);
