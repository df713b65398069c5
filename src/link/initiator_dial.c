// An attempt at a link: which dest, name, address, handshake; and when to try again.

#include "core/counter.h"
#include "core/log.h"
#include "core/secret.h"
#include "link/initiator_internal.h"
#include "link/verdict.h"

#include <stdio.h>
#include <string.h>

// ---- what people see -----------------------------------------------------------------------------------------------

static const char *state_of(const struct initiator *initiator)
{
	if (initiator->in_use)
		return "up";
	if (initiator_retiring(initiator) > 0)
		return "draining";
	return initiator->phase == INITIATOR_HANDSHAKE || initiator->phase == INITIATOR_SESSION ? "handshake"
	                                                                                        : "connecting";
}

void initiator_show(struct initiator *initiator)
{
	const struct destination *dest = initiator->in_use ? &initiator->in_use->dest : destinations_now(&initiator->dests);
	const char *state = state_of(initiator);
	pthread_mutex_lock(&initiator->lock);
	initiator->state.state = state;
	initiator->state.retiring = initiator_retiring(initiator);
	snprintf(initiator->state.dest, sizeof initiator->state.dest, strchr(dest->host, ':') ? "[%s]:%u" : "%s:%u",
	         dest->host, dest->port);
	pthread_mutex_unlock(&initiator->lock);
}

void initiator_read(struct initiator *initiator, struct initiator_state *state)
{
	pthread_mutex_lock(&initiator->lock);
	*state = initiator->state;
	pthread_mutex_unlock(&initiator->lock);
}

// ---- when ----------------------------------------------------------------------------------------------------------

static uint32_t full_jitter(struct initiator *initiator)
{
	uint32_t first = initiator->settings.delay_first_ms, most = initiator->settings.delay_max_ms, random;
	uint64_t ceiling = initiator->delay_ms == 0 ? first : 2ULL * initiator->delay_ms;
	initiator->delay_ms = ceiling < most ? (uint32_t)ceiling : most;
	random_bytes(&random, sizeof random);
	return random % (initiator->delay_ms + 1);
}

// Decorrelated jitter: uniform between the first delay and three times the last one, at most the maximum.
uint32_t initiator_pause(struct initiator *initiator)
{
	if (initiator->settings.full_jitter)
		return full_jitter(initiator);
	uint32_t first = initiator->settings.delay_first_ms, most = initiator->settings.delay_max_ms, random;
	uint64_t ceiling = (uint64_t)initiator->delay_ms * 3;
	if (ceiling > most)
		ceiling = most;
	if (ceiling < first)
		ceiling = first;
	random_bytes(&random, sizeof random);
	initiator->delay_ms = first + (uint32_t)(random % (ceiling - first + 1));
	return initiator->delay_ms;
}

void initiator_forget(struct initiator *initiator)
{
	dial_cancel(&initiator->dial);
	loop_io_close(&initiator->io);
	tls_conn_free(&initiator->tls);
}

void initiator_begin(struct initiator *initiator, uint64_t delay_ms)
{
	uint32_t random;
	random_bytes(&random, sizeof random);
	if (!initiator->is_failback || !destinations_begin_better(&initiator->dests)) {
		initiator->is_failback = false;
		destinations_begin(&initiator->dests, random);
	}
	initiator->phase = INITIATOR_PAUSE;
	loop_timer_arm(initiator->timer, delay_ms, 0);
	initiator_show(initiator);
}

static void note_error(struct initiator *initiator, const char *reason, bool round_is_over)
{
	pthread_mutex_lock(&initiator->lock);
	initiator->state.attempts += round_is_over && !initiator->in_use;
	initiator->state.errors++;
	snprintf(initiator->state.last_error, sizeof initiator->state.last_error, "%s", reason);
	pthread_mutex_unlock(&initiator->lock);
}

static void give_up(struct initiator *initiator, const struct destination *dest, const char *reason)
{
	initiator->phase = INITIATOR_IDLE;
	if (initiator->lines)
		return; // an earlier link still carries streams: the end of the last one is the end
	log_error("initiator", "no link with %s:%u: %s; not trying again", dest->host, dest->port, reason);
	initiator->ops->on_given_up(initiator->owner, reason);
}

// Every dest of the round has failed.
static void end_round(struct initiator *initiator, const struct destination *dest, const char *reason)
{
	const struct initiator_settings *settings = &initiator->settings;
	if (initiator->is_failback && initiator->in_use) {
		log_info("initiator", "%s:%u stays without a link: %s; the one in use serves on", dest->host, dest->port,
		         reason);
		initiator->wish = NULL;
		initiator->phase = INITIATOR_IDLE;
		return;
	}
	initiator->is_failback = false;
	bool is_last = !settings->reconnect ||
	               (settings->attempts_max > 0 && initiator->state.attempts >= settings->attempts_max);
	if (!initiator->in_use && is_last) {
		give_up(initiator, dest, reason);
		return;
	}
	uint32_t delay_ms = initiator_pause(initiator);
	log_warn("initiator", "no %slink with %s:%u: %s; next try in %u ms", initiator->in_use ? "new " : "", dest->host,
	         dest->port, reason, delay_ms);
	initiator_begin(initiator, delay_ms);
}

void initiator_fail(struct initiator *initiator, const char *reason)
{
	struct destination dest = *destinations_now(&initiator->dests);
	initiator_forget(initiator);
	counter_add(COUNTER_LINK_DIAL_FAILED, 1);
	bool goes_on = destinations_next(&initiator->dests);
	note_error(initiator, reason, !goes_on);
	if (!goes_on) {
		end_round(initiator, &dest, reason);
		initiator_show(initiator);
		return;
	}
	log_warn("initiator", "no link with %s:%u: %s; trying the next dest", dest.host, dest.port, reason);
	// From the loop, so that a list of dests that fail at once is no recursion.
	initiator->phase = INITIATOR_PAUSE;
	loop_timer_arm(initiator->timer, 0, 0);
	initiator_show(initiator);
}

// ---- the handshake -------------------------------------------------------------------------------------------------

static void handshake_step(struct initiator *initiator)
{
	int r = tls_conn_flush(initiator->tls);
	if (r == 0 || r == TLS_BLOCKED)
		r = tls_conn_handshake(initiator->tls);
	if (r == TLS_BLOCKED) {
		loop_io_want(initiator->io, tls_conn_wants(initiator->tls));
		return;
	}
	if (r != 0) {
		char text[TLS_EXPLANATION_BYTES];
		verdict_count(tls_conn_failure(initiator->tls));
		tls_conn_explain(initiator->tls, text);
		initiator_fail(initiator, text);
		return;
	}
	counter_add(COUNTER_HANDSHAKE_CONTROL_OK, 1);
	loop_timer_disarm(initiator->timer);
	loop_io_close(&initiator->io);
	initiator->phase = INITIATOR_SESSION;
	if (initiator_establish(initiator) < 0)
		initiator_fail(initiator, "out of memory");
}

static void on_io(void *owner, int events)
{
	struct initiator *initiator = owner;
	if (events & LOOP_READ)
		tls_conn_readable(initiator->tls);
	handshake_step(initiator);
}

int initiator_judge(void *owner, X509 *certificate)
{
	struct initiator *initiator = owner;
	const struct initiator_settings *settings = &initiator->settings;
	for (size_t i = 0; i < settings->allowed_count; i++)
		if (identity_matches(certificate, settings->allowed_peers[i]))
			return TLS_FAILURE_NONE;
	return settings->allowed_count == 0 ? TLS_FAILURE_NONE : TLS_FAILURE_NOT_ALLOWED;
}

static void on_dialled(void *owner, const struct dial_result *result)
{
	struct initiator *initiator = owner;
	if (result->fd < 0) {
		initiator_fail(initiator, result->problem);
		return;
	}
	const struct initiator_settings *settings = &initiator->settings;
	int fd = result->fd;
	initiator->peer = result->peer;
	socket_tune(fd, &(struct socket_options){.congestion = initiator->congestion,
	                                         .keepalive_ms = settings->keepalive_ms,
	                                         .user_timeout_ms = settings->user_timeout_ms});
	struct tls_options options = {.peer_name = settings->peer_name ? settings->peer_name
	                                                               : destinations_now(&initiator->dests)->host,
	                              .judge = initiator_judge,
	                              .owner = initiator};
	int r = tls_conn_new(initiator->profile, &fd, &options, &initiator->tls);
	if (r == 0)
		r = loop_io_open(settings->loop, tls_conn_fd(initiator->tls), on_io, initiator, &initiator->io);
	socket_close(&fd);
	if (r < 0) {
		initiator_fail(initiator, outcome_text(r));
		return;
	}
	initiator->phase = INITIATOR_HANDSHAKE;
	initiator_show(initiator);
	loop_timer_arm(initiator->timer, settings->handshake_ms, 0);
	handshake_step(initiator);
}

// ---- the address ---------------------------------------------------------------------------------------------------

bool initiator_allows(const struct initiator *initiator, const struct sockaddr *address)
{
	return cidr_list_allows(initiator->settings.outbound, initiator->settings.outbound_count, address);
}

static bool on_address(void *owner, const struct sockaddr *address)
{
	if (initiator_allows(owner, address))
		return true;
	counter_add(COUNTER_LINK_DIAL_NOT_ALLOWED, 1);
	return false;
}

static void dial(struct initiator *initiator)
{
	const struct initiator_settings *settings = &initiator->settings;
	const struct destination *dest = destinations_now(&initiator->dests);
	struct address literal;
	initiator->phase = INITIATOR_DIALING;
	initiator->tried_ms = loop_now_ms(settings->loop);
	initiator_show(initiator);
	if (address_from_ip(dest->host, dest->port, &literal) == 0 && !on_address(initiator, &literal.any)) {
		initiator_fail(initiator, "source.allowed_outbound does not list this address");
		return;
	}
	int r = dial_start(settings->loop, dest->host, dest->port, settings->handshake_ms, on_dialled, initiator,
	                   &initiator->dial);
	if (r < 0)
		initiator_fail(initiator, outcome_text(r));
	else
		dial_set_filter(initiator->dial, on_address);
}

void initiator_on_timer(void *owner)
{
	struct initiator *initiator = owner;
	if (initiator->phase == INITIATOR_PAUSE)
		dial(initiator);
	else if (initiator->phase == INITIATOR_HANDSHAKE)
		initiator_fail(initiator, "dest did not finish the handshake in time");
}
