// The numbers of the PROXY protocol, for the proxy_header*.c files. Spec: the PROXY protocol 2.2.

#pragma once

#include <stdint.h>

static const uint8_t proxy_signature[12] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};

#define PROXY_FIXED_BYTES 16 // signature, version and command, family, length

enum { PROXY_VERSION_2 = 2, PROXY_COMMAND_LOCAL = 0, PROXY_COMMAND_PROXY = 1 };
enum {
	PROXY_UNSPEC = 0x00,
	PROXY_TCP4 = 0x11,
	PROXY_UDP4 = 0x12,
	PROXY_TCP6 = 0x21,
	PROXY_UDP6 = 0x22,
	PROXY_UNIX_STREAM = 0x31,
	PROXY_UNIX_DATAGRAM = 0x32,
};
enum {
	PROXY_TYPE_ALPN = 0x01,
	PROXY_TYPE_AUTHORITY = 0x02,
	PROXY_TYPE_TLS = 0x20,
	PROXY_TYPE_TLS_VERSION = 0x21,
	PROXY_TYPE_TLS_CN = 0x22,
	PROXY_TYPE_TLS_CIPHER = 0x23,
	PROXY_TYPE_TLS_SIGNATURE = 0x24,
	PROXY_TYPE_TLS_KEY = 0x25,
	PROXY_TYPE_TLS_GROUP = 0x26,
	PROXY_TYPE_TLS_SCHEME = 0x27,
};
enum { PROXY_CLIENT_TLS = 1, PROXY_CLIENT_CERT = 2, PROXY_CLIENT_SESSION = 4 };
