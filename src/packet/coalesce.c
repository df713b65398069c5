#include "packet/coalesce.h"

#include "packet/checksum.h"
#include "packet/packet.h"

#include <string.h>

#define MOST_BYTES 65535
#define TCP_CHECKSUM 16
#define UDP_CHECKSUM 6
#define TCP_FLAGS 13
// The kernel refuses more datagrams in one (UDP_MAX_SEGMENTS of the oldest kernels that know them).
#define MOST_DATAGRAMS 64

enum { FIN = 0x01, PUSH = 0x08, ACK = 0x10 };

struct candidate {
	const uint8_t *bytes;
	size_t length, ip_bytes, header_bytes;
	bool is_udp;
	bool may_join;
	bool is_partial; // its checksum is left to whoever gets it
};

void coalesce_init(struct coalesce *coalesce, coalesce_fn on_packet, void *owner)
{
	*coalesce = (struct coalesce){.on_packet = on_packet, .owner = owner};
}

// ---- handing out

static void write_partial_checksum(uint8_t *header, const struct coalesce_group *group)
{
	size_t length = group->header_bytes - group->ip_bytes + group->total;
	uint64_t sum = checksum_pseudo(header, group->is_udp ? PACKET_UDP : PACKET_TCP, length);
	uint16_t check = checksum_fold(sum);
	memcpy(header + group->ip_bytes + (group->is_udp ? UDP_CHECKSUM : TCP_CHECKSUM), &check, sizeof check);
}

static void write_header(struct coalesce_group *group)
{
	uint8_t *header = group->header;
	size_t length = group->header_bytes + group->total;
	memcpy(header, group->first, group->header_bytes);
	if (header[0] >> 4 == 4) {
		uint16_t check = 0;
		packet_write16(header + 2, length);
		memcpy(header + 10, &check, sizeof check);
		check = (uint16_t)~checksum_fold(checksum_add(0, header, group->ip_bytes));
		memcpy(header + 10, &check, sizeof check);
	} else {
		packet_write16(header + 4, length - group->ip_bytes);
	}
	if (group->is_udp)
		packet_write16(header + group->ip_bytes + 4, length - group->ip_bytes);
	else
		header[group->ip_bytes + TCP_FLAGS] |= group->flags;
	write_partial_checksum(header, group);
}

static void hand_out(struct coalesce *coalesce, struct coalesce_group *group)
{
	struct offload offload = group->first_offload;
	struct iovec whole = {.iov_base = (void *)group->first, .iov_len = group->first_length};
	if (group->count > 1) {
		write_header(group);
		group->pieces[0] = (struct iovec){.iov_base = group->header, .iov_len = group->header_bytes};
		offload = (struct offload){
			.kind = group->is_udp                ? OFFLOAD_UDP
		            : group->header[0] >> 4 == 4 ? OFFLOAD_TCP4
		                                         : OFFLOAD_TCP6,
			.needs_checksum = true,
			.segment_bytes = (uint16_t)group->segment_bytes,
			.header_bytes = (uint16_t)group->header_bytes,
			.checksum_start = (uint16_t)group->ip_bytes,
			.checksum_offset = group->is_udp ? UDP_CHECKSUM : TCP_CHECKSUM,
		};
	}
	bool is_single = group->count == 1;
	group->first = NULL;
	coalesce->on_packet(coalesce->owner, &offload, is_single ? &whole : group->pieces,
	                    is_single ? 1 : group->count + 1);
}

// ---- judging

static bool may_join(const struct coalesce *coalesce, const struct candidate *candidate)
{
	const uint8_t *transport = candidate->bytes + candidate->ip_bytes;
	bool has_checksum = candidate->is_partial || (transport[UDP_CHECKSUM] | transport[UDP_CHECKSUM + 1]) != 0;
	if (candidate->length <= candidate->header_bytes)
		return false;
	if (candidate->is_udp)
		return coalesce->joins_udp && has_checksum &&
		       packet_read16(transport + 4) == candidate->length - candidate->ip_bytes;
	return coalesce->joins_tcp && (transport[TCP_FLAGS] & ~PUSH) == ACK;
}

// False: of no flow that could have a group.
static bool judge(const struct coalesce *coalesce, const uint8_t *bytes, size_t length, const struct offload *offload,
                  struct candidate *candidate)
{
	struct packet packet;
	if (packet_parse(bytes, length, &packet) != 0 || !packet.is_plain || packet.is_fragment || packet.length != length)
		return false;
	size_t transport = packet_transport_bytes(bytes, &packet);
	if (transport == 0)
		return false;
	*candidate = (struct candidate){
		.bytes = bytes,
		.length = length,
		.ip_bytes = packet.header_bytes,
		.header_bytes = packet.header_bytes + transport,
		.is_udp = packet.protocol == PACKET_UDP,
		.is_partial = offload->needs_checksum,
	};
	// Hostile: a checksum that is to be put elsewhere stays as it was said, and its packet alone.
	bool is_in_place = !offload->needs_checksum ||
	                   (offload->checksum_start == packet.header_bytes &&
	                    offload->checksum_offset == (candidate->is_udp ? UDP_CHECKSUM : TCP_CHECKSUM));
	candidate->may_join = is_in_place && may_join(coalesce, candidate);
	return true;
}

static bool is_same_flow(const struct coalesce_group *group, const struct candidate *candidate)
{
	const uint8_t *a = group->first, *b = candidate->bytes;
	if (!a || group->is_udp != candidate->is_udp || group->ip_bytes != candidate->ip_bytes || a[0] >> 4 != b[0] >> 4)
		return false;
	size_t from = a[0] >> 4 == 4 ? 12 : 8;
	// Addresses and, right behind them, ports.
	return memcmp(a + from, b + from, group->ip_bytes - from + 4) == 0;
}

// Everything in the IP header that a joined packet has only once.
static bool is_same_kind(const struct coalesce_group *group, const uint8_t *b)
{
	const uint8_t *a = group->first;
	if (a[0] >> 4 == 6)
		return memcmp(a, b, 4) == 0 && a[7] == b[7];
	bool is_unfragmentable = (a[6] & 0x40) != 0;
	return a[1] == b[1] && a[6] == b[6] && a[7] == b[7] && a[8] == b[8] &&
	       (is_unfragmentable || packet_read16(b + 4) == group->next_identification);
}

static bool is_next_segment(const struct coalesce_group *group, const struct candidate *candidate)
{
	const uint8_t *a = group->first + group->ip_bytes, *b = candidate->bytes + candidate->ip_bytes;
	return candidate->header_bytes == group->header_bytes && packet_read32(b + 4) == group->next_sequence &&
	       memcmp(a + 8, b + 8, 4) == 0 &&                                          // acknowledgement
	       a[12] == b[12] && ((a[TCP_FLAGS] ^ b[TCP_FLAGS]) & ~PUSH) == 0 &&        // flags
	       memcmp(a + 14, b + 14, 2) == 0 &&                                        // window
	       memcmp(a + 18, b + 18, group->header_bytes - group->ip_bytes - 18) == 0; // urgent pointer, options
}

static bool is_next(const struct coalesce_group *group, const struct candidate *candidate)
{
	size_t payload = candidate->length - candidate->header_bytes;
	size_t most = group->is_udp ? MOST_DATAGRAMS : COALESCE_PIECES;
	return candidate->may_join && payload <= group->segment_bytes && group->count < most &&
	       group->header_bytes + group->total + payload <= MOST_BYTES && is_same_kind(group, candidate->bytes) &&
	       (group->is_udp || is_next_segment(group, candidate));
}

static bool is_intact(const uint8_t *bytes, size_t length, size_t ip_bytes, bool is_udp)
{
	uint64_t sum = checksum_pseudo(bytes, is_udp ? PACKET_UDP : PACKET_TCP, length - ip_bytes);
	return checksum_fold(checksum_add(sum, bytes + ip_bytes, length - ip_bytes)) == 0xffff;
}

// IPv4's own header checksum is renewed as well, so it must be good too.
static bool is_good(const uint8_t *bytes, size_t length, size_t ip_bytes, bool is_udp, bool is_partial)
{
	if (bytes[0] >> 4 == 4 && checksum_fold(checksum_add(0, bytes, ip_bytes)) != 0xffff)
		return false;
	return is_partial || is_intact(bytes, length, ip_bytes, is_udp);
}

// ---- joining

static void append(struct coalesce_group *group, const struct candidate *candidate)
{
	const uint8_t *bytes = candidate->bytes;
	size_t payload = candidate->length - candidate->header_bytes;
	group->count++;
	group->pieces[group->count] = (struct iovec){
		.iov_base = (void *)(bytes + candidate->header_bytes),
		.iov_len = payload,
	};
	group->total += payload;
	if (bytes[0] >> 4 == 4)
		group->next_identification = (uint16_t)(packet_read16(bytes + 4) + 1);
	if (candidate->is_udp)
		return;
	group->next_sequence = packet_read32(bytes + candidate->ip_bytes + 4) + (uint32_t)payload;
	group->flags = bytes[candidate->ip_bytes + TCP_FLAGS] & PUSH;
}

static void begin(struct coalesce *coalesce, struct coalesce_group *group, const struct candidate *candidate,
                  const struct offload *offload)
{
	group->first = candidate->bytes;
	group->first_offload = *offload;
	group->first_length = candidate->length;
	group->ip_bytes = candidate->ip_bytes;
	group->header_bytes = candidate->header_bytes;
	group->segment_bytes = candidate->length - candidate->header_bytes;
	group->is_udp = candidate->is_udp;
	group->is_verified = false;
	group->order = coalesce->order++;
	group->total = 0;
	group->count = 0;
	append(group, candidate);
}

static struct coalesce_group *find_group(struct coalesce *coalesce, const struct candidate *candidate)
{
	for (unsigned i = 0; i < COALESCE_GROUPS; i++)
		if (is_same_flow(&coalesce->groups[i], candidate))
			return &coalesce->groups[i];
	return NULL;
}

// A free place; the oldest group makes room.
static struct coalesce_group *make_group(struct coalesce *coalesce)
{
	struct coalesce_group *oldest = &coalesce->groups[0];
	for (unsigned i = 0; i < COALESCE_GROUPS; i++) {
		struct coalesce_group *group = &coalesce->groups[i];
		if (!group->first)
			return group;
		if (group->order < oldest->order)
			oldest = group;
	}
	hand_out(coalesce, oldest);
	return oldest;
}

// True when the candidate has become part of the group.
static bool join(struct coalesce_group *group, const struct candidate *candidate)
{
	if (!is_next(group, candidate))
		return false;
	if (!group->is_verified && !is_good(group->first, group->first_length, group->ip_bytes, group->is_udp,
	                                    group->first_offload.needs_checksum))
		return false;
	group->is_verified = true;
	if (!is_good(candidate->bytes, candidate->length, candidate->ip_bytes, candidate->is_udp, candidate->is_partial))
		return false;
	append(group, candidate);
	return true;
}

// A short packet and a push end a super-packet: only its last segment may be either.
static bool is_ended(const struct coalesce_group *group)
{
	return group->flags != 0 || group->total % group->segment_bytes != 0;
}

void coalesce_add_partial(struct coalesce *coalesce, const uint8_t *packet, size_t length,
                          const struct offload *offload)
{
	struct candidate candidate;
	struct iovec whole = {.iov_base = (void *)packet, .iov_len = length};
	bool has_flow = judge(coalesce, packet, length, offload, &candidate);
	struct coalesce_group *group = has_flow ? find_group(coalesce, &candidate) : NULL;
	if (group && !join(group, &candidate)) {
		hand_out(coalesce, group);
		group = NULL;
	}
	if (!group && !(has_flow && candidate.may_join)) {
		coalesce->on_packet(coalesce->owner, offload, &whole, 1);
		return;
	}
	if (!group) {
		group = make_group(coalesce);
		group->flags = 0;
		begin(coalesce, group, &candidate, offload);
	}
	if (is_ended(group))
		hand_out(coalesce, group);
}

void coalesce_add(struct coalesce *coalesce, const uint8_t *packet, size_t length)
{
	coalesce_add_partial(coalesce, packet, length, &(struct offload){0});
}

void coalesce_flush(struct coalesce *coalesce)
{
	for (;;) {
		struct coalesce_group *oldest = NULL;
		for (unsigned i = 0; i < COALESCE_GROUPS; i++) {
			struct coalesce_group *group = &coalesce->groups[i];
			if (group->first && (!oldest || group->order < oldest->order))
				oldest = group;
		}
		if (!oldest)
			return;
		hand_out(coalesce, oldest);
	}
}
