// Reading a PROXY header that somebody sent us.

#include "edge/proxy_header.h"

#include "core/codec.h"
#include "edge/proxy_private.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void set_ip4(struct address *address, const uint8_t *ip, uint16_t port)
{
	*address = (struct address){.length = sizeof address->in4};
	address->in4.sin_family = AF_INET;
	memcpy(&address->in4.sin_addr, ip, 4);
	address->in4.sin_port = htons(port);
}

static void set_ip6(struct address *address, const uint8_t *ip, uint16_t port)
{
	*address = (struct address){.length = sizeof address->in6};
	address->in6.sin6_family = AF_INET6;
	memcpy(&address->in6.sin6_addr, ip, 16);
	address->in6.sin6_port = htons(port);
}

// ---- version 2 -----------------------------------------------------------------------------------------------------

// Hostile: texts go to logs and into headers of others, so they are cut to room and made printable.
static void keep_text(char *out, size_t size, const uint8_t *bytes, size_t length)
{
	size_t n = length < size - 1 ? length : size - 1;
	for (size_t i = 0; i < n; i++)
		out[i] = bytes[i] > ' ' && bytes[i] <= '~' ? (char)bytes[i] : bytes[i] == ' ' ? ' ' : '?';
	out[n] = '\0';
}

struct tlv {
	uint8_t type;
	const uint8_t *value;
	uint16_t length;
};

// False: it does not fit.
static bool next_tlv(struct reader *reader, struct tlv *tlv)
{
	tlv->type = reader_u8(reader);
	tlv->length = reader_u16(reader);
	tlv->value = reader_bytes(reader, tlv->length);
	return !reader->bad;
}

static bool read_tls(const struct tlv *outer, struct proxy_peer *peer)
{
	struct reader reader;
	struct tlv tlv;
	reader_init(&reader, outer->value, outer->length);
	uint8_t client = reader_u8(&reader);
	uint32_t verify = reader_u32(&reader);
	if (reader.bad)
		return false;
	peer->is_tls = client & PROXY_CLIENT_TLS;
	peer->has_certificate = (client & (PROXY_CLIENT_CERT | PROXY_CLIENT_SESSION)) != 0 && verify == 0;
	while (reader_left(&reader) > 0) {
		if (!next_tlv(&reader, &tlv))
			return false;
		if (tlv.type == PROXY_TYPE_TLS_CN)
			keep_text(peer->common_name, sizeof peer->common_name, tlv.value, tlv.length);
	}
	return true;
}

static bool read_tlvs(struct reader *reader, struct proxy_peer *peer)
{
	struct tlv tlv;
	while (reader_left(reader) > 0) {
		if (!next_tlv(reader, &tlv) || (tlv.type == PROXY_TYPE_TLS && !read_tls(&tlv, peer)))
			return false;
		if (tlv.type == PROXY_TYPE_AUTHORITY)
			keep_text(peer->authority, sizeof peer->authority, tlv.value, tlv.length);
	}
	return true;
}

static bool read_addresses(struct reader *reader, uint8_t family, struct proxy_peer *peer)
{
	if (family == PROXY_UNSPEC)
		return true;
	if (family == PROXY_UNIX_STREAM || family == PROXY_UNIX_DATAGRAM)
		return reader_bytes(reader, 216) != NULL;
	bool is_ip4 = family == PROXY_TCP4 || family == PROXY_UDP4;
	if (!is_ip4 && family != PROXY_TCP6 && family != PROXY_UDP6)
		return false;
	size_t size = is_ip4 ? 4 : 16;
	const uint8_t *client = reader_bytes(reader, size), *server = reader_bytes(reader, size);
	uint16_t client_port = reader_u16(reader), server_port = reader_u16(reader);
	if (reader->bad)
		return false;
	void (*set)(struct address *, const uint8_t *, uint16_t) = is_ip4 ? set_ip4 : set_ip6;
	set(&peer->client, client, client_port);
	set(&peer->server, server, server_port);
	return true;
}

static int decode_2(const uint8_t *bytes, size_t length, struct proxy_peer *peer, size_t *used)
{
	struct reader reader;
	if (length < PROXY_FIXED_BYTES)
		return length > 12 && bytes[12] >> 4 != PROXY_VERSION_2 ? PROXY_BAD : PROXY_MORE;
	size_t rest = (size_t)bytes[14] << 8 | bytes[15];
	uint8_t command = bytes[12] & 15;
	if (bytes[12] >> 4 != PROXY_VERSION_2 || (command != PROXY_COMMAND_LOCAL && command != PROXY_COMMAND_PROXY))
		return PROXY_BAD;
	// Hostile: refused before we wait for it.
	if (PROXY_FIXED_BYTES + rest > LIMIT_PROXY_HEADER_BYTES)
		return PROXY_BAD;
	if (length < PROXY_FIXED_BYTES + rest)
		return PROXY_MORE;
	struct proxy_peer told = {.version = 2, .is_local = command == PROXY_COMMAND_LOCAL};
	reader_init(&reader, bytes + PROXY_FIXED_BYTES, rest);
	if (!told.is_local && (!read_addresses(&reader, bytes[13], &told) || !read_tlvs(&reader, &told)))
		return PROXY_BAD;
	*peer = told;
	*used = PROXY_FIXED_BYTES + rest;
	return 0;
}

// ---- version 1 -----------------------------------------------------------------------------------------------------

static bool read_port(const char *text, uint16_t *port)
{
	char *end;
	size_t digits = strspn(text, "0123456789");
	unsigned long value = digits > 0 && digits <= 5 ? strtoul(text, &end, 10) : UINT16_MAX + 1ul;
	*port = (uint16_t)value;
	return value <= UINT16_MAX && text[digits] == '\0' && (digits == 1 || text[0] != '0');
}

static bool read_text_address(int family, const char *ip, const char *port_text, struct address *address)
{
	uint8_t bytes[16];
	uint16_t port;
	if (inet_pton(family, ip, bytes) != 1 || !read_port(port_text, &port))
		return false;
	if (family == AF_INET)
		set_ip4(address, bytes, port);
	else
		set_ip6(address, bytes, port);
	return true;
}

// The line without "PROXY " and CRLF: "TCP4 FROM TO PORT PORT", single spaces.
static bool read_line(char *line, struct proxy_peer *peer)
{
	char *words[5];
	if (strncmp(line, "UNKNOWN", 7) == 0 && (line[7] == '\0' || line[7] == ' '))
		return true;
	for (size_t i = 0; i < 5; i++) {
		words[i] = line;
		line += strcspn(line, " ");
		if ((*line == '\0') != (i == 4))
			return false;
		if (i < 4)
			*line++ = '\0';
	}
	bool is_ip4 = strcmp(words[0], "TCP4") == 0;
	if (!is_ip4 && strcmp(words[0], "TCP6") != 0)
		return false;
	int family = is_ip4 ? AF_INET : AF_INET6;
	return read_text_address(family, words[1], words[3], &peer->client) &&
	       read_text_address(family, words[2], words[4], &peer->server);
}

static int decode_1(const uint8_t *bytes, size_t length, struct proxy_peer *peer, size_t *used)
{
	char line[PROXY_HEADER_TEXT_BYTES];
	size_t room = length < sizeof line - 1 ? length : sizeof line - 1;
	const uint8_t *lf = memchr(bytes, '\n', room);
	if (!lf)
		return room == sizeof line - 1 ? PROXY_BAD : PROXY_MORE;
	size_t end = (size_t)(lf - bytes);
	if (bytes[end - 1] != '\r' || memchr(bytes, '\0', end))
		return PROXY_BAD;
	memcpy(line, bytes + 6, end - 7);
	line[end - 7] = '\0';
	struct proxy_peer told = {.version = 1};
	if (!read_line(line, &told))
		return PROXY_BAD;
	*peer = told;
	*used = end + 1;
	return 0;
}

int proxy_header_decode(const uint8_t *bytes, size_t length, struct proxy_peer *peer, size_t *used)
{
	static const char text[] = "PROXY ";
	size_t is_2 = length < sizeof proxy_signature ? length : sizeof proxy_signature;
	size_t is_1 = length < 6 ? length : 6;
	if (memcmp(bytes, proxy_signature, is_2) == 0)
		return decode_2(bytes, length, peer, used);
	if (memcmp(bytes, text, is_1) != 0)
		return PROXY_BAD;
	return length < 6 ? PROXY_MORE : decode_1(bytes, length, peer, used);
}
