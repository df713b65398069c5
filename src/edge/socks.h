// SOCKS 5 as a server speaks it: greeting, request, replies, and the header of relayed datagrams. Without
// authentication (who may come is decided by address before), CONNECT and UDP ASSOCIATE. Spec: RFC 1928. Pure; decoders
// take whatever has arrived so far and say how much of it they used, so that bytes behind it belong to the flow.

#pragma once

#include "core/outcome.h"
#include "edge/request.h"

#include <stdint.h>
#include <sys/socket.h>

#define SOCKS_VERSION 5

enum {
	SOCKS_MORE = 1,
	SOCKS_BAD = 2,         // not SOCKS 5: nothing can be answered
	SOCKS_NO_METHOD = 3,   // greeting: "no authentication" is not among the methods; answer SOCKS_METHOD_NONE
	SOCKS_BAD_COMMAND = 4, // request: answer SOCKS_REPLY_COMMAND (BIND, or unknown)
	SOCKS_BAD_HOST = 5,    // request: answer SOCKS_REPLY_ADDRESS_TYPE (unknown type, or a name that is none)
	SOCKS_FRAGMENT = 6,    // datagram: a fragment, which is dropped
};

enum { SOCKS_METHOD_OPEN = 0x00, SOCKS_METHOD_NONE = 0xff };
enum socks_command { SOCKS_CONNECT = 1, SOCKS_ASSOCIATE = 3 };
enum socks_reply {
	SOCKS_REPLY_OK = 0,
	SOCKS_REPLY_FAILURE = 1,
	SOCKS_REPLY_NOT_ALLOWED = 2,
	SOCKS_REPLY_UNREACHABLE = 4,
	SOCKS_REPLY_REFUSED = 5,
	SOCKS_REPLY_EXPIRED = 6,
	SOCKS_REPLY_COMMAND = 7,
	SOCKS_REPLY_ADDRESS_TYPE = 8,
};

// 0: "no authentication" is offered.
MUST_USE int socks_greeting_decode(const uint8_t *bytes, size_t length, size_t *used);
// 0: *command and *request are set. The port may be 0. With SOCKS_BAD_COMMAND and SOCKS_BAD_HOST nothing is.
MUST_USE int socks_request_decode(const uint8_t *bytes, size_t length, enum socks_command *command,
                                  struct request *request, size_t *used);

#define SOCKS_METHOD_BYTES 2
size_t socks_method_encode(uint8_t method, uint8_t out[SOCKS_METHOD_BYTES]);
// `bound` is the address a relay listens on, NULL where there is none to tell (written as 0.0.0.0:0).
#define SOCKS_REPLY_BYTES 22
size_t socks_reply_encode(enum socks_reply reply, const struct sockaddr *bound, uint8_t out[SOCKS_REPLY_BYTES]);

// The header in front of a relayed datagram; what is behind *used bytes is payload, which may be empty. 0, SOCKS_BAD
// (also when it is cut), SOCKS_BAD_HOST, SOCKS_FRAGMENT.
MUST_USE int socks_datagram_decode(const uint8_t *bytes, size_t length, struct request *request, size_t *used);
// The same header towards the client, naming whom the payload is from as it was asked for. Returns its length.
#define SOCKS_DATAGRAM_BYTES (7 + REQUEST_HOST_BYTES)
size_t socks_datagram_encode(const struct request *request, uint8_t out[SOCKS_DATAGRAM_BYTES]);
