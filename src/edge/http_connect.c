#include "edge/http_connect.h"

#include "limits.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define METHOD "CONNECT"

struct span {
	const char *at;
	size_t length;
};

static bool is_token_char(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_token(struct span text)
{
	for (size_t i = 0; i < text.length; i++)
		if (!is_token_char(text.at[i]))
			return false;
	return text.length > 0;
}

// ---- request line --------------------------------------------------------------------------------------------------

static bool read_port(struct span text, uint16_t *port)
{
	unsigned value = 0;
	for (size_t i = 0; i < text.length; i++) {
		if (text.at[i] < '0' || text.at[i] > '9')
			return false;
		value = value * 10 + (unsigned)(text.at[i] - '0');
		if (value > UINT16_MAX)
			return false;
	}
	*port = (uint16_t)value;
	return text.length > 0;
}

// "host:port", "[v6]:port". Spec: RFC 9112 3.2.3; the port is not optional.
static bool read_authority(struct span text, struct request *request)
{
	const char *end = text.at + text.length;
	const char *colon = memrchr(text.at, ':', text.length);
	if (!colon || !read_port((struct span){colon + 1, (size_t)(end - colon - 1)}, &request->port))
		return false;
	struct span host = {text.at, (size_t)(colon - text.at)};
	bool bracketed = host.length > 2 && host.at[0] == '[' && host.at[host.length - 1] == ']';
	if (bracketed)
		host = (struct span){host.at + 1, host.length - 2};
	// What stands in brackets is an IPv6 literal, and an IPv6 literal stands in brackets.
	if (bracketed != (memchr(host.at, ':', host.length) != NULL))
		return false;
	return request_set_host(request, host.at, host.length);
}

// METHOD SP target SP HTTP/1.x
static int read_request_line(struct span line, struct request *request, bool *needs_host)
{
	const char *end = line.at + line.length;
	const char *first = memchr(line.at, ' ', line.length);
	const char *last = memrchr(line.at, ' ', line.length);
	if (!first || first == last || !is_token((struct span){line.at, (size_t)(first - line.at)}))
		return HTTP_CONNECT_BAD;
	struct span target = {first + 1, (size_t)(last - first - 1)};
	struct span version = {last + 1, (size_t)(end - last - 1)};
	if (memchr(target.at, ' ', target.length) || version.length != 8 || memcmp(version.at, "HTTP/", 5) != 0 ||
	    version.at[6] != '.' || version.at[5] < '0' || version.at[5] > '9' || version.at[7] < '0' ||
	    version.at[7] > '9')
		return HTTP_CONNECT_BAD;
	if ((size_t)(first - line.at) != strlen(METHOD) || memcmp(line.at, METHOD, strlen(METHOD)) != 0)
		return HTTP_CONNECT_METHOD;
	if (version.at[5] != '1' || !read_authority(target, request))
		return HTTP_CONNECT_BAD;
	*needs_host = version.at[7] > '0';
	return 0;
}

// ---- fields --------------------------------------------------------------------------------------------------------

static bool is_named(struct span name, const char *wanted)
{
	return name.length == strlen(wanted) && strncasecmp(name.at, wanted, name.length) == 0;
}

static struct span trimmed(struct span text)
{
	while (text.length > 0 && (text.at[0] == ' ' || text.at[0] == '\t'))
		text = (struct span){text.at + 1, text.length - 1};
	while (text.length > 0 && (text.at[text.length - 1] == ' ' || text.at[text.length - 1] == '\t'))
		text.length--;
	return text;
}

// name ":" value. Of the values only what would give the request a body matters.
static bool read_field(struct span line, unsigned *hosts)
{
	const char *colon = memchr(line.at, ':', line.length);
	if (!colon || !is_token((struct span){line.at, (size_t)(colon - line.at)}))
		return false;
	struct span name = {line.at, (size_t)(colon - line.at)};
	struct span value = trimmed((struct span){colon + 1, line.length - name.length - 1});
	for (size_t i = 0; i < value.length; i++)
		if ((unsigned char)value.at[i] < ' ' && value.at[i] != '\t')
			return false;
	*hosts += is_named(name, "Host");
	// Spec: RFC 9110 9.3.6, a CONNECT request has no content
	return !is_named(name, "Transfer-Encoding") &&
	       (!is_named(name, "Content-Length") || (value.length == 1 && value.at[0] == '0'));
}

// The next line without its CRLF. HTTP_CONNECT_BAD: a CR or LF that stands alone.
static int next_line(const char **at, const char *end, struct span *line)
{
	const char *lf = memchr(*at, '\n', (size_t)(end - *at));
	const char *stop = lf ? lf : end;
	const char *cr = memchr(*at, '\r', (size_t)(stop - *at));
	if (lf && (!cr || cr != lf - 1))
		return HTTP_CONNECT_BAD;
	if (!lf)
		return cr && cr != end - 1 ? HTTP_CONNECT_BAD : HTTP_CONNECT_MORE;
	*line = (struct span){*at, (size_t)(cr - *at)};
	*at = lf + 1;
	return 0;
}

static int read_fields(const char **at, const char *end, bool needs_host)
{
	unsigned hosts = 0;
	struct span line;
	int r = next_line(at, end, &line);
	for (; r == 0 && line.length > 0; r = next_line(at, end, &line))
		if (!read_field(line, &hosts))
			return HTTP_CONNECT_BAD;
	if (r != 0)
		return r;
	// Spec: RFC 9112 3.2
	return hosts > 1 || (needs_host && hosts == 0) ? HTTP_CONNECT_BAD : 0;
}

int http_connect_decode(const uint8_t *bytes, size_t length, struct request *request, size_t *used)
{
	const char *at = (const char *)bytes, *end = at + length;
	struct request wanted;
	struct span line;
	bool needs_host = false;
	int r = next_line(&at, end, &line);
	if (r == 0)
		r = read_request_line(line, &wanted, &needs_host);
	if (r == 0)
		r = read_fields(&at, end, needs_host);
	size_t taken = (size_t)(at - (const char *)bytes);
	// Hostile: judged on what one request takes, however it arrives.
	if ((r == HTTP_CONNECT_MORE && length >= LIMIT_ENTRY_REQUEST_BYTES) ||
	    (r == 0 && taken > LIMIT_ENTRY_REQUEST_BYTES))
		return HTTP_CONNECT_TOO_LONG;
	if (r != 0)
		return r;
	*request = wanted;
	*used = taken;
	return 0;
}

// ---- answers -------------------------------------------------------------------------------------------------------

static const char *phrase(enum http_connect_status status)
{
	switch (status) {
	case HTTP_CONNECT_ESTABLISHED:
		return "Connection established";
	case HTTP_CONNECT_MALFORMED:
		return "Bad Request";
	case HTTP_CONNECT_FORBIDDEN:
		return "Forbidden";
	case HTTP_CONNECT_NOT_FOUND:
		return "Not Found";
	case HTTP_CONNECT_NOT_CONNECT:
		return "Method Not Allowed";
	case HTTP_CONNECT_TIMED_OUT:
		return "Request Timeout";
	case HTTP_CONNECT_LARGE_HEADER:
		return "Request Header Fields Too Large";
	case HTTP_CONNECT_BAD_GATEWAY:
		return "Bad Gateway";
	case HTTP_CONNECT_UNAVAILABLE:
		return "Service Unavailable";
	case HTTP_CONNECT_GATEWAY_TIMEOUT:
		return "Gateway Timeout";
	}
	return "";
}

static const char *advice(enum http_connect_status status)
{
	switch (status) {
	case HTTP_CONNECT_ESTABLISHED:
		break;
	case HTTP_CONNECT_MALFORMED:
		return "This is not a CONNECT request: CONNECT host:port HTTP/1.1, and a Host field.";
	case HTTP_CONNECT_FORBIDDEN:
		return "This may not be asked for here.";
	case HTTP_CONNECT_NOT_FOUND:
		return "No such service: name one that dest exposes, or localhost and its port.";
	case HTTP_CONNECT_NOT_CONNECT:
		return "Only CONNECT is spoken here: use this address as a proxy that tunnels (curl --proxytunnel).";
	case HTTP_CONNECT_TIMED_OUT:
		return "The request did not come in time.";
	case HTTP_CONNECT_LARGE_HEADER:
		return "The request is too long.";
	case HTTP_CONNECT_BAD_GATEWAY:
		return "The service is down or refuses connections.";
	case HTTP_CONNECT_UNAVAILABLE:
		return "There is no link with dest, or a limit is reached: try again later.";
	case HTTP_CONNECT_GATEWAY_TIMEOUT:
		return "The service does not answer.";
	}
	return "";
}

size_t http_connect_encode(enum http_connect_status status, const char *detail, char out[HTTP_CONNECT_ANSWER_BYTES])
{
	char body[256];
	// Spec: RFC 9110 9.3.6, an answer of success has neither content nor its fields
	if (status == HTTP_CONNECT_ESTABLISHED)
		return (size_t)snprintf(out, HTTP_CONNECT_ANSWER_BYTES, "HTTP/1.1 200 %s\r\n\r\n", phrase(status));
	int body_length = snprintf(body, sizeof body, "%s%s%.100s\n", advice(status), detail ? " " : "",
	                           detail ? detail : "");
	const char *allow = status == HTTP_CONNECT_NOT_CONNECT ? "Allow: CONNECT\r\n" : "";
	return (size_t)snprintf(out, HTTP_CONNECT_ANSWER_BYTES,
	                        "HTTP/1.1 %d %s\r\n%sContent-Type: text/plain\r\nContent-Length: %d\r\n"
	                        "Connection: close\r\n\r\n%s",
	                        (int)status, phrase(status), allow, body_length, body);
}
