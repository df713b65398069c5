#include "edge/proxy_header.h"

#include "core/codec.h"
#include "edge/proxy_private.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

// ---- addresses -----------------------------------------------------------------------------------------------------

struct side {
	uint8_t ip[16]; // IPv4 as ::ffff:a.b.c.d
	bool is_ip4;
	uint16_t port;
};

static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

// False: not an IP address.
static bool read_side(const struct address *address, struct side *side)
{
	*side = (struct side){.port = 0};
	if (address->length == 0)
		return false;
	if (address->any.sa_family == AF_INET) {
		memcpy(side->ip, mapped, sizeof mapped);
		memcpy(side->ip + 12, &address->in4.sin_addr, 4);
		side->port = ntohs(address->in4.sin_port);
	} else if (address->any.sa_family == AF_INET6) {
		memcpy(side->ip, &address->in6.sin6_addr, 16);
		side->port = ntohs(address->in6.sin6_port);
	} else {
		return false;
	}
	side->is_ip4 = memcmp(side->ip, mapped, sizeof mapped) == 0;
	return true;
}

// Client and server in one family. False: the client is not known.
static bool read_sides(const struct proxy_header *header, struct side *client, struct side *server, bool *is_ip4)
{
	if (!read_side(&header->client, client))
		return false;
	bool is_server_known = read_side(&header->server, server);
	if (!is_server_known && client->is_ip4)
		memcpy(server->ip, mapped, sizeof mapped);
	*is_ip4 = client->is_ip4 && (!is_server_known || server->is_ip4);
	return true;
}

// ---- version 2 -----------------------------------------------------------------------------------------------------

static void write_tlv(struct writer *writer, uint8_t type, const char *text)
{
	if (!text || !*text)
		return;
	writer_u8(writer, type);
	writer_u16(writer, (uint16_t)strlen(text));
	writer_bytes(writer, text, strlen(text));
}

// Spec: 2.2.5, the SSL TLV: client bits, verify (0: the certificate is good), then what is known of both
static void write_tls(struct writer *writer, const struct proxy_tls *tls)
{
	uint8_t inner[PROXY_HEADER_BYTES];
	struct writer texts;
	writer_init(&texts, inner, sizeof inner);
	writer_u8(&texts,
	          tls->common_name ? PROXY_CLIENT_TLS | PROXY_CLIENT_CERT | PROXY_CLIENT_SESSION : PROXY_CLIENT_TLS);
	writer_u32(&texts, tls->common_name ? 0 : 1);
	write_tlv(&texts, PROXY_TYPE_TLS_VERSION, tls->version);
	write_tlv(&texts, PROXY_TYPE_TLS_CN, tls->common_name);
	write_tlv(&texts, PROXY_TYPE_TLS_CIPHER, tls->cipher);
	write_tlv(&texts, PROXY_TYPE_TLS_SIGNATURE, tls->signature);
	write_tlv(&texts, PROXY_TYPE_TLS_KEY, tls->key);
	write_tlv(&texts, PROXY_TYPE_TLS_GROUP, tls->group);
	write_tlv(&texts, PROXY_TYPE_TLS_SCHEME, tls->scheme);
	writer_u8(writer, PROXY_TYPE_TLS);
	writer_u16(writer, (uint16_t)writer_length(&texts));
	writer_bytes(writer, inner, writer_length(&texts));
}

// Spec: 2.2
size_t proxy_header_encode(const struct proxy_header *header, uint8_t out[PROXY_HEADER_BYTES])
{
	struct side client, server;
	struct writer writer;
	bool is_ip4 = false;
	bool is_known = read_sides(header, &client, &server, &is_ip4);
	size_t skip = is_ip4 ? 12 : 0;
	writer_init(&writer, out, PROXY_HEADER_BYTES);
	writer_bytes(&writer, proxy_signature, sizeof proxy_signature);
	writer_u8(&writer, PROXY_VERSION_2 << 4 | PROXY_COMMAND_PROXY);
	writer_u8(&writer, !is_known ? PROXY_UNSPEC : is_ip4 ? PROXY_TCP4 : PROXY_TCP6);
	writer_u16(&writer, 0); // the length, below
	if (is_known) {
		writer_bytes(&writer, client.ip + skip, 16 - skip);
		writer_bytes(&writer, server.ip + skip, 16 - skip);
		writer_u16(&writer, client.port);
		writer_u16(&writer, server.port);
	}
	write_tlv(&writer, PROXY_TYPE_ALPN, header->alpn);
	write_tlv(&writer, PROXY_TYPE_AUTHORITY, header->authority);
	write_tlv(&writer, PROXY_TYPE_ORIGIN, header->origin);
	if (header->tls)
		write_tls(&writer, header->tls);
	if (header->tls && header->tls->common_name)
		write_tlv(&writer, PROXY_TYPE_NAMES, header->tls->names);
	size_t length = writer_length(&writer) - PROXY_FIXED_BYTES;
	out[14] = (uint8_t)(length >> 8);
	out[15] = (uint8_t)length;
	return writer_length(&writer);
}

// ---- version 1 -----------------------------------------------------------------------------------------------------

// Spec: 2.1
size_t proxy_header_encode_text(const struct proxy_header *header, char out[PROXY_HEADER_TEXT_BYTES])
{
	struct side client, server;
	char from[INET6_ADDRSTRLEN], to[INET6_ADDRSTRLEN];
	bool is_ip4 = false;
	if (!read_sides(header, &client, &server, &is_ip4))
		return (size_t)snprintf(out, PROXY_HEADER_TEXT_BYTES, "PROXY UNKNOWN\r\n");
	size_t skip = is_ip4 ? 12 : 0;
	inet_ntop(is_ip4 ? AF_INET : AF_INET6, client.ip + skip, from, sizeof from);
	inet_ntop(is_ip4 ? AF_INET : AF_INET6, server.ip + skip, to, sizeof to);
	return (size_t)snprintf(out, PROXY_HEADER_TEXT_BYTES, "PROXY %s %s %s %u %u\r\n", is_ip4 ? "TCP4" : "TCP6", from,
	                        to, client.port, server.port);
}
