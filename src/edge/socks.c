#include "edge/socks.h"

#include "core/codec.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

enum { TYPE_IP4 = 1, TYPE_NAME = 3, TYPE_IP6 = 4 };

// Spec: RFC 1928 3
int socks_greeting_decode(const uint8_t *bytes, size_t length, size_t *used)
{
	if (length > 0 && bytes[0] != SOCKS_VERSION)
		return SOCKS_BAD;
	if (length < 2 || length < 2 + (size_t)bytes[1])
		return SOCKS_MORE;
	*used = 2 + (size_t)bytes[1];
	return memchr(bytes + 2, SOCKS_METHOD_OPEN, bytes[1]) ? 0 : SOCKS_NO_METHOD;
}

size_t socks_method_encode(uint8_t method, uint8_t out[SOCKS_METHOD_BYTES])
{
	out[0] = SOCKS_VERSION;
	out[1] = method;
	return SOCKS_METHOD_BYTES;
}

// ---- addresses -----------------------------------------------------------------------------------------------------

// Type, address and port. 0, SOCKS_MORE, SOCKS_BAD_HOST. Spec: RFC 1928 5
static int read_address(const uint8_t *bytes, size_t length, struct request *request, size_t *used)
{
	char text[INET6_ADDRSTRLEN];
	if (length == 0)
		return SOCKS_MORE;
	uint8_t type = bytes[0];
	if (type != TYPE_IP4 && type != TYPE_IP6 && type != TYPE_NAME)
		return SOCKS_BAD_HOST;
	if (type == TYPE_NAME && length < 2)
		return SOCKS_MORE;
	size_t at = type == TYPE_NAME ? 2 : 1;
	size_t size = type == TYPE_IP4 ? 4 : type == TYPE_IP6 ? 16 : bytes[1];
	if (length < at + size + 2)
		return SOCKS_MORE;
	bool is_good;
	if (type == TYPE_NAME) {
		is_good = request_set_host(request, (const char *)bytes + at, size);
	} else {
		inet_ntop(type == TYPE_IP4 ? AF_INET : AF_INET6, bytes + at, text, sizeof text);
		is_good = request_set_host(request, text, strlen(text));
	}
	request->port = (uint16_t)(bytes[at + size] << 8 | bytes[at + size + 1]);
	*used = at + size + 2;
	return is_good ? 0 : SOCKS_BAD_HOST;
}

// ---- request and reply ---------------------------------------------------------------------------------------------

// Spec: RFC 1928 4
int socks_request_decode(const uint8_t *bytes, size_t length, enum socks_command *command, struct request *request,
                         size_t *used)
{
	struct request wanted;
	size_t address_length = 0;
	if (length > 0 && bytes[0] != SOCKS_VERSION)
		return SOCKS_BAD;
	if (length < 4)
		return SOCKS_MORE;
	// The byte between command and address is reserved: sent as zero, and not looked at.
	int outcome = read_address(bytes + 3, length - 3, &wanted, &address_length);
	if (outcome == SOCKS_MORE)
		return SOCKS_MORE;
	if (bytes[1] != SOCKS_CONNECT && bytes[1] != SOCKS_ASSOCIATE)
		return SOCKS_BAD_COMMAND;
	if (outcome != 0)
		return outcome;
	*command = bytes[1];
	*request = wanted;
	*used = 3 + address_length;
	return 0;
}

static void write_address(struct writer *writer, const struct sockaddr *address)
{
	struct sockaddr_in ip4 = {.sin_family = AF_INET};
	struct sockaddr_in6 ip6;
	if (address && address->sa_family == AF_INET6) {
		memcpy(&ip6, address, sizeof ip6);
		writer_u8(writer, TYPE_IP6);
		writer_bytes(writer, &ip6.sin6_addr, sizeof ip6.sin6_addr);
		writer_u16(writer, ntohs(ip6.sin6_port));
		return;
	}
	if (address && address->sa_family == AF_INET)
		memcpy(&ip4, address, sizeof ip4);
	writer_u8(writer, TYPE_IP4);
	writer_bytes(writer, &ip4.sin_addr, sizeof ip4.sin_addr);
	writer_u16(writer, ntohs(ip4.sin_port));
}

// Spec: RFC 1928 6
size_t socks_reply_encode(enum socks_reply reply, const struct sockaddr *bound, uint8_t out[SOCKS_REPLY_BYTES])
{
	struct writer writer;
	writer_init(&writer, out, SOCKS_REPLY_BYTES);
	writer_u8(&writer, SOCKS_VERSION);
	writer_u8(&writer, (uint8_t)reply);
	writer_u8(&writer, 0);
	write_address(&writer, bound);
	return writer_length(&writer);
}

// ---- datagrams -----------------------------------------------------------------------------------------------------

// Spec: RFC 1928 7
int socks_datagram_decode(const uint8_t *bytes, size_t length, struct request *request, size_t *used)
{
	struct request wanted;
	size_t address_length = 0;
	if (length < 4 || bytes[0] != 0 || bytes[1] != 0)
		return SOCKS_BAD;
	if (bytes[2] != 0)
		return SOCKS_FRAGMENT;
	int outcome = read_address(bytes + 3, length - 3, &wanted, &address_length);
	if (outcome != 0)
		return outcome == SOCKS_MORE ? SOCKS_BAD : outcome;
	*request = wanted;
	*used = 3 + address_length;
	return 0;
}

size_t socks_datagram_encode(const struct request *request, uint8_t out[SOCKS_DATAGRAM_BYTES])
{
	struct writer writer;
	uint8_t address[16];
	writer_init(&writer, out, SOCKS_DATAGRAM_BYTES);
	writer_u16(&writer, 0);
	writer_u8(&writer, 0);
	if (inet_pton(AF_INET, request->host, address) == 1) {
		writer_u8(&writer, TYPE_IP4);
		writer_bytes(&writer, address, 4);
	} else if (inet_pton(AF_INET6, request->host, address) == 1) {
		writer_u8(&writer, TYPE_IP6);
		writer_bytes(&writer, address, 16);
	} else {
		size_t size = strlen(request->host);
		writer_u8(&writer, TYPE_NAME);
		writer_u8(&writer, (uint8_t)size);
		writer_bytes(&writer, request->host, size);
	}
	writer_u16(&writer, request->port);
	return writer_length(&writer);
}
