// From a connection to a session: the handshakes under way, the one session, and its loss. The peer is pinned only by
// its proof; whoever proves the key takes the place of an earlier session at once, because that is a peer that returns.

#include "cmd/psk_internal.h"

#include "core/clock.h"
#include "core/counter.h"
#include "core/log.h"
#include "crypto/digest.h"
#include "net/socket.h"
#include "node/notify.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define KEEPALIVE_MS 5000

#ifndef SOL_MPTCP
#define SOL_MPTCP 284
#endif
#define MPTCP_INFO_OPTION 1

static bool is_multipath(int fd)
{
	uint8_t info[512];
	socklen_t length = sizeof info;
	return getsockopt(fd, SOL_MPTCP, MPTCP_INFO_OPTION, info, &length) == 0;
}

void psk_session_note_failure(struct psk *psk, const char *problem)
{
	pthread_mutex_lock(&psk->lock);
	psk->failures++;
	snprintf(psk->last_error, sizeof psk->last_error, "%s", problem);
	pthread_mutex_unlock(&psk->lock);
}

static void begin(struct psk *psk, struct greeting_result *result)
{
	char text[ADDRESS_TEXT_BYTES];
	uint32_t timeout = psk->config->psk.peer_timeout_ms;
	struct socket_options options = {
		.congestion = psk->config->link.congestion,
		.keepalive_ms = timeout / 2 < KEEPALIVE_MS ? timeout / 2 : KEEPALIVE_MS,
		.user_timeout_ms = timeout,
	};
	bool is_replacing = packets_has_session(psk->packets);
	const char *carrier = is_multipath(result->fd) ? "mptcp" : "tcp";
	socket_tune(result->fd, &options);
	address_format(&result->peer, text);
	int failed = packets_attach(psk->packets, &result->fd, &result->ttun);
	if (failed < 0) {
		log_error("psk", "%s: no session: %s", text, outcome_text(failed));
		socket_close(&result->fd);
		ttun_free(&result->ttun);
		if (!psk->is_server)
			psk_client_again(psk, 0);
		return;
	}
	pthread_mutex_lock(&psk->lock);
	psk->peer = result->peer;
	psk->carrier = carrier;
	psk->method = psk->config->psk.method;
	psk->up_since_ms = psk->last_up_ms = clock_ms();
	psk->sessions++;
	psk->last_error[0] = '\0';
	pthread_mutex_unlock(&psk->lock);
	tun_routes_note_link(psk->routes, true);
	notify_status("connected with %s", text);
	log_info("psk", "connected with %s over %s%s%s", text, carrier,
	         psk->config->psk.pq ? ", keys of X25519 and ML-KEM-768" : "",
	         is_replacing ? ", in place of the earlier session" : "");
}

static void forget(struct psk *psk, const struct greeting *greeting)
{
	for (unsigned i = 0; i < LIMIT_GREETINGS; i++) {
		if (psk->greetings[i] != greeting)
			continue;
		psk->greetings[i] = NULL;
		lobby_leave(&psk->lobby, i);
	}
}

// Hostile: a stranger's failure is counted, and a few a second are written. What people are shown as the tunnel's own
// trouble is not a stranger's to say.
static void complain(struct psk *psk, const struct greeting_result *result)
{
	uint64_t now = clock_ms(), held = brake_sum(&psk->complaints, now);
	char text[ADDRESS_TEXT_BYTES];
	address_format(&result->peer, text);
	if (held > 0)
		log_warn("psk", "%llu more handshakes failed", (unsigned long long)held);
	if (!psk->is_server || brake_passes(&psk->complaints, now))
		log_warn("psk", "%s: %s", text, result->problem);
	if (psk->is_server)
		return;
	psk_session_note_failure(psk, result->problem);
	psk_client_again(psk, 0);
}

static void on_greeted(void *owner, struct greeting *greeting, struct greeting_result *result)
{
	struct psk *psk = owner;
	forget(psk, greeting);
	if (result->ttun)
		begin(psk, result);
	else
		complain(psk, result);
}

// Hostile: strangers push out each other, not the session and not the memory of this machine.
static unsigned enter(struct psk *psk, const struct address *peer)
{
	uint32_t chance;
	random_bytes(&chance, sizeof chance);
	unsigned victim = lobby_victim(&psk->lobby, &peer->any, chance);
	if (victim < LIMIT_GREETINGS) {
		greeting_cancel(&psk->greetings[victim]);
		lobby_leave(&psk->lobby, victim);
		counter_add(COUNTER_GREETING_CROWDED, 1);
	}
	return lobby_enter(&psk->lobby, &peer->any);
}

// ttun_judge_fn. Hostile: a recorded hello is genuine, but its sender cannot go on; a server that answered each would
// work for nothing.
static bool may_exchange(void *owner, const uint8_t nonce[TTUN_NONCE_BYTES])
{
	struct psk *psk = owner;
	return recent_add(psk->hellos, nonce) && bucket_take(&psk->exchanges, clock_ns() / 1000);
}

void psk_session_greet(struct psk *psk, int fd, const struct address *peer)
{
	struct greeting_settings settings = {
		.loop = psk->loop,
		.role = psk->is_server ? TTUN_SERVER : TTUN_CLIENT,
		.cipher = psk->config->psk.method == CONFIG_PSK_AES ? AEAD_AES_256_GCM : AEAD_CHACHA20_POLY1305,
		.key = &psk->key,
		.is_hybrid = psk->config->psk.pq,
		.timeout_ms = psk->config->psk.handshake_timeout_ms,
		.judge = psk->hellos ? may_exchange : NULL,
		.judge_owner = psk,
	};
	unsigned place = enter(psk, peer);
	socket_tune(fd, &(struct socket_options){.congestion = "system"});
	int failed = greeting_start(&settings, &fd, peer, on_greeted, psk, &psk->greetings[place]);
	if (failed == 0)
		return;
	lobby_leave(&psk->lobby, place);
	log_error("psk", "no handshake: %s", outcome_text(failed));
	socket_close(&fd);
	if (!psk->is_server)
		psk_client_again(psk, 0);
}

void psk_session_cancel_greetings(struct psk *psk)
{
	for (unsigned i = 0; i < LIMIT_GREETINGS; i++)
		greeting_cancel(&psk->greetings[i]);
}

int psk_session_prepare(struct psk *psk)
{
	psk->complaints.per_second = LIMIT_GREETING_LINES_PER_SECOND;
	bucket_init(&psk->exchanges, LIMIT_HELLOS_PER_SECOND, LIMIT_HELLOS_PER_SECOND);
	if (psk->is_server && psk->config->psk.pq)
		psk->hellos = calloc(1, sizeof *psk->hellos);
	return psk->is_server && psk->config->psk.pq && !psk->hellos ? -ENOMEM : 0;
}

void psk_session_on_lost(void *owner, const char *reason)
{
	struct psk *psk = owner;
	char text[ADDRESS_TEXT_BYTES];
	pthread_mutex_lock(&psk->lock);
	address_format(&psk->peer, text);
	uint64_t lasted = psk->peer.length > 0 ? clock_ms() - psk->up_since_ms + 1 : 0;
	psk->peer.length = 0;
	psk->last_up_ms = clock_ms();
	pthread_mutex_unlock(&psk->lock);
	psk_session_note_failure(psk, reason);
	if (!packets_has_device(psk->packets)) {
		log_error("psk", "the device %s is gone", tun_name(psk->tun));
		process_fail(psk->process, 1);
		return;
	}
	log_warn("psk", "the session with %s has ended: %s", text, reason);
	notify_status("no session: %s", reason);
	if (!psk->is_server)
		psk_client_again(psk, lasted);
}
