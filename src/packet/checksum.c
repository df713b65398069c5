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

// Two chains, so that one addition need not wait for the carry of the other.
uint64_t checksum_add(uint64_t sum, const uint8_t *bytes, size_t length)
{
	uint64_t other = 0, word;
	for (; length >= 32; bytes += 32, length -= 32) {
		sum = add_with_carry(sum, load(bytes));
		other = add_with_carry(other, load(bytes + 8));
		sum = add_with_carry(sum, load(bytes + 16));
		other = add_with_carry(other, load(bytes + 24));
	}
	for (; length >= 8; bytes += 8, length -= 8)
		sum = add_with_carry(sum, load(bytes));
	word = 0;
	if (length > 0)
		memcpy(&word, bytes, length);
	return add_with_carry(add_with_carry(sum, other), word);
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
	return sum + htonl((uint32_t)length) + htons(protocol);
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
