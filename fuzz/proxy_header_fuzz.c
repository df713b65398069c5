// PROXY headers of both versions. What decodes is encoded again and decodes to the same addresses; cut anywhere it is
// "more"; texts are printable.

#include "edge/proxy_header.h"

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const char *text, size_t room)
{
	size_t length = strnlen(text, room);
	assert(length < room);
	for (size_t i = 0; i < length; i++)
		assert(text[i] >= ' ' && text[i] <= '~');
}

static bool is_same(const struct address *a, const struct address *b)
{
	char one[ADDRESS_TEXT_BYTES], other[ADDRESS_TEXT_BYTES];
	address_format(a, one);
	address_format(b, other);
	return strcmp(one, other) == 0;
}

static void encode_again(const struct proxy_peer *peer)
{
	uint8_t bytes[PROXY_HEADER_BYTES];
	char text[PROXY_HEADER_TEXT_BYTES];
	struct proxy_peer again;
	size_t used = 0;
	struct proxy_tls tls = {.common_name = peer->has_certificate ? peer->common_name : NULL};
	struct proxy_header header = {.client = peer->client, .server = peer->server, .tls = peer->is_tls ? &tls : NULL};
	size_t length = proxy_header_encode(&header, bytes);
	assert(proxy_header_decode(bytes, length, &again, &used) == 0 && used == length);
	assert(again.is_tls == peer->is_tls);
	if (peer->client.length > 0)
		assert(is_same(&again.client, &peer->client) && is_same(&again.server, &peer->server));
	length = proxy_header_encode_text(&header, text);
	assert(proxy_header_decode((const uint8_t *)text, length, &again, &used) == 0 && used == length);
	if (peer->client.length > 0)
		assert(is_same(&again.client, &peer->client) && is_same(&again.server, &peer->server));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct proxy_peer peer, other;
	size_t used = 0, again = 0;
	int outcome = proxy_header_decode(data, size, &peer, &used);
	if (outcome == PROXY_MORE)
		assert(size < LIMIT_PROXY_HEADER_BYTES);
	if (outcome != 0)
		return 0;
	assert(used <= size && used <= LIMIT_PROXY_HEADER_BYTES && (peer.version == 1 || peer.version == 2));
	check_text(peer.common_name, sizeof peer.common_name);
	check_text(peer.authority, sizeof peer.authority);
	for (size_t cut = 0; cut < used; cut++)
		assert(proxy_header_decode(data, cut, &other, &again) == PROXY_MORE);
	encode_again(&peer);
	return 0;
}
