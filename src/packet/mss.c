#include "packet/mss.h"

#include "packet/checksum.h"
#include "packet/packet.h"

#include <string.h>

#define TCP_BYTES 20
#define TCP_CHECKSUM 16

enum { SYN = 0x02 };
enum { END = 0, NOTHING = 1, MSS = 2 };

// Hostile: options that do not add up end the search.
static size_t find_option(const uint8_t *tcp, size_t length)
{
	size_t at = TCP_BYTES;
	while (at < length && tcp[at] != END) {
		if (tcp[at] == NOTHING) {
			at++;
			continue;
		}
		if (at + 2 > length || tcp[at + 1] < 2 || at + tcp[at + 1] > length)
			return 0;
		if (tcp[at] == MSS)
			return tcp[at + 1] == 4 ? at : 0;
		at += tcp[at + 1];
	}
	return 0;
}

bool mss_clamp(uint8_t *packet, size_t length, size_t mtu)
{
	struct packet parsed;
	if (packet_parse(packet, length, &parsed) != 0 || parsed.protocol != PACKET_TCP || parsed.is_fragment)
		return false;
	size_t header = packet_transport_bytes(packet, &parsed), base = (parsed.version == 4 ? 20u : 40u) + TCP_BYTES;
	uint8_t *tcp = packet + parsed.header_bytes;
	size_t option = header > 0 && (tcp[13] & SYN) && mtu > base ? find_option(tcp, header) : 0;
	if (option == 0 || packet_read16(tcp + option + 2) <= mtu - base)
		return false;
	// An option may begin at an odd place, so that its value spans two words of the checksum: both are replaced.
	size_t even = (option + 2) & ~(size_t)1, words = option & 1 ? 2 : 1;
	uint8_t before[4];
	memcpy(before, tcp + even, words * 2);
	packet_write16(tcp + option + 2, mtu - base);
	for (size_t i = 0; i < words; i++)
		checksum_replace(tcp + TCP_CHECKSUM, before + 2 * i, tcp + even + 2 * i);
	return true;
}
