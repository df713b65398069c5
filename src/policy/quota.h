// How many things each of many has open at once: a bounded table of counts, shared by all threads. Charged before
// anything is made for whoever asks.

#pragma once

#include "core/outcome.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define QUOTA_KEY_BYTES 16
struct quota_key {
	uint8_t bytes[QUOTA_KEY_BYTES];
};

struct quota;

// Room for so many keys at once; the memory is taken at the first quota_enter. `seed` makes the order of the table
// unknown to those who choose keys.
MUST_USE int quota_new(size_t keys_max, uint64_t seed, struct quota **quota);
void quota_free(struct quota **quota);

// IPv4 (also mapped into IPv6): the address. IPv6: the /64. Others (Unix sockets): all one key.
void quota_key_of_address(const struct sockaddr *address, struct quota_key *key);
// The beginning of a digest in hexadecimal, as certificates' fingerprints are written.
void quota_key_of_fingerprint(const char *hex, struct quota_key *key);

// Takes a place for the key; `limit` is how many it may have. QUOTA_TOO_MANY: it has them. QUOTA_FULL: no room for
// another key, or no memory.
enum { QUOTA_TOO_MANY = 1, QUOTA_FULL = 2 };
MUST_USE int quota_enter(struct quota *quota, const struct quota_key *key, uint32_t limit);
void quota_leave(struct quota *quota, const struct quota_key *key);
// For people and tests.
size_t quota_keys(struct quota *quota);
