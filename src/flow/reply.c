#include "flow/reply.h"

#include "edge/http_connect.h"
#include "edge/socks.h"

#include <string.h>

_Static_assert(HTTP_CONNECT_ANSWER_BYTES <= REPLY_BYTES && SOCKS_REPLY_BYTES <= REPLY_BYTES, "room for every answer");

enum reply_verdict reply_of_status(enum header_status status)
{
	switch (status) {
	case HEADER_OK:
		return REPLY_OK;
	case HEADER_NO_SERVICE:
		return REPLY_NO_SERVICE;
	case HEADER_REFUSED_TARGET:
		return REPLY_REFUSED;
	case HEADER_TIMED_OUT:
		return REPLY_TIMED_OUT;
	case HEADER_LIMIT:
		return REPLY_LIMIT;
	case HEADER_DRAINING:
		return REPLY_NO_LINK;
	case HEADER_INTERNAL:
		return REPLY_FAILURE;
	}
	return REPLY_FAILURE;
}

// Spec: RFC 1928 6
static enum socks_reply in_socks(enum reply_verdict verdict)
{
	switch (verdict) {
	case REPLY_OK:
		return SOCKS_REPLY_OK;
	case REPLY_NO_SERVICE:
	case REPLY_NOT_ALLOWED:
		return SOCKS_REPLY_NOT_ALLOWED;
	case REPLY_REFUSED:
		return SOCKS_REPLY_REFUSED;
	case REPLY_TIMED_OUT:
		return SOCKS_REPLY_EXPIRED;
	case REPLY_LIMIT:
	case REPLY_NO_LINK:
	case REPLY_FAILURE:
		break;
	}
	return SOCKS_REPLY_FAILURE;
}

// Spec: RFC 9110 15
static enum http_connect_status in_http(enum reply_verdict verdict)
{
	switch (verdict) {
	case REPLY_OK:
		return HTTP_CONNECT_ESTABLISHED;
	case REPLY_NO_SERVICE:
		return HTTP_CONNECT_NOT_FOUND;
	case REPLY_NOT_ALLOWED:
		return HTTP_CONNECT_FORBIDDEN;
	case REPLY_REFUSED:
	case REPLY_FAILURE:
		return HTTP_CONNECT_BAD_GATEWAY;
	case REPLY_TIMED_OUT:
		return HTTP_CONNECT_GATEWAY_TIMEOUT;
	case REPLY_LIMIT:
	case REPLY_NO_LINK:
		break;
	}
	return HTTP_CONNECT_UNAVAILABLE;
}

size_t reply_encode(enum reply_kind kind, enum reply_verdict verdict, uint8_t out[REPLY_BYTES])
{
	switch (kind) {
	case REPLY_NONE:
		break;
	case REPLY_SOCKS:
		return socks_reply_encode(in_socks(verdict), NULL, out);
	case REPLY_HTTP:
		return http_connect_encode(in_http(verdict), NULL, (char *)out);
	}
	return 0;
}
