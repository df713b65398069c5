// The first bytes on a data connection: the stream header of the side that opens a stream, and the answer to it.
// Spec: docs/protocol.md, "Stream header". Pure; decoders take whatever has arrived so far.
//
// Header: u8 kind | u16 length | TLVs (u8 type | u16 length | value). Known types: 1 service name, 2 service port
// (u16), 3 origin address (text "ip:port"), 4 token (16 bytes), 5 offload flags (u32). A type with the high bit set may
// be skipped; any other unknown type, a repeated type or a wrong length is HEADER_BAD, and so is the kind that is not
// built yet (packets) and its type. Names and addresses are visible ASCII; tcp and udp need a service or a port, claim
// needs its token, and park and claim have nothing else. Whether the kind may come on this link is the caller's to
// judge.
//
// Answer: u8 status | u16 length | reason text.

#pragma once

#include "core/outcome.h"
#include "limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum header_kind { HEADER_TCP = 1, HEADER_UDP = 2, HEADER_PACKETS = 3, HEADER_CLAIM = 4, HEADER_PARK = 5 };

#define STREAM_TOKEN_BYTES 16

struct header {
	enum header_kind kind;
	uint8_t token[STREAM_TOKEN_BYTES];          // claim
	char service[LIMIT_SERVICE_NAME_BYTES + 1]; // "" when not given
	uint16_t port;                              // 0 when not given
	char origin[64];                            // "" when not given
};

enum header_status {
	HEADER_OK = 0,
	HEADER_NO_SERVICE = 1,     // not offered (or not to you)
	HEADER_REFUSED_TARGET = 2, // target refused or unreachable
	HEADER_TIMED_OUT = 3,
	HEADER_LIMIT = 4,
	HEADER_DRAINING = 5,
	HEADER_INTERNAL = 6,
};
const char *header_status_name(enum header_status status);

struct header_answer {
	enum header_status status;
	char reason[LIMIT_REASON_BYTES + 1];
};

// Names and addresses: visible ASCII, no blanks.
bool header_is_word(const char *text);

enum { HEADER_MORE = 1, HEADER_BAD = 2 };

// Writes at most LIMIT_STREAM_HEADER_BYTES, returns the length.
size_t header_encode(const struct header *header, uint8_t out[LIMIT_STREAM_HEADER_BYTES]);
// 0: *used bytes were the header. HEADER_MORE: not complete yet. HEADER_BAD: not acceptable (also when the length field
// announces more than LIMIT_STREAM_HEADER_BYTES in all).
MUST_USE int header_decode(const uint8_t *bytes, size_t length, struct header *header, size_t *used);

size_t header_answer_encode(const struct header_answer *answer, uint8_t out[LIMIT_STREAM_HEADER_BYTES]);
// Reasons are made printable by the logger. Same returns as header_decode.
MUST_USE int header_answer_decode(const uint8_t *bytes, size_t length, struct header_answer *answer, size_t *used);
