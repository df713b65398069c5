// What a client of the entry asks for, in whichever protocol it said so: a host as it was written, and a port. What
// that means is decided above (flow/route).

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REQUEST_HOST_BYTES 255 // a SOCKS name is no longer; a DNS name is not either

struct request {
	char host[REQUEST_HOST_BYTES + 1]; // IP literal without brackets, or a name of visible ASCII
	uint16_t port;
};

// A name from a stranger: 1 to REQUEST_HOST_BYTES bytes of visible ASCII without what delimits hosts elsewhere
// (quotes, '/', '@', '[', ']', '\', ':' unless the whole is an IPv6 literal, '%'). False: nothing was written.
bool request_set_host(struct request *request, const char *host, size_t length);
