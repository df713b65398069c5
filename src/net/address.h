// Socket addresses as values: IPv4, IPv6, Unix. Pure but for if_nametoindex (IPv6 zones).

#pragma once

#include "core/outcome.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <netinet/in.h>

struct address {
	socklen_t length; // 0: the null value
	union {
		struct sockaddr any;
		struct sockaddr_in in4;
		struct sockaddr_in6 in6;
		struct sockaddr_un un;
		struct sockaddr_storage storage;
	};
};

#define ADDRESS_TEXT_BYTES 128
enum { ADDRESS_BAD = 1 };
// IP literal (IPv6 with or without brackets) and port. ADDRESS_BAD when host is not a literal.
MUST_USE int address_from_ip(const char *host, uint16_t port, struct address *address);
// "1.2.3.4:80", "[::1]:80", "unix:/path" (a path that does not fit sun_path is ADDRESS_BAD). Ports as in address_split.
MUST_USE int address_parse(const char *text, struct address *address);
// "1.2.3.4:80", "[::1]:80", "unix:/path". IPv4-mapped IPv6 is written as IPv4.
void address_format(const struct address *address, char text[ADDRESS_TEXT_BYTES]);
// Splits "host:port", "[v6]:port" (host without brackets). ADDRESS_BAD when there is no valid port 1..65535.
MUST_USE int address_split(const char *text, char *host, size_t host_size, uint16_t *port);
// Of an IP address; a Unix socket has none and stays as it is.
void address_set_port(struct address *address, uint16_t port);
bool address_is_loopback(const struct address *address); // 127/8, ::1, mapped, Unix
bool address_is_unix(const struct address *address);
// The same IP whatever the port; Unix sockets are always on the same host.
bool address_is_same_host(const struct address *a, const struct address *b);
