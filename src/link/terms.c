#include "link/terms.h"

#include <stdio.h>
#include <string.h>

enum { TAKES_SUPER = 1 };

void terms_encode(const struct terms *terms, struct writer *writer)
{
	if (!terms->is_given)
		return;
	writer_u16(writer, TERMS_TYPE);
	writer_u16(writer, TERMS_VALUE_BYTES);
	writer_u16(writer, terms->streams);
	writer_u32(writer, terms->mtu);
	writer_u8(writer, terms->takes_super ? TAKES_SUPER : 0);
}

// A later version may append to it; flags that we do not know are things that we do not take.
bool terms_decode(const uint8_t *value, size_t length, struct terms *terms)
{
	struct reader reader;
	reader_init(&reader, value, length);
	struct terms decoded = {.is_given = true};
	decoded.streams = reader_u16(&reader);
	decoded.mtu = reader_u32(&reader);
	decoded.takes_super = (reader_u8(&reader) & TAKES_SUPER) != 0;
	if (reader.bad)
		return false;
	*terms = decoded;
	return true;
}

bool terms_agree(const struct terms_side *ours, const struct terms_side *theirs, char text[LIMIT_REASON_BYTES + 1])
{
	const struct terms *own = ours->terms, *other = theirs->terms;
	int size = LIMIT_REASON_BYTES + 1;
	text[0] = '\0';
	if (!own->is_given && !other->is_given)
		return true;
	if (own->is_given != other->is_given)
		snprintf(text, (size_t)size, "the %s is an end of a vpn, the %s is not",
		         own->is_given ? ours->role : theirs->role, own->is_given ? theirs->role : ours->role);
	else if (strcmp(ours->build_id, theirs->build_id) != 0)
		snprintf(text, (size_t)size, "build_id: the %s has \"%s\", the %s has \"%s\"; set the same on both", ours->role,
		         ours->build_id, theirs->role, theirs->build_id);
	else if (own->streams != other->streams)
		snprintf(text, (size_t)size, "stream_count: the %s has %u, the %s has %u; set the same on both", ours->role,
		         own->streams, theirs->role, other->streams);
	else if (own->mtu != other->mtu)
		snprintf(text, (size_t)size, "mtu: the %s has %u, the %s has %u; set the same on both", ours->role, own->mtu,
		         theirs->role, other->mtu);
	return text[0] == '\0';
}
