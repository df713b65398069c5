// The listening side.

#include "cmd/psk_internal.h"

#include "core/log.h"
#include "net/socket.h"

#include <errno.h>
#include <string.h>

static void on_accept(void *owner, int fd, const struct address *peer)
{
	psk_session_greet(owner, fd, peer);
}

int psk_server_start(struct psk *psk)
{
	struct address address, four;
	char text[ADDRESS_TEXT_BYTES];
	if (address_parse(psk->config->psk.listen, &address) != 0)
		return 2;
	int result = listener_open(psk->loop, &address, on_accept, psk, &psk->listener);
	// ":20203" means every address there is; on a machine without IPv6 those are the others.
	bool is_any = strncmp(psk->config->psk.listen, "[::]:", 5) == 0;
	if (result == -EAFNOSUPPORT && is_any && address_from_ip("0.0.0.0", ntohs(address.in6.sin6_port), &four) == 0) {
		address = four;
		result = listener_open(psk->loop, &address, on_accept, psk, &psk->listener);
	}
	address_format(&address, text);
	if (result < 0) {
		log_error("psk", "cannot listen on %s: %s", text, outcome_text(result));
		return 1;
	}
	log_info("psk", "listening on %s", text);
	return 0;
}

void psk_server_stop(struct psk *psk)
{
	listener_close(&psk->listener);
}
