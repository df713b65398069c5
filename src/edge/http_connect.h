// HTTP CONNECT as a server speaks it: one request, one answer. Spec: RFC 9112 (syntax), RFC 9110 9.3.6 (CONNECT). Pure;
// the decoder takes whatever has arrived so far; bytes behind the request belong to the flow.

#pragma once

#include "core/outcome.h"
#include "edge/request.h"

#include <stdint.h>

enum {
	HTTP_CONNECT_MORE = 1,
	HTTP_CONNECT_BAD = 2,      // answer 400
	HTTP_CONNECT_METHOD = 3,   // HTTP, but not CONNECT: answer 405
	HTTP_CONNECT_TOO_LONG = 4, // longer than LIMIT_ENTRY_REQUEST_BYTES: answer 431
};

// 0: *request and *used are set. Hostile: strict on purpose (CRLF only, no folded lines, no body, one Host in
// HTTP/1.1), because what two readers understand differently is how requests are smuggled.
MUST_USE int http_connect_decode(const uint8_t *bytes, size_t length, struct request *request, size_t *used);

// What may be answered. The others carry a line of text that says what to do.
enum http_connect_status {
	HTTP_CONNECT_ESTABLISHED = 200,
	HTTP_CONNECT_MALFORMED = 400,
	HTTP_CONNECT_FORBIDDEN = 403,
	HTTP_CONNECT_NOT_FOUND = 404,
	HTTP_CONNECT_NOT_CONNECT = 405,
	HTTP_CONNECT_TIMED_OUT = 408,
	HTTP_CONNECT_LARGE_HEADER = 431,
	HTTP_CONNECT_BAD_GATEWAY = 502,
	HTTP_CONNECT_UNAVAILABLE = 503,
	HTTP_CONNECT_GATEWAY_TIMEOUT = 504,
};

#define HTTP_CONNECT_ANSWER_BYTES 512
// `detail` is one more sentence of ours, or NULL. Returns the length.
size_t http_connect_encode(enum http_connect_status status, const char *detail, char out[HTTP_CONNECT_ANSWER_BYTES]);
