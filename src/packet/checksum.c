#include "packet/checksum.h"

#include <arpa/inet.h>
#include <string.h>

static inline uint64_t add_with_carry(uint64_t sum, uint64_t word)
{
	uint64_t result;
	return __builtin_add_overflow(sum, word, &result) ? result + 1 : result;
}

static inline uint64_t load(const uint8_t *bytes)
{
	uint64_t word;
	memcpy(&word, bytes, sizeof word);
	return word;
}

// Four chains, so that one addition need not wait for the carry of the one before.
uint64_t checksum_add(uint64_t sum, const uint8_t *bytes, size_t length)
{
	uint64_t chains[4] = {sum}, word = 0;
	for (; length >= 64; bytes += 64, length -= 64) {
		chains[0] = add_with_carry(add_with_carry(chains[0], load(bytes)), load(bytes + 32));
		chains[1] = add_with_carry(add_with_carry(chains[1], load(bytes + 8)), load(bytes + 40));
		chains[2] = add_with_carry(add_with_carry(chains[2], load(bytes + 16)), load(bytes + 48));
		chains[3] = add_with_carry(add_with_carry(chains[3], load(bytes + 24)), load(bytes + 56));
	}
	for (; length >= 8; bytes += 8, length -= 8)
		chains[0] = add_with_carry(chains[0], load(bytes));
	if (length > 0)
		memcpy(&word, bytes, length);
	chains[0] = add_with_carry(chains[0], word);
	return add_with_carry(add_with_carry(chains[0], chains[1]), add_with_carry(chains[2], chains[3]));
}

uint16_t checksum_fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

uint64_t checksum_pseudo(const uint8_t *ip, uint8_t protocol, size_t length)
{
	uint64_t sum = ip[0] >> 4 == 4 ? checksum_add(0, ip + 12, 8) : checksum_add(0, ip + 8, 32);
	return add_with_carry(sum, (uint64_t)htonl((uint32_t)length) + htons(protocol));
}

void checksum_replace(uint8_t field[2], const uint8_t before[2], const uint8_t after[2])
{
	uint16_t check, old, fresh;
	memcpy(&check, field, sizeof check);
	memcpy(&old, before, sizeof old);
	memcpy(&fresh, after, sizeof fresh);
	check = (uint16_t)~checksum_fold((uint64_t)(uint16_t)~check + (uint16_t)~old + fresh);
	memcpy(field, &check, sizeof check);
}
