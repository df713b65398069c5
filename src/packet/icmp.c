#include "packet/icmp.h"

#include "packet/checksum.h"
#include "packet/packet.h"

#include <stdbool.h>
#include <string.h>

#define IP4_BYTES 20
#define IP6_BYTES 40
#define ICMP_BYTES 8
#define IP4_MOST_BYTES 576
#define HOPS 64

enum { UNREACHABLE = 3, FRAGMENTATION_NEEDED = 4, TOO_BIG6 = 2 };

static bool is_host4(const uint8_t *address)
{
	return address[0] != 0 && address[0] != 127 && address[0] < 224;
}

static bool is_host6(const uint8_t *address)
{
	static const uint8_t none[16];
	return address[0] != 0xff && memcmp(address, none, sizeof none) != 0;
}

// Spec: RFC 1812 4.3.2.7, RFC 4443 2.4 (e). Questions may be answered, errors not.
static bool is_error(const uint8_t *bytes, const struct packet *packet)
{
	if (packet->protocol == PACKET_ICMP6)
		return packet->header_bytes == packet->length || bytes[packet->header_bytes] < 128;
	if (packet->protocol != PACKET_ICMP)
		return false;
	return packet->header_bytes == packet->length ||
	       (bytes[packet->header_bytes] != 8 && bytes[packet->header_bytes] != 0);
}

static bool may_answer(const uint8_t *bytes, const struct packet *packet)
{
	if (!packet->has_payload || is_error(bytes, packet))
		return false;
	return packet->version == 4 ? is_host4(bytes + 12) && is_host4(bytes + 16)
	                            : is_host6(bytes + 8) && is_host6(bytes + 24);
}

static void write_sum(uint8_t *field, uint64_t sum)
{
	uint16_t check = (uint16_t)~checksum_fold(sum);
	memcpy(field, &check, sizeof check);
}

static size_t answer4(const uint8_t *packet, size_t length, size_t mtu, uint8_t *out)
{
	size_t quoted = length < IP4_MOST_BYTES - IP4_BYTES - ICMP_BYTES ? length : IP4_MOST_BYTES - IP4_BYTES - ICMP_BYTES;
	uint8_t *icmp = out + IP4_BYTES;
	memset(out, 0, IP4_BYTES + ICMP_BYTES);
	out[0] = 0x45;
	packet_write16(out + 2, IP4_BYTES + ICMP_BYTES + quoted);
	out[8] = HOPS;
	out[9] = PACKET_ICMP;
	memcpy(out + 12, packet + 16, 4);
	memcpy(out + 16, packet + 12, 4);
	write_sum(out + 10, checksum_add(0, out, IP4_BYTES));
	icmp[0] = UNREACHABLE;
	icmp[1] = FRAGMENTATION_NEEDED;
	packet_write16(icmp + 6, mtu < UINT16_MAX ? mtu : UINT16_MAX);
	memcpy(icmp + ICMP_BYTES, packet, quoted);
	write_sum(icmp + 2, checksum_add(0, icmp, ICMP_BYTES + quoted));
	return IP4_BYTES + ICMP_BYTES + quoted;
}

static size_t answer6(const uint8_t *packet, size_t length, size_t mtu, uint8_t *out)
{
	size_t most = ICMP_MOST_BYTES - IP6_BYTES - ICMP_BYTES, quoted = length < most ? length : most;
	uint8_t *icmp = out + IP6_BYTES;
	memset(out, 0, IP6_BYTES + ICMP_BYTES);
	out[0] = 0x60;
	packet_write16(out + 4, ICMP_BYTES + quoted);
	out[6] = PACKET_ICMP6;
	out[7] = HOPS;
	memcpy(out + 8, packet + 24, 16);
	memcpy(out + 24, packet + 8, 16);
	icmp[0] = TOO_BIG6;
	packet_write32(icmp + 4, (uint32_t)mtu);
	memcpy(icmp + ICMP_BYTES, packet, quoted);
	write_sum(icmp + 2,
	          checksum_add(checksum_pseudo(out, PACKET_ICMP6, ICMP_BYTES + quoted), icmp, ICMP_BYTES + quoted));
	return IP6_BYTES + ICMP_BYTES + quoted;
}

size_t icmp_too_big(const uint8_t *packet, size_t length, size_t mtu, uint8_t out[ICMP_MOST_BYTES])
{
	struct packet parsed;
	if (packet_parse(packet, length, &parsed) != 0 || !may_answer(packet, &parsed))
		return 0;
	return parsed.version == 4 ? answer4(packet, parsed.length, mtu, out) : answer6(packet, parsed.length, mtu, out);
}
