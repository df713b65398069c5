// The dialling side: dial, handshake, session, and again with growing pauses.

#include "cmd/psk_internal.h"

#include "core/clock.h"
#include "core/counter.h"
#include "core/log.h"
#include "crypto/digest.h"

#include <errno.h>

// A session that lasted so long was a good one: the next pause is the shortest again.
#define GOOD_SESSION_MS 10000

static void on_dialled(void *owner, const struct dial_result *result)
{
	struct psk *psk = owner;
	if (result->fd >= 0) {
		psk_session_greet(psk, result->fd, &result->peer);
		return;
	}
	counter_add(COUNTER_LINK_DIAL_FAILED, 1);
	log_warn("psk", "the server cannot be reached: %s", result->problem);
	psk_session_note_failure(psk, result->problem);
	psk_client_again(psk, 0);
}

static int begin_dial(struct psk *psk)
{
	char host[256];
	uint16_t port;
	uint32_t timeout = psk->config->psk.handshake_timeout_ms;
	const struct address *known;
	size_t count = tun_routes_pinned(psk->routes, &known);
	if (count > 0)
		return dial_addresses_start(psk->loop, known, count, timeout, on_dialled, psk, &psk->dial);
	// The text has been checked with the configuration.
	if (address_split(psk->config->psk.server, host, sizeof host, &port) != 0)
		return -EINVAL;
	return dial_start(psk->loop, host, port, timeout, on_dialled, psk, &psk->dial);
}

static void dial(void *owner)
{
	struct psk *psk = owner;
	pthread_mutex_lock(&psk->lock);
	psk->attempts++;
	pthread_mutex_unlock(&psk->lock);
	if (begin_dial(psk) < 0) {
		log_error("psk", "cannot dial %s", psk->config->psk.server);
		psk_client_again(psk, 0);
	}
}

void psk_client_again(struct psk *psk, uint64_t lasted_ms)
{
	uint32_t first = psk->config->psk.initial_reconnect_delay_ms, most = psk->config->psk.max_reconnect_delay_ms;
	uint8_t chance;
	if (psk->is_draining)
		return;
	tun_routes_note_link(psk->routes, false);
	if (psk->delay_ms < first || lasted_ms >= GOOD_SESSION_MS)
		psk->delay_ms = first;
	uint32_t delay = psk->delay_ms < most ? psk->delay_ms : most;
	// A lost session is tried again after the pause there is; failures make it longer.
	if (lasted_ms == 0)
		psk->delay_ms = delay * 2 < most ? delay * 2 : most;
	random_bytes(&chance, sizeof chance);
	delay += delay / 8 * chance / 256;
	log_info("psk", "dialling again in %u ms", delay);
	loop_timer_arm(psk->redial, delay, 0);
}

int psk_client_start(struct psk *psk)
{
	int result = loop_timer_open(psk->loop, dial, psk, &psk->redial);
	if (result < 0) {
		log_error("psk", "cannot start: %s", outcome_text(result));
		return 1;
	}
	loop_timer_arm(psk->redial, 0, 0);
	return 0;
}

void psk_client_stop(struct psk *psk)
{
	dial_cancel(&psk->dial);
	if (psk->redial)
		loop_timer_close(&psk->redial);
}
