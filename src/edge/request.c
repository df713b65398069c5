#include "edge/request.h"

#include <arpa/inet.h>
#include <string.h>

static bool is_ip6(const char *host, size_t length)
{
	char text[INET6_ADDRSTRLEN];
	uint8_t address[16];
	if (length == 0 || length >= sizeof text)
		return false;
	memcpy(text, host, length);
	text[length] = '\0';
	return strlen(text) == length && inet_pton(AF_INET6, text, address) == 1;
}

bool request_set_host(struct request *request, const char *host, size_t length)
{
	// Hostile: the host travels into headers and logs, so what is not plainly a name or an address goes no further.
	if (length == 0 || length > REQUEST_HOST_BYTES)
		return false;
	if (!is_ip6(host, length))
		for (size_t i = 0; i < length; i++)
			if (host[i] <= ' ' || host[i] > '~' || strchr("\"'/@[]\\:%<>,=?#", host[i]))
				return false;
	memcpy(request->host, host, length);
	request->host[length] = '\0';
	return true;
}
