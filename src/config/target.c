#include "config/target.h"

#include "config/value_text.h"
#include "net/address.h"

#include <string.h>

static const struct schema_key host_key = {.type = SCHEMA_TARGET};
static const struct schema_key endpoint_key = {.type = SCHEMA_ENDPOINT};

const char *target_split(const char *text, char host[TARGET_HOST_BYTES], uint16_t *port)
{
	*port = 0;
	if (strncmp(text, "unix:", 5) == 0) {
		const char *fault = value_text_fault(&host_key, text);
		if (!fault)
			memcpy(host, text, strlen(text) + 1); // a socket's path is shorter
		return fault;
	}
	// "::1:80" may be an address or an address and a port.
	if (address_split(text, host, TARGET_HOST_BYTES, port) != 0 || (text[0] != '[' && strchr(host, ':')))
		return "must be HOST:PORT, IP:PORT, [IP6]:PORT or unix:/path";
	return value_text_fault(&host_key, host);
}

const char *target_listen_fault(const char *text)
{
	const char *fault = value_text_fault(&endpoint_key, text);
	char host[TARGET_HOST_BYTES];
	uint16_t port;
	if (fault && target_split(text, host, &port) == NULL)
		return "must be an IP address of this machine (0.0.0.0 or [::] for every one), not a name";
	return fault;
}
